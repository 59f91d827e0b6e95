package domain

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"signpost/internal/doctor"
)

// Each misconfiguration of DNS causes exactly one finding. After the lines of its Fix are published, everything is green. The zone has two
// domains, a.test and b.test, and the host mail.hoster.example.
func TestPlantedFaults(t *testing.T) {
	right, _ := hosted(t, "a.test", "b.test")
	keyLine := func(domain string) string {
		for line := range strings.Lines(right) {
			if strings.Contains(line, "._domainkey."+domain) {
				return strings.TrimSpace(line)
			}
		}
		t.Fatalf("no key of %s", domain)
		return ""
	}
	key, other := keyLine("a.test"), keyLine("b.test")
	_, keyText, _ := strings.Cut(key, " ")
	_, otherText, _ := strings.Cut(other, " ")
	const spfAt, dmarcAt = `a.test. IN TXT "v=spf1 include:_spf.hoster.example -all"`, `_dmarc.a.test. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@a.test"`
	const mxAt, sharedAt = "a.test. IN MX 10 mail.hoster.example.", `_spf.hoster.example. IN TXT "v=spf1 ip4:192.0.2.1 -all"`
	const policy = `_dmarc.a.test. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@a.test" ; in place of the CNAME record`
	eleven, terms := "", ""
	for i := range 11 {
		eleven += fmt.Sprintf("p%d.example. IN TXT \"v=spf1 ip4:198.51.100.%d -all\"\n", i, i)
		terms += fmt.Sprintf("include:p%d.example ", i)
	}
	for _, c := range []struct {
		name, old, new string
		level          doctor.Level
		what, fix      string
		left           string // a finding that remains after the fix, because the fix is deliberately cautious; empty: everything is green
	}{
		{"the key's name is an alias without a record at its target", key, "s0._domainkey.a.test. IN CNAME a.keys.hoster.example.", doctor.Red,
			"the name of the DKIM key s0 of a.test is an alias without a TXT record at its target", "a.keys.hoster.example. " + keyText, ""},
		{"the policy's name is an alias whose target a vendor has removed", dmarcAt, "_dmarc.a.test. IN CNAME a.test.vendor.example.", doctor.Red,
			"_dmarc.a.test is an alias without a TXT record at its target", policy, "the DMARC policy of a.test is none"},
		{"the mail exchange is an alias without an address at its target", mxAt, "a.test. IN MX 10 mx.a.test.\nmx.a.test. IN CNAME old.hoster.example.", doctor.Red,
			"the mail exchange mx.a.test is an alias whose target has no address", "mx.a.test. IN A 192.0.2.1 ; or the right address, in place of the CNAME record", ""},
		{"the mail exchange is an alias", mxAt, "a.test. IN MX 10 mx.a.test.\nmx.a.test. IN CNAME mail.hoster.example.", doctor.Red,
			"the mail exchange mx.a.test is an alias", mxAt, ""},
		{"no key record", key + "\n", "", doctor.Red, "the record of the DKIM key s0 of a.test is missing", key, ""},
		{"the record of another key", keyText, otherText, doctor.Red, "the record of the DKIM key s0 of a.test contains another key", key, ""},
		{"a key record with backslashes", key, strings.ReplaceAll(key, "; ", `\\; `), doctor.Red, "the record of the DKIM key s0 of a.test is not valid: there is a backslash before a semicolon", key, ""},
		{"DMARC without a semicolon", "v=DMARC1; p=reject; rua=mailto:reports@a.test", "v=DMARC1 p=reject; rua=mailto:reports@a.test", doctor.Red,
			`the DMARC record of a.test is not valid: a semicolon is missing before "p="`, dmarcAt, ""},
		{"DMARC with a misspelt policy", "p=reject; rua=mailto:reports@a.test", "p=rejct; rua=mailto:reports@a.test", doctor.Red,
			`the DMARC record of a.test has a typo: p="rejct" is not valid; did you mean reject?`, dmarcAt, ""},
		{"reports to another organization", "mailto:reports@a.test", "mailto:a@reports.example", doctor.Yellow,
			"reports.example does not accept DMARC reports about a.test", `a.test._report._dmarc.reports.example. IN TXT "v=DMARC1"`, ""},
		{"SPF with =", spfAt, `a.test. IN TXT "v=spf1 ip4=192.0.2.1 -all"`, doctor.Red,
			"the SPF record of a.test has terms without effect: ip4=192.0.2.1", `a.test. IN TXT "v=spf1 ip4:192.0.2.1 -all"`, ""},
		{"two SPF records", spfAt, spfAt + "\n" + `a.test. IN TXT "v=spf1 ip4:198.51.100.0/24 ~all"`, doctor.Red,
			"2 SPF records at a.test", `a.test. IN TXT "v=spf1 include:_spf.hoster.example ip4:198.51.100.0/24 ~all"`, ""},
		{"SPF with 11 lookups", spfAt, `a.test. IN TXT "v=spf1 ` + terms + `ip4:192.0.2.1 -all"` + "\n" + eleven, doctor.Red,
			"the SPF record of a.test needs 11 DNS lookups; the limit is 10", `a.test. IN TXT "v=spf1 ip4:198.51.100.0 ` + strings.TrimPrefix(terms, "include:p0.example ") + `ip4:192.0.2.1 -all"`, "the SPF record of a.test needs 10 of 10 DNS lookups"},
		{"SPF that implementations read differently", spfAt, `a.test. IN TXT "v=spf1 exists:%{p}.ok.a.test -all"` + "\nmail.hoster.example.ok.a.test. IN A 127.0.0.2", doctor.Yellow,
			"two implementations of SPF differ about a.test: Signpost has pass, blitiri.com.ar/go/spf has fail", `a.test. IN TXT "v=spf1 ip4:192.0.2.1 exists:%{p}.ok.a.test -all"`, ""},
		{"the shared SPF record is gone", sharedAt + "\n", "", doctor.Red,
			"a term of the SPF record of a.test has no valid target: include:_spf.hoster.example: ...; the same for 1 more domain: b.test", sharedAt, ""},
		{"the shared SPF record lacks the host", "ip4:192.0.2.1", "ip4:192.0.2.7", doctor.Red,
			"the SPF record of a.test does not allow this host; the same for 1 more domain: b.test", `_spf.hoster.example. IN TXT "v=spf1 ip4:192.0.2.1 ip4:192.0.2.7 -all"`, ""},
		{"no PTR record", "1.2.0.192.in-addr.arpa. IN PTR mail.hoster.example.\n", "", doctor.Red, "192.0.2.1 has no PTR record", "1.2.0.192.in-addr.arpa. IN PTR mail.hoster.example.", ""},
		{"the HELO name without SPF", `mail.hoster.example. IN TXT "v=spf1 a -all"` + "\n", "", doctor.Yellow, "SPF of the HELO name mail.hoster.example is none, not pass", `mail.hoster.example. IN TXT "v=spf1 a -all"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			look := func(zone string) []doctor.Finding {
				_, all := hosted(t, "a.test", "b.test")
				return arranged(t, failingAt(t, zone), all)
			}
			zone := strings.Replace(right, c.old, c.new, 1)
			if zone == right {
				t.Fatal("the zone has no fault")
			}
			found := look(zone)
			if len(found) != 1 || found[0].Level != c.level || !isText(found[0].Headline(), c.what) || found[0].Fixes() != c.fix || found[0].Where == "" || found[0].Why == "" {
				t.Fatalf("%+v", found)
			}
			found = look(mend(t, zone, c.fix))
			if c.left != "" && len(found) == 1 && found[0].Level == doctor.Yellow && found[0].What == c.left {
				return
			}
			if len(found) > 0 {
				t.Errorf("with %s: %+v", c.fix, found)
			}
		})
	}
}

// Correct zones have only green findings.
func TestCorrectZones(t *testing.T) {
	zone, _ := hosted(t, "a.test", "b.test")
	const spfAt = `a.test. IN TXT "v=spf1 include:_spf.hoster.example -all"`
	const dmarcAt = `_dmarc.a.test. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@a.test"`
	for _, c := range []struct {
		name, domain, zone string
		sends              []string
	}{
		{"the records of two domains", "", zone, nil},
		{"the key's name is an alias", "", strings.Replace(zone, "s0._domainkey.a.test. IN TXT", "s0._domainkey.a.test. IN CNAME x.example.\nx.example. IN CNAME a.keys.hoster.example.\na.keys.hoster.example. IN TXT", 1), nil},
		{"the policy's name is an alias", "", strings.Replace(zone, dmarcAt, "_dmarc.a.test. IN CNAME policy.hoster.example.\n"+`policy.hoster.example. IN TXT "v=DMARC1; p=quarantine; rua=mailto:reports@a.test, mailto:reports@b.test"`+
			"\n"+`a.test._report._dmarc.b.test. IN TXT "v=DMARC1;"`, 1), nil},
		{"redirect", "", strings.Replace(zone, spfAt, `a.test. IN TXT "v=spf1 redirect=_spf.hoster.example"`, 1), nil},
		{"modifiers of other specifications, upper case", "", strings.Replace(zone, spfAt, `a.test. IN TXT "V=SPF1 ra=postmaster rp=100 Include:_SPF.Hoster.Example exp=why.a.test -ALL"`, 1), nil},
		{"other TXT records at the domain", "", zone + `a.test. IN TXT "google-site-verification=abc"` + "\n" + `a.test. IN TXT "v=spf10 is another"` + "\n", nil},
		{"TLSRPT and BIMI", "", zone + `_smtp._tls.a.test. IN TXT "v=TLSRPTv1; rua=mailto:tls@a.test"` + "\n" + `default._bimi.a.test. IN TXT "v=BIMI1; l=https://a.test/l.svg; a="` + "\n", nil},
		{"both address families", "", strings.NewReplacer(`"v=spf1 ip4:192.0.2.1 -all"`, `"v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"`).Replace(zone) + "mail.hoster.example. IN AAAA 2001:db8::1\n" +
			"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. IN PTR mail.hoster.example.\n", []string{"192.0.2.1", "2001:db8::1"}},
		{"a policy inherited from the parent domain", "news.a.test", zone + "news.a.test. IN MX 10 mail.hoster.example.\n" + `news.a.test. IN TXT "v=spf1 ip4:192.0.2.1 -all"` + "\n", nil},
		{"a domain without mail", "c.test", zone + "c.test. IN MX 0 .\n" + `c.test. IN TXT "v=spf1 -all"` + "\n" + `_dmarc.c.test. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@c.test"` + "\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var found []doctor.Finding
			if c.domain != "" {
				found = bad(lookAt(t, c.zone, c.domain, nil))
			} else {
				_, all := hosted(t, "a.test", "b.test")
				for i := range all {
					for _, s := range c.sends {
						all[i].Own.Sends = append(all[i].Own.Sends, netip.MustParseAddr(s))
					}
					all[i].Own.Sends = all[i].Own.Sends[min(1, len(c.sends)):]
				}
				found = arranged(t, failingAt(t, c.zone), all)
			}
			if len(found) > 0 {
				t.Errorf("%+v", found)
			}
		})
	}
}
