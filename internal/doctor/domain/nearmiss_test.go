package domain

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"signpost/internal/doctor"
	"signpost/keys"
)

// For a record with a typing error, the Fix is the intended record. After it is published, the record is correct.
func TestNearMisses(t *testing.T) {
	const spfRight, dmarcRight = "v=spf1 ip4:192.0.2.1 -all", "v=DMARC1; p=reject; rua=mailto:reports@example.org"
	const noStart, none, typo = "the SPF record of example.org does not begin with v=spf1 and a space", "the DMARC record of example.org is not valid: ", "the DMARC record of example.org has a typo: "
	for _, c := range []struct{ text, want, what string }{
		{"v=spf1; ip4:192.0.2.1; -all", spfRight, noStart},
		{"v=spf1\tip4:192.0.2.1 -all", spfRight, noStart},
		{"v=spf1\u00a0ip4:192.0.2.1 -all", spfRight, noStart},
		{"v=spf1\xa0ip4:192.0.2.1\xa0-all", spfRight, noStart},
		{" v=spf1 ip4:192.0.2.1 -all", spfRight, noStart},
		{"\ufeffv=spf1 ip4:192.0.2.1 -all", spfRight, noStart},
		{`"v=spf1 ip4:192.0.2.1 -all"`, spfRight, noStart},
		{"'v=spf1 ip4:192.0.2.1 -all'", spfRight, noStart},
		{`v=spf1\; ip4:192.0.2.1\; -all`, spfRight, noStart},
		{"v=spf1, ip4:192.0.2.1, -all", spfRight, noStart},
		{"v=spf1 ip4=192.0.2.1 -all", spfRight, "the SPF record of example.org has terms without effect: ip4=192.0.2.1"},
		{"v=spf1 ip4=192.0.2.1 include=_spf.example.com rp=100 -all", "v=spf1 ip4:192.0.2.1 include:_spf.example.com rp=100 -all", "the SPF record of example.org has terms without effect: ip4=192.0.2.1 include=_spf.example.com"},
		{"v=spf1 ip4:192.0.2.1/33 -all", spfRight, "the SPF record of example.org has an error"},

		{"v=DMARC1; p=rejct; rua=mailto:reports@example.org", dmarcRight, typo + `p="rejct" is not valid; did you mean reject?`},
		{"v=DMARC1; p:reject; rua=mailto:reports@example.org", dmarcRight, typo + "a colon is used instead of ="},
		{"v=DMARC1; reject; rua=mailto:reports@example.org", dmarcRight, typo + `p= is missing before "reject"`},
		{"v=DMARC1; p=; rua=mailto:reports@example.org", "v=DMARC1; p=none; rua=mailto:reports@example.org", typo + `p="" is not a valid policy`},
		{"v=DMARC1; rua=mailto:reports@example.org", "v=DMARC1; p=none; rua=mailto:reports@example.org", typo + "p is missing"},
		{"v=DMARC1; p=reject; sp=foo; rua=mailto:reports@example.org", "v=DMARC1; p=reject; sp=none; rua=mailto:reports@example.org", typo + `sp="foo" is not a valid policy`},
		{"v=DMARC1; p=reject; np=foo; rua=mailto:reports@example.org", "v=DMARC1; p=reject; np=none; rua=mailto:reports@example.org", typo + `np="foo" is not a valid policy`},
		{"v=DMARC1 p=reject", "v=DMARC1; p=reject", none + `a semicolon is missing before "p="`},
		{"v=DMARC1 p=reject; rua=mailto:reports@example.org", dmarcRight, none + `a semicolon is missing before "p="`},
		{"v=DMARC1, p=reject; rua=mailto:reports@example.org", dmarcRight, none + `a semicolon is missing before "p="`},
		{"v=DMARC1: p=reject; rua=mailto:reports@example.org", dmarcRight, none + `a semicolon is missing before "p="; it begins with "v=DMARC1:" instead of v=DMARC1`},
		{`v=DMARC1\; p=reject\; rua=mailto:reports@example.org`, dmarcRight, none + "there is a backslash before a semicolon"},
		{`"v=DMARC1; p=reject; rua=mailto:reports@example.org"`, dmarcRight, none + "the text itself contains quotes"},
		{" v=DMARC1; p=reject; rua=mailto:reports@example.org", dmarcRight, none + "it begins with white space"},
	} {
		t.Run(c.text, func(t *testing.T) {
			name, check1, old := "example.org", "spf", `example.org. IN TXT "v=spf1 mx -all"`
			if strings.HasPrefix(c.want, "v=DMARC1") {
				name, check1, old = "_dmarc.example.org", "dmarc", `_dmarc.example.org. IN TXT "`+dmarcRight+`"`
			}
			k := key(t, 0)
			own := &Own{Sender: Sender{HELO: "mail.example.org", Sends: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, Keys: []*keys.Key{k}}
			zone := strings.Replace(healthy+keyRecord(t, k.Signer), old, "", 1) + `_spf.example.com. IN TXT "v=spf1 ip4:198.51.100.1 -all"` + "\n"
			found := bad(check(t, zone+record(name, c.text)+"\n", own))
			at := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Check == check1 && f.What == c.what })
			if at < 0 || found[at].Fix != record(name, c.want) || !strings.HasPrefix(found[at].Where, doctor.Finding{What: record(name, c.text)}.Printable().What) {
				t.Fatalf("%+v", found)
			}
			for _, f := range bad(check(t, zone+found[at].Fix+"\n", own)) {
				if f.Level == doctor.Red || f.What == c.what {
					t.Errorf("with %s: %+v", found[at].Fix, f)
				}
			}
		})
	}
}

// The key record of another site is corrected too, if the intended record can be determined.
func TestNearMissesOfKeys(t *testing.T) {
	const p = "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	for _, c := range []struct{ text, fix string }{
		{`v=DKIM1\; k=ed25519\; ` + p, `s1._domainkey.example.org. IN TXT "v=DKIM1; k=ed25519; ` + p + `"`},
		{"v=DKIM1 k=ed25519; " + p, `s1._domainkey.example.org. IN TXT "v=DKIM1; k=ed25519; ` + p + `"`},
		{`"v=DKIM1; k=ed25519; ` + p + `"`, `s1._domainkey.example.org. IN TXT "v=DKIM1; k=ed25519; ` + p + `"`},
		{"v=DKIM1; k=ed25519; h=ed25519-sha256; " + p, `s1._domainkey.example.org. IN TXT "v=DKIM1; k=ed25519; h=sha256; ` + p + `"`},
		{"k2.dkim.mailer.example.", "s1._domainkey.example.org. IN CNAME k2.dkim.mailer.example. ; in place of the TXT record"},
		{"mailer.example", "dkimkey add example.org # on the host that signs"},
		{"v=DKIM1; k=ed25519; p=!", "dkimkey add example.org # on the host that signs"},
	} {
		zone := healthy + `k2.dkim.mailer.example. IN TXT "v=DKIM1; k=ed25519; ` + p + `"` + "\n"
		look := func(line string) (found []doctor.Finding) {
			for _, f := range lookAt(t, zone+line+"\n", "example.org", func(d *Facts) { d.Selectors = []string{"s1"} }) {
				if f.Check == "dkim" {
					found = append(found, f)
				}
			}
			return found
		}
		found := look(record("s1._domainkey.example.org", c.text))
		if len(found) != 1 || found[0].Level != doctor.Red || found[0].Fix != c.fix {
			t.Errorf("%s: %+v", c.text, found)
			continue
		}
		if !strings.Contains(c.fix, " IN ") {
			continue
		}
		if found := look(c.fix); len(bad(found)) > 0 {
			t.Errorf("with %s: %+v", c.fix, found)
		}
	}
}
