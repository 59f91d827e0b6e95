package filter

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/internal/testdkim"
	"signpost/milter"
	"signpost/policy"
)

// lever is a part of a message that makes Signpost look up names in the sender's DNS. Lookups of dead.evil.example, lame.victim.example,
// names below them, and the client's reverse name fail or are slow.
type lever struct {
	name   string
	spf    string // terms of evil.example
	sender string // MAIL FROM; empty: a null sender
	helo   string
	author string
	fields []dkim.Field
	seal   bool
	below  bool // the name is below the Author Domain, so it could be aligned
}

const (
	evilBody   = "Pay now.\r\n"
	evilClient = "203.0.113.9"
)

// evilSignature returns a signature that has the correct body hash, but that no key verifies.
func evilSignature(domain, selector string) dkim.Field {
	sum := sha256.Sum256([]byte(evilBody))
	return dkim.Field{Name: dkim.SignatureField, Value: fmt.Sprintf(" v=1; a=rsa-sha256; c=relaxed/relaxed; d=%s; s=%s; h=from:subject:to:date; bh=%s; b=eHh4",
		domain, selector, base64.StdEncoding.EncodeToString(sum[:]))}
}

func levers() []lever {
	const passes = "ip4:" + evilClient
	terms, signatures := "", []dkim.Field(nil)
	for i := range 9 {
		terms += fmt.Sprintf(" a:d%d.dead.evil.example", i)
	}
	for i := range 8 {
		signatures = append(signatures, evilSignature("evil.example", fmt.Sprintf("s%d.dead", i)))
	}
	field := func(name, value string) dkim.Field { return dkim.Field{Name: name, Value: value} }
	below := evilSignature("lame.victim.example", "k")
	return []lever{
		{name: "SPF terms", spf: terms, sender: "x@evil.example"},
		{name: "an SPF include", spf: "include:dead.evil.example", sender: "x@evil.example"},
		{name: "an SPF record", sender: "x@dead.evil.example"},
		{name: "an SPF record below the author", below: true, sender: "x@lame.victim.example"},
		{name: "mail exchanges", spf: "mx:mx.evil.example", sender: "x@evil.example"},
		{name: "the reverse name", spf: "ptr", sender: "x@evil.example"},
		{name: "a HELO name below the author", below: true, helo: "lame.victim.example"},
		{name: "selectors", sender: "x@evil.example", spf: passes, fields: signatures},
		{name: "a selector below the author", below: true, sender: "x@evil.example", spf: passes, fields: []dkim.Field{below}},
		{name: "selectors before one of the author's", sender: "x@evil.example", spf: terms, fields: append(signatures[:7:7], evilSignature("victim.example", "none"))},
		{name: "an ARC selector", sender: "x@evil.example", spf: passes, seal: true},
		{name: "a list", sender: "x@evil.example", spf: passes,
			fields: []dkim.Field{field("List-Id", " <l.dead.evil.example>"), field("List-Post", " <mailto:l@evil.example>")}},
		{name: "a list that signs", sender: "x@other.example", spf: passes,
			fields: []dkim.Field{field("List-Id", " <l.evil.example>"), field("List-Post", " <mailto:l@evil.example>"), evilSignature("evil.example", "s.dead")}},
		{name: "Resent-From", sender: "x@evil.example", spf: passes, fields: []dkim.Field{field("Resent-From", " x@dead.evil.example")}},
		{name: "SRS", sender: "SRS0=a=b=lame.victim.example=boss@evil.example", spf: passes},
		{name: "SRS, and the forwarder's SPF", sender: "SRS0=a=b=victim.example=boss@evil.example", spf: terms},
		{name: "the author, below a domain with a policy", author: "boss@lame.victim.example", sender: "x@evil.example", spf: passes},
		{name: "one author of two", author: "x@dead.evil.example, boss@victim.example", sender: "x@evil.example", spf: passes},
		{name: "all together", below: true, spf: terms, sender: "SRS0=a=b=lame.victim.example=boss@evil.example", seal: true, fields: append(append(signatures[:6:6], below, evilSignature("victim.example", "none")),
			field("List-Id", " <l.dead.evil.example>"), field("List-Post", " <mailto:l@evil.example>"), field("Resent-From", " x@dead.evil.example"))},
	}
}

// faulty is a name server whose answers for the names that the sender controls have a fault. It answers all other names correctly.
type faulty struct {
	zone  *dns.Zone
	fault string
}

func (f faulty) ask(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
	const slow = 6 * time.Second // longer than dns.timeout of one server, shorter than dns.message_timeout
	name := strings.TrimSuffix(q.Question[0].Name, ".")
	if !domain.Within(name, "dead.evil.example") && !strings.Contains(name, ".dead._domainkey.evil.example") && !domain.Within(name, "lame.victim.example") && !strings.HasSuffix(name, ".in-addr.arpa") {
		return f.zone.Answer(q), nil
	}
	switch f.fault {
	case "SERVFAIL":
		return new(miekg.Msg).SetRcode(q, miekg.RcodeServerFailure), nil
	case "slow":
		select {
		case <-time.After(slow):
			return f.zone.Answer(q), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case "a thousand records":
		m := new(miekg.Msg).SetReply(q)
		for i := range 1000 {
			text := fmt.Sprintf("%s 60 IN TXT \"record %d\"", q.Question[0].Name, i)
			switch q.Question[0].Qtype {
			case miekg.TypeA:
				text = fmt.Sprintf("%s 60 IN A 192.0.%d.%d", q.Question[0].Name, i/256, i%256)
			case miekg.TypePTR:
				text = fmt.Sprintf("%s 60 IN PTR p%d.dead.evil.example.", q.Question[0].Name, i)
			}
			if rr, err := miekg.NewRR(text); err == nil {
				m.Answer = append(m.Answer, rr)
			}
		}
		return m, nil
	}
	<-ctx.Done() // no answer, or a truncated one and a TCP server that is too slow
	return nil, ctx.Err()
}

// The rule for temporary errors: no fault in the sender's DNS may help a forgery of a p=reject domain whose own DNS works. The forgery is
// rejected or deferred, or quarantined because of verified evidence. No message waits longer than dns.message_timeout. Honest mail with
// the same names is accepted.
func TestSenderCannotEvadeByDNS(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	record, err := dkim.FormatKeyRecord(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range levers() {
		zone := "_dmarc.victim.example. TXT \"v=DMARC1; p=reject\"\nvictim.example. TXT \"v=spf1 ip4:198.51.100.0/24 -all\"\nk._domainkey.victim.example. TXT \"" + record + "\"\n" +
			"evil.example. TXT \"v=spf1 " + l.spf + " -all\"\n"
		for i := range 10 {
			zone += fmt.Sprintf("mx.evil.example. MX %d h%d.dead.evil.example.\n", i, i)
		}
		for _, fault := range []string{"dead", "slow", "SERVFAIL", "a thousand records"} {
			for _, honest := range []bool{false, true} {
				if honest && l.author != "" {
					continue // its Author Domain is a name that cannot be looked up
				}
				name := fmt.Sprintf("%s/%s/forged", l.name, fault)
				if honest {
					name = fmt.Sprintf("%s/%s/honest", l.name, fault)
				}
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { playLever(t, l, zone, fault, key, honest) })
				})
			}
		}
	}
}

func playLever(t *testing.T, l lever, zone, fault string, key ed25519.PrivateKey, honest bool) {
	time.Sleep(time.Until(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC))) // later than the t= of testdkim's seals
	parsed, err := dns.ParseZone(strings.NewReader(zone), "zone")
	if err != nil {
		t.Fatal(err)
	}
	f := newFilter(t, "")
	f.Resolver = dns.New(dns.Options{Ask: faulty{parsed, fault}.ask, Timeout: 10 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	var record *decision.Record
	f.Finished = func(r *decision.Record) { record = r }
	author := l.author
	if author == "" {
		author = "boss@victim.example"
	}
	fields := []dkim.Field{{Name: "From", Value: " " + author}, {Name: "To", Value: " bob@example.org"}, {Name: "Subject", Value: " x"},
		{Name: "Date", Value: " " + time.Now().Format(time.RFC1123Z)}}
	fields = append(append([]dkim.Field(nil), l.fields...), fields...)
	if honest {
		signer, err := dkim.NewSigner(fields, []dkim.Key{{Domain: "victim.example", Selector: "k", Signer: key}}, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		signer.Write([]byte(evilBody))
		signed, err := signer.Sign()
		if err != nil {
			t.Fatal(err)
		}
		fields = append(fields, signed...) // below the other fields
	}
	if l.seal {
		fields = sealed(t, fields, key)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m := f.Begin(ctx, milter.Session{MTA: "mx", SMTP: true, HELO: l.helo, Client: netip.MustParseAddr(evilClient)}, milter.Envelope{Sender: l.sender})
	time.Sleep(time.Second) // between RCPT and the end of the header
	for _, field := range fields {
		m.Header(field.Name, strings.ReplaceAll(field.Value, "\r\n", "\n"))
	}
	m.EndHeaders("Q")
	m.Body([]byte(evilBody))
	begin := time.Now()
	edits, reply := m.Finish(ctx)
	held := time.Since(begin)
	if held > f.MessageTimeout {
		t.Errorf("the session waits %v", held)
	}
	if honest && !l.below && held > settledTimeout {
		t.Errorf("honest mail waits %v for names that do not matter", held)
	}
	cancel()
	synctest.Wait()
	tag := ""
	for _, in := range edits.Insert {
		if in.Name == dispositionField {
			tag = in.Value
		}
	}
	_, verified := record.Find(policy.AuthorHeader, policy.MailingListRelay, policy.SRSRelay, policy.ResentRelay, policy.ARCRelay)
	verdict := fmt.Sprintf("%d %s %s; tag %q", reply.Code, reply.Enhanced, reply.Text, tag)
	switch {
	case honest && (reply.Code != 0 || tag != ""):
		t.Errorf("honest mail is not accepted: %s\n%v", verdict, edits.Insert)
	case !honest && reply.Code == 0 && (tag == "" || !verified):
		t.Errorf("a forgery is accepted: %s\n%v", verdict, edits.Insert)
	}
}

// sealed adds an ARC set whose key is at a name that the sender controls.
func sealed(t *testing.T, fields []dkim.Field, key ed25519.PrivateKey) []dkim.Field {
	return sealedBy(t, fields, evilBody, testdkim.Sealer{Domain: "evil.example", Selector: "arc.dead", Signer: key, Results: "mx; dmarc=pass header.from=victim.example"})
}

// sealedBy returns the fields of a message with an ARC set on top.
func sealedBy(t *testing.T, fields []dkim.Field, body string, sealer testdkim.Sealer) []dkim.Field {
	t.Helper()
	var msg bytes.Buffer
	for _, f := range fields {
		fmt.Fprintf(&msg, "%s:%s\r\n", f.Name, dkim.CRLF(f.Value))
	}
	fmt.Fprintf(&msg, "\r\n%s", body)
	text, err := sealer.Seal(msg.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	fields, rest, err := dkim.ReadMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, rest); err != nil {
		t.Fatal(err)
	}
	return fields
}
