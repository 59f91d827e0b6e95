package domain

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/spf"
	"signpost/internal/testdns"
	"signpost/keys"
)

// apply changes a zone like an administrator who publishes the records of a Fix. The records replace those with the same name and type. At
// the domain itself, a TXT record replaces only TXT records with the same version tag.
func apply(t *testing.T, zone, fix string) string {
	t.Helper()
	kind := func(rr miekg.RR) string {
		if txt, ok := rr.(*miekg.TXT); ok && !strings.Contains(rr.Header().Name, "_") && len(txt.Txt) > 0 {
			start, _, _ := strings.Cut(strings.ToLower(txt.Txt[0]), " ")
			if strings.HasPrefix(start, "v=spf1") {
				return "SPF"
			}
			return start
		}
		return rr.Header().Name + miekg.TypeToString[rr.Header().Rrtype]
	}
	read := func(line string) miekg.RR {
		rr, err := miekg.NewRR(line)
		if err != nil || rr == nil {
			t.Fatalf("%q is not a record: %v", line, err)
		}
		return rr
	}
	gone := map[string]bool{}
	for line := range strings.Lines(fix) {
		rr := read(line)
		if !strings.HasPrefix(line, rr.Header().Name+" IN ") {
			t.Errorf("%q is not a complete line", line)
		}
		if txt, ok := rr.(*miekg.TXT); ok {
			for _, s := range txt.Txt {
				if len(s) > 255 {
					t.Errorf("a string of %d bytes: %q", len(s), line)
				}
			}
		}
		gone[rr.Header().Name+kind(rr)] = true
	}
	var kept []string
	for line := range strings.Lines(zone) {
		if rr, err := miekg.NewRR(line); err == nil && rr != nil && gone[rr.Header().Name+kind(rr)] {
			continue
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "") + fix + "\n"
}

// The lines of a Fix are complete. After they are published, the finding is gone, and there is no new red finding.
func TestDomainMends(t *testing.T) {
	const spfAt, dmarcAt = `example.org. IN TXT "v=spf1 mx -all"`, `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"`
	spfOf := func(s string) string { return `example.org. IN TXT "v=spf1 ` + s + `"` }
	includes := func(n int) (s string) {
		for i := range n {
			s += fmt.Sprintf("include:p%d.example ", i)
		}
		return s
	}
	zone := healthy
	for i := range 12 {
		zone += fmt.Sprintf("p%d.example. IN TXT \"v=spf1 ip4:198.51.100.%d -all\"\n", i, i)
		zone += fmt.Sprintf("wide%d.example. IN TXT \"v=spf1 %s-all\"\n", i, manyNetworks(i, 12))
	}
	zone += `all.example. IN TXT "v=spf1 ` + includes(11) + `mx -all"
all.example. IN MX 10 mail.example.org.
more.example. IN TXT "v=spf1 a/30 redirect=all.example"
more.example. IN A 192.0.2.1
voids.example. IN TXT "v=spf1 a:x.example a:y.example mx:z.example ip4:192.0.2.1 -all"
huge.example. IN TXT "v=spf1 ip4:192.0.2.0/24 ip4:10.0.0.0/8 -all"
`
	two := spfAt + "\n" + spfOf("ip4:198.51.100.0/24 ~all")
	eleven := spfOf(includes(11) + "ip4:192.0.2.1 -all")
	wide := ""
	for i := range 11 {
		wide += fmt.Sprintf("include:wide%d.example ", i)
	}
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	right, wrong := keyRecord(t, signer), keyRecord(t, other)
	for _, c := range []struct{ name, old, new, what string }{
		// These are the five faults that the issue lists.
		{"SPF missing", spfAt, "", "example.org has no SPF record"},
		{"DMARC missing", dmarcAt, "", "example.org has no DMARC record"},
		{"DKIM missing", right, "", "the record of the DKIM key s1 of example.org is missing"},
		{"DKIM of another key", right, wrong, "the record of the DKIM key s1 of example.org contains another key"},
		{"two SPF records", spfAt, two, "2 SPF records at example.org"},
		{"SPF with 11 lookups", spfAt, eleven, "the SPF record of example.org needs 11 DNS lookups; the limit is 10"},
		{"DMARC with a typo", "p=reject", "p=rejct", `the DMARC record of example.org has a typo: p="rejct" is not valid; did you mean reject?`},
		{"DMARC with another typo", "rua=mailto:", "rua=mail:", `the DMARC record of example.org has a typo: rua="mail:reports@example.org" is not valid; did you mean mailto:reports@example.org?`},

		{"rua without an address", "rua=mailto:reports@example.org", "rua=reports", "the DMARC record of example.org has no rua"},
		{"only p=reject;", "; rua=mailto:reports@example.org", ";", "the DMARC record of example.org has no rua"},
		{"a registry without psd", dmarcAt, dmarcAt + "\n" + `_dmarc.org. IN TXT "v=DMARC1; p=none"`, "the registry org has a DMARC record without psd=y above example.org"},
		{"no space before the last SPF term", spfAt, spfOf("include:p1.example mx include:p2.example-all"), "a term of the SPF record of example.org has no valid target: include:p2.example-all: no record"},
		{"two SPF records with 11 lookups", spfAt, spfOf(includes(6)+"-all") + "\n" + spfOf("mx include:p6.example include:p7.example include:p8.example include:p9.example ~all"), "2 SPF records at example.org"},
		{"a wrong term among 11", spfAt, spfOf(includes(11) + "ip:192.0.2.1 -all"), "the SPF record of example.org has an error"},
		{"redirect alone", spfAt, spfOf("redirect=all.example"), "the SPF record of example.org needs 13 DNS lookups; the limit is 10"},
		{"redirect of a redirect", spfAt, spfOf("redirect=more.example"), "the SPF record of example.org needs 15 DNS lookups; the limit is 10"},
		{"nine lookups", spfAt, spfOf(includes(9) + "ip4:192.0.2.1 -all"), "the SPF record of example.org needs 9 of 10 DNS lookups"},
		{"the same term twice", spfAt, spfOf("a:x.example mx mx include:p1.example include:p2.example include:p3.example include:p4.example include:p5.example include:p6.example include:p7.example include:p7.example include:p8.example -all"), "the SPF record of example.org needs 12 DNS lookups; the limit is 10"},
		{"ptr among 11", spfAt, spfOf("ptr exists:%{i}.x.example exists:%{l}.y.example exists:a%{i}.example exists:b%{i}.example exists:c%{i}.example exists:d%{i}.example exists:e%{i}.example exists:f%{i}.example exists:g%{i}.example mx -all"), "the SPF record of example.org needs 11 DNS lookups; the limit is 10"},
		{"many networks", spfAt, spfOf(wide + "mx -all"), "the SPF record of example.org needs 12 DNS lookups; the limit is 10"},
		{"too long", spfAt, spfOf("mx " + manyNetworks(1, 30) + "-all"), "the SPF record of example.org has 614 bytes"},
		{"void lookups after a redirect", spfAt, spfOf("redirect=voids.example"), "the SPF record of example.org causes 3 void lookups; the limit is 2"},
		{"voids for IPv6 clients", spfAt, spfOf("a:mail.example.org a:more.example mx a:mail.example.org/31 -all"), "the SPF record of example.org causes 4 void lookups; the limit is 2"},
		{"redirect to nothing", spfAt, spfOf("redirect=none.example"), "a term of the SPF record of example.org has no valid target: redirect=none.example: no record"},
		{"two terms to nothing", spfAt, spfOf("mx include:none.example include:no.example -all"), "a term of the SPF record of example.org has no valid target: include:none.example: no record"},
		{"only ptr", spfAt, spfOf("ptr -all"), "the SPF record of example.org uses ptr"},
		{"wide include", spfAt, spfOf("mx include:huge.example -all"), "the SPF record of example.org allows 16777472 IPv4 addresses to send"},
		{"wide network", spfAt, spfOf("ip4:10.0.0.0/8 mx -all"), "the SPF record of example.org allows 16777217 IPv4 addresses to send"},
		{"wide networks together", spfAt, spfOf("ip4:10.1.0.0/16 mx ip4:10.2.0.0/16 ip4:10.3.0.0/16 -all"), "the SPF record of example.org allows 196609 IPv4 addresses to send"},
		{"wide redirect", spfAt, spfOf("redirect=huge.example"), "the SPF record of example.org allows 16777472 IPv4 addresses to send"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := &keys.Key{Domain: "example.org", Selector: "s1", Algorithm: "rsa", State: keys.Active, Signer: signer}
			own := &Own{Sender: Sender{HELO: "mail.example.org", Sends: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, Keys: []*keys.Key{k}}
			broken := strings.Replace(zone+right, c.old, c.new, 1)
			found := bad(check(t, broken, own))
			at := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.What == c.what })
			if at < 0 {
				t.Fatalf("want %q, got %+v", c.what, found)
			}
			for _, f := range bad(check(t, apply(t, broken, found[at].Fix), own)) {
				if f.What == c.what || f.Level == doctor.Red {
					t.Errorf("after publishing\n%s\nthere is: %+v", found[at].Fix, f)
				}
			}
		})
	}
}

// manyNetworks returns n SPF terms of about 18 bytes each.
func manyNetworks(seed, n int) (s string) {
	for i := range n {
		s += fmt.Sprintf("ip4:203.0.%d.%d/32 ", 100+seed, 10+2*i)
	}
	return s
}

// lookAt runs the checks of a domain.
func lookAt(t *testing.T, zone, domain string, change func(*Facts)) []doctor.Finding {
	t.Helper()
	z, err := dns.ParseZone(strings.NewReader(zone), "zone")
	if err != nil {
		t.Fatal(err)
	}
	d := Facts{Resolver: z.Resolver(time.Now, slog.New(slog.DiscardHandler))}
	if change != nil {
		change(&d)
	}
	return d.check(t.Context(), domain, nil)
}

// A domain without a DMARC record inherits the record of the Organizational Domain. The finding shows the inherited record.
func TestDMARCFromAbove(t *testing.T) {
	const deep = "a.b.c.d.e.f.g.example.org"
	for _, c := range []struct {
		name, domain, records string
		level                 doctor.Level
		what, fix             string
	}{
		{"sp", "news.example.org", `_dmarc.example.org. IN TXT "v=DMARC1; p=none; sp=reject; rua=mailto:a@example.org"` + "\nnews.example.org. IN A 192.0.2.1", doctor.Green, "the DMARC policy of news.example.org is reject, by sp of example.org", ""},
		{"np", "none.example.org", `_dmarc.example.org. IN TXT "v=DMARC1; p=none; np=reject; rua=mailto:a@example.org"`, doctor.Green, "the DMARC policy of none.example.org is reject, by np of example.org", ""},
		{"sp=none", "news.example.org", `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; sp=none; rua=mailto:a@example.org"` + "\nnews.example.org. IN A 192.0.2.1", doctor.Yellow, "the DMARC policy of news.example.org is none, by sp of example.org", `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; sp=quarantine; rua=mailto:a@example.org"`},
		{"t=y", "news.example.org", `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; t=y"`, doctor.Yellow, "the DMARC policy of example.org, which applies to news.example.org, is in test mode (t=y)", `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; t=n"`},
		{"a registry's", "example.org", `_dmarc.org. IN TXT "v=DMARC1; p=none; psd=y"` + "\nexample.org. IN A 192.0.2.1", doctor.Yellow, "the DMARC policy of example.org is none, by p of org", `_dmarc.example.org. IN TXT "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org"`},
		{"nine labels", deep, `_dmarc.example.org. IN TXT "v=DMARC1; p=reject"` + "\n" + deep + ". IN A 192.0.2.1", doctor.Yellow, deep + " has more than 8 labels and no DMARC record of its own", "_dmarc." + deep + `. IN TXT "v=DMARC1; p=reject; rua=mailto:postmaster@` + deep + `"`},
		{"eight labels", deep[2:], `_dmarc.example.org. IN TXT "v=DMARC1; p=reject"` + "\n" + deep[2:] + ". IN A 192.0.2.1", doctor.Green, "the DMARC policy of " + deep[2:] + " is reject, by p of example.org", ""},
		{"unreadable", "news.example.org", `_dmarc.example.org. IN TXT "v=DMARC1; p=rejct"`, doctor.Red, "news.example.org has no DMARC record", `_dmarc.news.example.org. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@news.example.org"`},
		{"np=none", "example.org", `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; np=none; rua=mailto:a@example.org"`, doctor.Yellow, "the DMARC policy for subdomains of example.org that do not exist is none (np=none)", `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; np=reject; rua=mailto:a@example.org"`},
		{"something else", "example.org", `_dmarc.example.org. IN TXT "x"` + "\n" + `_dmarc.example.org. IN TXT "v=DMARC; p=reject; rua=mailto:a@example.org"`, doctor.Red, `the DMARC record of example.org is not valid: it begins with "v=DMARC" instead of v=DMARC1`, `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:a@example.org"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			named := func(f doctor.Finding) bool { return f.Check == "dmarc" && f.What == c.what }
			zone := c.records + "\n"
			all := lookAt(t, zone, c.domain, nil)
			at := slices.IndexFunc(all, named)
			if at < 0 || all[at].Level != c.level || all[at].Fix != c.fix {
				t.Fatalf("%+v", all)
			}
			if c.fix != "" && slices.ContainsFunc(lookAt(t, apply(t, zone, c.fix), c.domain, nil), named) {
				t.Error("the fix does not correct the fault")
			}
		})
	}
	all := lookAt(t, healthy, "example.org", nil)
	if !slices.ContainsFunc(all, func(f doctor.Finding) bool {
		return strings.Contains(f.Where, "subdomains: reject (sp), reject if they do not exist (np)")
	}) {
		t.Errorf("the policies for subdomains are missing: %+v", all)
	}
}

// A domain that sends and accepts no mail should publish these records.
func TestNamesWithoutMail(t *testing.T) {
	const null = "example.org. IN MX 0 .\n"
	const closed = `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:a@example.net"` + "\n" + `example.org._report._dmarc.example.net. IN TXT "v=DMARC1"` + "\n"
	for _, c := range []struct {
		name, zone string
		level      doctor.Level
		what, fix  string
	}{
		{"null MX, no SPF", null + closed, doctor.Yellow, "example.org accepts no mail, but does not state that it sends none", `example.org. IN TXT "v=spf1 -all"`},
		{"null MX, and hosts that send", null + closed + `example.org. IN TXT "v=spf1 ip4:192.0.2.1 -all"`, doctor.Yellow, "example.org accepts no mail, but its SPF record allows hosts to send", `example.org. IN TXT "v=spf1 -all"`},
		{"null MX, no DMARC", null + `example.org. IN TXT "v=spf1 -all"`, doctor.Red, "example.org has no DMARC record", `_dmarc.example.org. IN TXT "v=DMARC1; p=reject"`},
		{"a web server", "example.org. IN A 192.0.2.1\n" + closed, doctor.Red, "example.org has no SPF record", `example.org. IN TXT "v=spf1 -all"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			named := func(f doctor.Finding) bool { return f.Level == c.level && f.What == c.what && f.Fix == c.fix }
			zone := c.zone + "\n"
			if all := lookAt(t, zone, "example.org", nil); !slices.ContainsFunc(all, named) {
				t.Fatalf("%+v", all)
			}
			if all := lookAt(t, apply(t, zone, c.fix), "example.org", nil); slices.ContainsFunc(all, named) {
				t.Error("the fix does not correct the fault")
			}
		})
	}
}

// If doctor does not know some addresses of this host, no proposed record makes receivers reject mail from these addresses.
func TestUnknownAddresses(t *testing.T) {
	const mx = "example.org. IN MX 10 mail.example.org.\nmail.example.org. IN A 192.0.2.1\n"
	for _, c := range []struct{ name, zone, fix string }{
		{"no record", "example.org. IN A 192.0.2.1\n", "signpost doctor --address ADDR # prints the record for this address"},
		{"no record, and an MX", mx, "signpost doctor --address ADDR # prints the record for this address"},
		{"+all", mx + `example.org. IN TXT "v=spf1 mx +all"`, `example.org. IN TXT "v=spf1 mx ~all"`},
		{"no end", mx + `example.org. IN TXT "v=spf1 mx"`, `example.org. IN TXT "v=spf1 mx ~all"`},
		{"ptr", mx + `example.org. IN TXT "v=spf1 ptr -all"`, `example.org. IN TXT "v=spf1 mx ~all"`},
	} {
		var fixes []string
		for _, f := range check(t, c.zone+"\n", &Own{Sender: Sender{HELO: "mail.example.org", Partial: true}}) {
			if f.Check == "spf" {
				fixes = append(fixes, f.Fix)
			}
		}
		if len(fixes) != 1 || fixes[0] != c.fix {
			t.Errorf("%s: %q", c.name, fixes)
		}
	}
}

// Whatever a record contains, the lines of a Fix for SPF are complete and valid records.
func FuzzSPFLines(f *testing.F) {
	for _, s := range []string{"redirect=a.example", "mx mx a/24 a//64 ptr +ptr:x ?all", "ip4:10.0.0.0/8 ip6:fc00::/7 include:b.example -include:b.example", "exists:%{i}.x redirect=b.example exp=x", "a:a.example all redirect=b.example REDIRECT=x",
		strings.Repeat("include:a.example ", 9) + strings.Repeat("ip4:192.0.2.1 ", 60)} {
		f.Add(s)
	}
	zone := `a.example. IN TXT "v=spf1 a mx/28 a:b.example ip4:192.0.2.0/24 -ip4:192.0.2.9 include:b.example redirect=c.example"
b.example. IN TXT "v=spf1 ip4:10.0.0.0/8 a:none.example a:no.example mx:nothing.example -all"
c.example. IN TXT "v=spf1 exists:%{d}.x ptr ?ip4:11.0.0.0/8 +all"
a.example. IN MX 10 a.example.
a.example. IN A 192.0.2.1
`
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 2000 || !spf.IsRecord("v=spf1 "+s) {
			return
		}
		for _, finding := range lookAt(t, zone+record("example.org", "v=spf1 "+s)+"\n", "example.org", nil) {
			if !strings.HasPrefix(finding.Check, "spf") || finding.Fix == "" || strings.HasPrefix(finding.Fix, "dig ") {
				continue
			}
			for line := range strings.Lines(finding.Fix) {
				rr, err := miekg.NewRR(line)
				txt, ok := rr.(*miekg.TXT)
				if err != nil || !ok {
					t.Fatalf("%s: %q: %v", finding.What, line, err)
				}
				if _, err := spf.ParseRecord(strings.Join(txt.Txt, "")); err != nil {
					t.Errorf("%s: %q: %v", finding.What, line, err)
				}
			}
		}
	})
}

// A line of a Fix cannot contain a command of an attacker.
func TestHostileNamesInCommands(t *testing.T) {
	zone := "example.org. IN MX 10 $(reboot)`x`'y.example.org.\nexample.org. IN MX 20 a|b&c.example.org.\n" +
		"$(reboot)`x`'y.example.org. IN A 127.0.0.1\na|b&c.example.org. IN A 127.0.0.1\n" +
		"_25._tcp.$(reboot)`x`'y.example.org. IN TLSA 3 1 1 00\n_25._tcp.a|b&c.example.org. IN TLSA 3 1 1 00\n" +
		"example.org. IN TXT \"v=spf1 include:$(reboot)`x`'y.example -all\"\n" +
		"_mta-sts.example.org. IN TXT \"v=STSv1; id=1\"\n"
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no") }
	for _, faults := range []string{"", ";fault $(reboot)`x`'y.example SERVFAIL\n;fault $(reboot)`x`'y.example.org SERVFAIL\n"} {
		server, err := testdns.Start(zone + faults)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Stop()
		resolver := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: 5 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		seen := 0
		for _, f := range (Facts{Resolver: resolver, Dial: refuse}).check(t.Context(), "example.org", nil) {
			if strings.Contains(f.Fix, " IN ") || !strings.ContainsAny(f.Fix, "`|") {
				continue
			}
			seen++
			command, _, _ := strings.Cut(f.Fix, " #")
			name, args, _ := strings.Cut(command, " ")
			args, _, _ = strings.Cut(args, " </dev/null")
			out, err := exec.Command("sh", "-c", "reboot() { echo ran; }; x() { echo ran; }; b() { echo ran; }; printf '%s\\n' "+args).CombinedOutput()
			if err != nil || strings.Contains(string(out), "ran") || !strings.ContainsAny(string(out), "`|") {
				t.Errorf("%s: %s: %s %v", name, f.Fix, out, err)
			}
		}
		if seen == 0 {
			t.Error("no command has such a name")
		}
	}
}

// For frequent mistakes, the Fix is the record that was intended. No line of a Fix permits all hosts to send.
func TestWhatWasMeant(t *testing.T) {
	for text, want := range map[string]string{
		"v=spf1 mx ip4: 192.0.2.1 -all":               "v=spf1 mx ip4:192.0.2.1 -all",
		"v=spf1 include mail.example -all":            "v=spf1 include:mail.example -all",
		"v=spf1 include: mail.example -all":           "v=spf1 include:mail.example -all",
		"v=spf1 mx, ip4:192.0.2.1, -all":              "v=spf1 mx ip4:192.0.2.1 -all",
		"v=spf1 mx -all.":                             "v=spf1 mx -all",
		"v=spf1 mx \u2014all":                         "v=spf1 mx -all",
		"v=spf1 mx ip4:192.0.2.0/24 all-":             "v=spf1 mx ip4:192.0.2.0/24 -all",
		"v=spf1 mx - all":                             "v=spf1 mx -all",
		"v=spf1 mx x=% all":                           "v=spf1 mx ~all",
		"v=spf1 mx ip4:192.0.2.1-all":                 "v=spf1 mx ip4:192.0.2.1 -all",
		"v=spf1 mx include:_spf.example.com-all":      "v=spf1 mx include:_spf.example.com -all",
		"v=spf1 mx include:https://x.example/y -all":  "v=spf1 mx include:x.example -all",
		"v=spf1 mx redirect:x.example":                "v=spf1 mx redirect=x.example",
		"v=spf1 mx inculde:x.example ip6:192.0.2.1 ~": "v=spf1 mx include:x.example ip4:192.0.2.1",
	} {
		if got := mendSPF(text); got != want {
			t.Errorf("%s\n became %s\n  not   %s", text, got, want)
		}
	}
	const a, b = "rua=mailto:a@example.org", "rua=mailto:a@example.org,mailto:b@example.org"
	for text, want := range map[string]string{
		"v=DMARC1; p=reject; rua=mailto: a@example.org":                         a,
		"v=DMARC1; p=reject; rua=mailto:<a@example.org>":                        a,
		"v=DMARC1; p=reject; rua=mailto:a@example.org mailto:b@example.org":     b,
		"v=DMARC1; p=reject; rua=mailto:a@example.org; mailto:b@example.org":    b,
		"v=DMARC1; p=reject; rua=mailto:a@example.org;b@example.org":            b,
		"v=DMARC1; p=block; rua=mailto:a@example.org, b@example.org":            b,
		"v=DMARC1, p=reject, rua=mailto:a@example.org":                          a,
		"v=DMARC1: p=reject: rua=mailto:a@example.org":                          a,
		"v=DMRAC1; p==reject; rua=malto:a@example.org":                          a,
		"v=DMARC1; p=\"reject\"; rua=mailto//a@example.org":                     a,
		"v=DMARC1; p=reject; rua=mailto:a@example.org!10m,mailto:b@example.org": b,
	} {
		got, faults := mendDMARC(text)
		if got != "v=DMARC1; p=reject; "+want || len(faults) == 0 {
			t.Errorf("%s\n became %s %q", text, got, faults)
		}
	}
	if _, faults := mendDMARC("v=DMARC1; p=reject; " + b + "; ruf=mailto:c@example.org , mailto:d@example.org"); len(faults) > 0 {
		t.Errorf("faults in a good record: %q", faults)
	}
}
