package report

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/filter"
	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

// A thousand messages go through the filter into the journal. A count of the log lines has the same rows as the reports.
func TestRowsAgreeWithLog(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	var records strings.Builder
	domains := []string{"none.example", "quarantine.example", "reject.example", "strict.example", "sub.reject.example", "nothing.example", "test.example"}
	for _, name := range domains {
		fmt.Fprintf(&records, "s1._domainkey.%s. TXT \"v=DKIM1; k=ed25519; p=%s\"\n", name, base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)))
		fmt.Fprintf(&records, "%s. TXT \"v=spf1 ip4:192.0.2.0/30 -all\"\nbounce.%s. TXT \"v=spf1 ip4:192.0.2.0/30 -all\"\n", name, name)
	}
	for name, tags := range map[string]string{"none.example": "p=none", "quarantine.example": "p=quarantine; adkim=s", "reject.example": "p=reject; sp=quarantine",
		"strict.example": "p=reject; adkim=s; aspf=s", "test.example": "p=reject; t=y"} {
		fmt.Fprintf(&records, "_dmarc.%s. TXT \"v=DMARC1; %s; rua=mailto:d@%s\"\n", name, tags, name)
	}
	zone, err := dns.ParseZone(strings.NewReader(records.String()), "zone")
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal(t)
	var log bytes.Buffer
	f := &filter.Filter{
		Keys:     func() *keys.Snapshot { return &keys.Snapshot{Set: &keys.Set{}} },
		Resolver: zone.Resolver(time.Now, slog.New(slog.DiscardHandler)), MessageTimeout: time.Minute, Now: time.Now,
		Log: slog.New(slog.NewJSONHandler(&log, nil)),
		Rules: policy.Rules{Reject: policy.RejectOnEvidence, Quarantine: policy.QuarantineTag, TempError: policy.TempErrorAccept, SPFFail: policy.SPFLeftToDMARC,
			HostileFrom: policy.HostileRefuse, TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")}},
		Finished: func(r *decision.Record) { j.Add(r) },
	}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(all []string) string { return all[random.IntN(len(all))] }
	for n := range 1000 {
		j.at(monday().Add(time.Duration(n) * time.Minute))
		name := pick(domains)
		sender := pick([]string{"", "a@" + name, "a@bounce." + name, "x@none.example"})
		client := netip.MustParseAddr(pick([]string{"192.0.2.1", "192.0.2.2", "203.0.113.7", "2001:db8::7", "198.51.100.9"}))
		m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: client, HELO: "mail." + name}, milter.Envelope{Sender: sender})
		m.Recipient([]byte("bob@example.net"))
		fields := []dkim.Field{{Name: "From", Value: " a@" + name}, {Name: "Subject", Value: fmt.Sprint(" ", n)}}
		body := "text\r\n"
		for _, by := range [][]string{nil, {name}, {name, "none.example"}}[random.IntN(3)] {
			signer, err := dkim.NewSigner(fields, []dkim.Key{{Domain: by, Selector: "s1", Signer: key}}, time.Now(), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			signer.Write([]byte(body))
			signatures, err := signer.Sign()
			if err != nil {
				t.Fatal(err)
			}
			fields = append(signatures, fields...)
		}
		for _, field := range fields {
			m.Header(field.Name, field.Value)
		}
		if random.IntN(4) == 0 {
			body = "changed\r\n"
		}
		m.EndHeaders(fmt.Sprint("Q", n))
		m.Body([]byte(body))
		m.Finish(t.Context())
	}
	want, got := map[string]int{}, map[string]int{}
	for line := range strings.Lines(log.String()) {
		var l struct {
			Client, Action, Role, SPF, DKIM, DMARC, Policy string
			HeaderFrom                                     string `json:"header_from"`
			MailFrom                                       string `json:"mail_from"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Role != "verify" || l.DMARC != "pass" && l.DMARC != "fail" {
			continue
		}
		disposition := map[string]string{"reject": "reject", "tag": "quarantine", "accept": "none"}[l.Action]
		if l.Action == "accept" && l.DMARC == "pass" && l.Policy != "none" {
			disposition = "pass"
		}
		signatures := strings.Split(l.DKIM, ",")
		if l.DKIM == "none" {
			signatures = nil
		}
		slices.Sort(signatures)
		_, envelope, _ := strings.Cut(l.MailFrom, "@")
		want[strings.Join([]string{l.Client, l.HeaderFrom, envelope, disposition, l.DMARC, l.SPF, strings.Join(signatures, ",")}, " ")]++
	}
	messages := 0
	for name, r := range j.reports(t, monday(), Options{}) {
		sum := 0
		for _, row := range r.Rows {
			var signatures []string
			for _, s := range row.Signatures {
				signatures = append(signatures, string(s.Result)+":"+s.Domain+"/"+s.Selector)
			}
			slices.Sort(signatures)
			status := "fail"
			if row.DKIM || row.SPF {
				status = "pass"
			}
			got[strings.Join([]string{row.Source.String(), row.HeaderFrom, row.EnvelopeFrom, string(row.Disposition), status, string(row.SPFResult) + ":" + row.SPFDomain, strings.Join(signatures, ",")}, " ")] += row.Count
			sum += row.Count
			if status == "fail" && len(row.Reasons) == 0 && string(row.Disposition) != string(r.Policy.P) && row.HeaderFrom == r.Policy.Domain {
				t.Errorf("%s: no reason: %+v", name, row)
			}
		}
		if sum != r.Messages {
			t.Errorf("%s: %d messages, but the counts add up to %d", name, r.Messages, sum)
		}
		messages += sum
		if r.Optional {
			t.Errorf("%s: the report is optional", name)
		}
	}
	if !maps.Equal(got, want) {
		for line, n := range want {
			if got[line] != n {
				t.Errorf("%d instead of %d: %s", got[line], n, line)
			}
		}
	}
	if messages < 500 || len(want) < 50 {
		t.Errorf("only %d messages in %d rows", messages, len(want))
	}
}
