package main

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/setup"
	"signpost/internal/testdns"
	"signpost/keys"
	"signpost/milter"
)

const (
	// walks is the maximum number of DNS queries for the tree walks of one message (section 6 of the design).
	walks = 50
	// spfQueries is the maximum number of queries that RFC 7208 section 4.6.4 allows for one check of an IPv4 client. It counts the record,
	// ten terms that need a lookup, and ten addresses for each of these terms, because each may be mx.
	spfQueries = 1 + 10 + 10*10
)

// A message that needs as many queries as possible stays within the limits. It has four authors, eight valid signatures, and an SPF record
// at its limits. The authors' domains have long names, and np must be checked for each. The names of the signatures and of MAIL FROM look
// aligned until their tree walk is complete. Eight more queries are for the keys of the signatures.
func TestQueriesOfTheWorstMessage(t *testing.T) {
	const long = "a.b.c.d.e.f." // the prefix of names that have up to four labels
	key := ed25519.NewKeyFromSeed([]byte("a key for the cases, of 32 bytes"))
	record, err := dkim.FormatKeyRecord(key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	var zone strings.Builder
	var authors []string
	for i := range dmarc.MaxAuthorDomains {
		fmt.Fprintf(&zone, "_dmarc.org.top%d. TXT \"v=DMARC1; p=reject; sp=quarantine; np=none\"\n", i)
		authors = append(authors, fmt.Sprintf("x@%sg.h.org.top%d", long, i))
	}
	var signing []dkim.Key
	identifier := func(i int) string { return fmt.Sprintf("%sg.s%d.org.top0", long, i) }
	for i := range dkim.MaxSignatures + 1 {
		fmt.Fprintf(&zone, "_dmarc.s%d.org.top0. TXT \"v=DMARC1; p=reject; psd=n\"\n", i)
		if i < dkim.MaxSignatures {
			fmt.Fprintf(&zone, "key._domainkey.%s. TXT %q\n", identifier(i), record)
			signing = append(signing, dkim.Key{Domain: identifier(i), Selector: "key", Signer: key})
		}
	}
	sender := identifier(dkim.MaxSignatures)
	spf := "v=spf1"
	for i := range 10 {
		spf += fmt.Sprintf(" mx:m%d.example", i)
		for j := range 10 {
			fmt.Fprintf(&zone, "m%d.example. MX 1 h%d.m%d.example.\nh%d.m%d.example. A 192.0.2.200\n", i, j, i, j, i)
		}
	}
	fmt.Fprintf(&zone, "%s. TXT \"%s +all\"\n", sender, spf)

	server, err := testdns.Start(zone.String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	conf, err := config.Parse("config", nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	f := setup.Filter(conf, log)
	f.Keys = func() *keys.Snapshot { return &keys.Snapshot{Set: &keys.Set{}} }
	f.Resolver = dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: time.Minute, Now: time.Now, Log: log})
	f.MessageTimeout = time.Minute
	var got *decision.Record
	f.Finished = func(r *decision.Record) { got = r }
	fields := []dkim.Field{{Name: "From", Value: " " + strings.Join(authors, ", ")}}
	signer, err := dkim.NewSigner(fields, signing, f.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	signatures, err := signer.Sign()
	if err != nil {
		t.Fatal(err)
	}
	s := milter.Session{MTA: "mx.example.org", SMTP: true, Client: netip.MustParseAddr("203.0.113.9"), HELO: "h.example"}
	if _, _, err := play(t.Context(), f, s, milter.Envelope{Sender: "x@" + sender}, append(signatures, fields...), strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	for _, r := range got.Evidence.DKIM {
		if r.Status != dkim.Pass {
			t.Errorf("a signature does not need a walk: %s %s", r.Status, r.Cause)
		}
	}
	if r := got.Evidence.SPF; r.Status != "pass" {
		t.Errorf("SPF does not need a walk: %+v", r)
	}
	for _, r := range got.Evidence.DMARC {
		if r.Status == dmarc.Pass {
			t.Errorf("%+v", r)
		}
	}
	asked := server.Queries()
	if want := walks + dmarc.MaxAuthorDomains*dmarc.MaxQueries + dkim.MaxSignatures + spfQueries; len(asked) != want {
		t.Errorf("%d queries, %d are the most:\n%s", len(asked), want, strings.Join(asked, "\n"))
	}
}
