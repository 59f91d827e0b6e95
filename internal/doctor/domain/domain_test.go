package domain

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/testdns"
	"signpost/keys"
)

const healthy = `example.org. IN MX 10 mail.example.org.
mail.example.org. IN A 192.0.2.1
mail.example.org. IN TXT "v=spf1 a -all"
1.2.0.192.in-addr.arpa. IN PTR mail.example.org.
example.org. IN TXT "v=spf1 mx -all"
_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"
`

// key returns a key of our own. Each seed produces another key.
func key(t *testing.T, seed byte) *keys.Key {
	t.Helper()
	return &keys.Key{Domain: "example.org", Selector: "s1", Algorithm: "ed25519", State: keys.Active,
		Signer: ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), ed25519.SeedSize)))}
}

func keyRecord(t *testing.T, k crypto.Signer) string {
	t.Helper()
	text, err := dkim.FormatKeyRecord(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return record("s1._domainkey.example.org", text) + "\n"
}

// check runs the checks of one domain, and the checks of this host if own is not nil.
func (f Facts) check(ctx context.Context, domain string, own *Own) (found []doctor.Finding) {
	f.Domain, f.Own = domain, own
	if own != nil {
		checks := HostChecks(Host{Domain: domain, Resolver: f.Resolver}, &own.Sender)
		found = doctor.Run(ctx, checks[1:]) // the first one runs postconf
	}
	return append(found, Run(ctx, f)...)
}

func check(t *testing.T, zone string, own *Own) []doctor.Finding {
	t.Helper()
	server, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	resolver := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: 5 * time.Second,
		Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	all := Facts{Resolver: resolver}.check(t.Context(), "example.org", own)
	if n := len(server.Queries()); n > maxQueries {
		t.Errorf("%d queries", n)
	}
	return all
}

func bad(all []doctor.Finding) (found []doctor.Finding) {
	for _, f := range all {
		if f.Level != doctor.Green {
			found = append(found, f)
		}
	}
	return found
}

// publish adds a line to a zone. The line replaces the records with the same name and the same beginning.
func publish(zone, line string) string {
	start, _, _ := strings.Cut(line, "=")
	name, _, _ := strings.Cut(line, " ")
	var kept []string
	for l := range strings.Lines(zone) {
		if strings.HasPrefix(l, start) || strings.HasPrefix(l, name) && !strings.HasPrefix(name, "example.org.") {
			continue
		}
		kept = append(kept, l)
	}
	return strings.Join(kept, "") + line + "\n"
}

func TestHealthy(t *testing.T) {
	k := key(t, 0)
	own := &Own{Sender: Sender{HELO: "mail.example.org", Sends: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, Keys: []*keys.Key{k}}
	all := check(t, healthy+keyRecord(t, k.Signer), own)
	var subjects []string
	for _, f := range all {
		if f.Level != doctor.Green || f.Fix != "" || f.Why != "" {
			t.Errorf("%+v", f)
		}
		subjects = append(subjects, f.Check)
	}
	for _, want := range []string{"mx", "ptr", "helo", "spf", "dkim", "dmarc"} {
		if !slices.Contains(subjects, want) {
			t.Errorf("no finding of the check %s", want)
		}
	}
}

// Each misconfiguration is found, and its Fix corrects it.
func TestMisconfigured(t *testing.T) {
	spfAt := `example.org. IN TXT "v=spf1 mx -all"`
	dmarcAt := `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"`
	eleven, includes := "", ""
	for i := range 11 {
		eleven += fmt.Sprintf("p%d.example. IN TXT \"v=spf1 ip4:198.51.100.%d -all\"\n", i, i)
		includes += fmt.Sprintf(" include:p%d.example", i)
	}
	for _, c := range []struct{ name, old, new, check, what, where, fix string }{
		{"record missing", dmarcAt, "", "dmarc", "example.org has no DMARC record", "no TXT record", `_dmarc.example.org. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.org"`},
		{"DMARC at the domain", dmarcAt, `example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"`, "dmarc", "example.org has no DMARC record", `example.org. IN TXT "v=DMARC1`, dmarcAt},
		{"p=rejct", "p=reject", "p=rejct", "dmarc", `the DMARC record of example.org has a typo: p="rejct" is not valid; did you mean reject?`, "p=rejct", dmarcAt},
		{"v=DMARC", "v=DMARC1", "v=DMARC", "dmarc", `the DMARC record of example.org is not valid: it begins with "v=DMARC" instead of v=DMARC1`, "v=DMARC;", dmarcAt},
		{"v=dmarc1", "v=DMARC1", "v=dmarc1", "dmarc", `the DMARC record of example.org is not valid: it begins with "v=dmarc1" instead of v=DMARC1`, "v=dmarc1;", dmarcAt},
		{"no semicolon", "p=reject;", "p=reject", "dmarc", `the DMARC record of example.org has a typo: a semicolon is missing before "rua="`, "p=reject rua", dmarcAt},
		{"no semicolon after v", "v=DMARC1;", "v=DMARC1", "dmarc", `the DMARC record of example.org is not valid: a semicolon is missing before "p="`, "v=DMARC1 p=", dmarcAt},
		{"unknown tag", "rua=", "rau=", "dmarc", `the DMARC record of example.org has a typo: the tag "rau" is unknown; did you mean rua?`, "rau=", dmarcAt},
		{"policy=", "p=reject", "policy=reject", "dmarc", `the DMARC record of example.org has a typo: the tag "policy" is unknown; did you mean p?`, "policy=", dmarcAt},
		{"no mailto", "mailto:reports", "reports", "dmarc", `the DMARC record of example.org has a typo: rua="reports@example.org" is not valid; did you mean mailto:reports@example.org?`, "rua=reports", dmarcAt},
		{"pct", "p=reject;", "p=reject; pct=50;", "dmarc", "the DMARC record of example.org has a typo: the tag pct is obsolete and ignored", "pct=50", dmarcAt},
		{"no rua", "; rua=mailto:reports@example.org", "", "dmarc", "the DMARC record of example.org has no rua", "p=reject", `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:postmaster@example.org"`},
		{"two DMARC records", dmarcAt, dmarcAt + "\n" + `_dmarc.example.org. IN TXT "v=DMARC1; p=none"`, "dmarc", "2 DMARC records at _dmarc.example.org", "p=none", dmarcAt},
		{"external rua", "mailto:reports@example.org", "mailto:x@reports.example", "dmarc-rua", "reports.example does not accept DMARC reports about example.org", "example.org._report._dmarc.reports.example: no DMARC record", `example.org._report._dmarc.reports.example. IN TXT "v=DMARC1"`},
		{"no SPF", spfAt, "", "spf", "example.org has no SPF record", "no TXT record", `example.org. IN TXT "v=spf1 mx ip4:192.0.2.1 -all"`},
		{"two SPF records", spfAt, spfAt + "\n" + `example.org. IN TXT "v=spf1 ip4:198.51.100.0/24 ~all"`, "spf", "2 SPF records at example.org", "198.51.100.0/24", `example.org. IN TXT "v=spf1 mx ip4:198.51.100.0/24 ~all"`},
		{"SPF with 11 lookups", spfAt, `example.org. IN TXT "v=spf1` + includes + ` ip4:192.0.2.1 -all"` + "\n" + eleven, "spf-tree", "the SPF record of example.org needs 11 DNS lookups; the limit is 10",
			" 11  example.org\n  1    include:p0.example\n", `example.org. IN TXT "v=spf1 ip4:198.51.100.0` + includes[len(" include:p0.example"):] + ` ip4:192.0.2.1 -all"`},
		{"SPF with a wrong term", "v=spf1 mx", "v=spf1 mx ipv4:198.51.100.1", "spf", "the SPF record of example.org has an error", "unknown mechanism: ipv4 (ipv4:198.51.100.1)", `example.org. IN TXT "v=spf1 mx ip4:198.51.100.1 -all"`},
		{"SPF with a wrong version", "v=spf1 mx", "v=spf1;mx", "spf", "the SPF record of example.org does not begin with v=spf1 and a space", "v=spf1;mx", spfAt},
		{"+all", "mx -all", "mx +all", "spf", "the SPF record of example.org allows every host to send", "+all", spfAt},
		{"ptr", "v=spf1 mx", "v=spf1 mx ptr", "spf", "the SPF record of example.org uses ptr", "mx ptr", spfAt},
		{"no end", "mx -all", "mx", "spf", "the SPF record of example.org has neither all nor redirect", `"v=spf1 mx"`, spfAt},
		{"include of nothing", "v=spf1 mx", "v=spf1 mx include:no.example", "spf-tree", "a term of the SPF record of example.org has no valid target: include:no.example: no record", "no.example", spfAt},
		{"voids", "v=spf1 mx", "v=spf1 mx a:a.example a:b.example a:c.example", "spf-tree", "the SPF record of example.org causes 4 void lookups; the limit is 2", "a:c.example", spfAt},
		{"own address", "v=spf1 mx", "v=spf1 ip4:198.51.100.1", "spf", "the SPF record of example.org does not allow this host", "192.0.2.1: fail", `example.org. IN TXT "v=spf1 ip4:192.0.2.1 ip4:198.51.100.1 -all"`},
		{"alias as MX", "mail.example.org. IN A 192.0.2.1", "mail.example.org. IN A 192.0.2.1\nmx.example.org. IN CNAME mail.example.org.\nexample.org. IN MX 20 mx.example.org.", "mx", "the mail exchange mx.example.org is an alias", "CNAME", "example.org. IN MX 20 mail.example.org."},
		{"no PTR", "1.2.0.192.in-addr.arpa. IN PTR mail.example.org.", "", "ptr", "192.0.2.1 has no PTR record", "1.2.0.192", "1.2.0.192.in-addr.arpa. IN PTR mail.example.org."},
		{"HELO without SPF", `mail.example.org. IN TXT "v=spf1 a -all"`, "", "helo", "SPF of the HELO name mail.example.org is none, not pass", "no SPF record", `mail.example.org. IN TXT "v=spf1 a -all"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := key(t, 0)
			own := &Own{Sender: Sender{HELO: "mail.example.org", Sends: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, Keys: []*keys.Key{k}}
			zone := strings.Replace(healthy, c.old, c.new, 1) + keyRecord(t, k.Signer)
			found := bad(check(t, zone, own))
			at := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Check == c.check && f.What == c.what })
			if at < 0 {
				t.Fatalf("want %q, got %+v", c.what, found)
			}
			if f := found[at]; f.Fix != c.fix || !strings.Contains(f.Where, c.where) || f.Why == "" {
				t.Errorf("%s\nfix  %s\nwant %s\nwhere %s", f.What, f.Fix, c.fix, f.Where)
			}
			if strings.Contains(c.fix, " MX ") {
				zone = strings.Replace(zone, "example.org. IN MX 20 mx.example.org.\n", "", 1)
			}
			for _, f := range bad(check(t, publish(zone, c.fix), own)) {
				if f.What == c.what {
					t.Errorf("the fix does not correct the fault: %+v", f)
				}
			}
		})
	}
}

func TestKeyRecord(t *testing.T) {
	k := key(t, 0)
	own := &Own{Keys: []*keys.Key{k}}
	right := strings.TrimSpace(keyRecord(t, k.Signer))
	for _, c := range []struct{ name, record, what, where string }{
		{"missing", "", "the record of the DKIM key s1 of example.org is missing", "s1._domainkey.example.org: no TXT record"},
		{"twice the domain", strings.Replace(right, "example.org.", "example.org.example.org.", 1), "the record of the DKIM key s1 of example.org is missing", "example.org.example.org. IN TXT"},
		{"another key", keyRecord(t, key(t, 1).Signer), "the record of the DKIM key s1 of example.org contains another key", "in DNS: 32 bytes, 2df04125 ... 27da0fa6\nhere:   32 bytes, af06a3e3 ... 9383341d"},
		{"no key", strings.Replace(right, "p=", "p=!", 1), "the record of the DKIM key s1 of example.org is not valid: p= is not valid base64", "p=!"},
		{"t=y", strings.Replace(right, "p=", "t=y; p=", 1), "the record of the DKIM key s1 of example.org contains t=y (testing)", "t=y"},
		{"two", right + "\n" + `s1._domainkey.example.org. IN TXT "x"`, "2 TXT records at the DKIM key s1 of example.org", `"x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone := healthy + c.record + "\n"
			found := bad(check(t, zone, own))
			if len(found) != 1 || found[0].What != c.what || found[0].Fix != right || !strings.Contains(found[0].Where, c.where) {
				t.Fatalf("%+v", found)
			}
			if found := bad(check(t, publish(zone, found[0].Fix), own)); len(found) > 0 {
				t.Errorf("the fix does not correct the fault: %+v", found)
			}
		})
	}
}

// Text in the records of other domains cannot control the terminal.
func TestHostileText(t *testing.T) {
	zone := `example.org. IN MX 10 a\027[2J.example.org.
example.org. IN TXT "v=spf1 \027]0;x\007 -all"
_dmarc.example.org. IN TXT "v=DMARC1; p=\027[31mreject; \226\128\174=1"
_dmarc.example.org. IN TXT "\010\013\027"
`
	all := check(t, zone, nil)
	if len(bad(all)) < 3 {
		t.Errorf("%+v", all)
	}
	for _, f := range all {
		for _, text := range []string{f.What, f.Where, f.Why, f.Fix} {
			for _, c := range []byte(text) {
				if c != '\n' && (c < ' ' || c > '~') {
					t.Errorf("%q", text)
				}
			}
		}
		if strings.Contains(f.What+f.Fix, "\n") {
			t.Errorf("more than one line: %q %q", f.What, f.Fix)
		}
	}
}

func TestNoDomain(t *testing.T) {
	all := Facts{}.check(context.Background(), "exa\x1bmple", nil)
	if len(all) != 1 || all[0].What != `"exa\x1bmple" is not a domain name` {
		t.Errorf("%+v", all)
	}
}

// mendDMARC always returns a record without faults. If it gets this record as input, it does not change the record.
func FuzzMend(f *testing.F) {
	for _, s := range []string{"v=DMARC1; p=rejct", "v=DMARC; p=none rua=mailto:a@b.example!10m", "p:reject, v=DMARC1", "", ";;=;v", "v=DMARC1; rua=a@b@c, d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, _ := mendDMARC(s)
		twice, faults := mendDMARC(once)
		if once != twice || len(faults) > 0 {
			t.Errorf("%q: %q, then %q: %v", s, once, twice, faults)
		}
		if merged := mergeSPF([]string{"v=spf1 " + s, "v=spf1 -all"}); !strings.HasPrefix(merged, "v=spf1 ") {
			t.Errorf("%q", merged)
		}
	})
}
