package domain

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/keys"
)

// failingAt returns a resolver for a zone in which some name servers fail. The resolver answers SERVFAIL for each of the names, and for
// CNAME records that lead to them. A name that begins with "*." matches all names below it.
func failingAt(t *testing.T, zone string, names ...string) *dns.Resolver {
	t.Helper()
	z, err := dns.ParseZone(strings.NewReader(zone), "zone")
	if err != nil {
		t.Fatal(err)
	}
	fails := func(name string) bool {
		return slices.ContainsFunc(names, func(n string) bool {
			apex, isZone := strings.CutPrefix(n, "*.")
			return strings.EqualFold(name, n+".") || isZone && miekg.IsSubDomain(apex+".", name)
		})
	}
	return dns.New(dns.Options{Timeout: time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler), Ask: func(_ context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		m := z.Answer(q)
		failed := fails(q.Question[0].Name)
		for _, rr := range m.Answer {
			if c, ok := rr.(*miekg.CNAME); ok && q.Question[0].Qtype != miekg.TypeCNAME {
				failed = failed || fails(c.Target)
			}
		}
		if failed {
			return new(miekg.Msg).SetRcode(q, miekg.RcodeServerFailure), nil
		}
		return m, nil
	}})
}

// isText reports whether a text matches want. "..." in want matches the text of an error of another package.
func isText(got, want string) bool {
	start, end, _ := strings.Cut(want, "...")
	return got == want || strings.Contains(want, "...") && strings.HasPrefix(got, start) && strings.HasSuffix(got, end)
}

// An alias without a record at its target is reported with the target. The Fix is a record for the target, or for the alias if the target
// belongs to another organization. The Fix corrects the fault.
func TestAliasesThatLeadNowhere(t *testing.T) {
	k := key(t, 0)
	right := strings.TrimSpace(keyRecord(t, k.Signer))
	keyText := strings.TrimPrefix(right, "s1._domainkey.example.org. ")
	const spfAt, dmarcAt = `example.org. IN TXT "v=spf1 mx -all"`, `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"`
	const dmarcText = `IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.org"`
	for _, c := range []struct{ name, old, new, what, where, fix string }{
		{"DKIM, own target", right, "s1._domainkey.example.org. IN CNAME s1.keys.example.org.\n", "the name of the DKIM key s1 of example.org is an alias without a TXT record at its target",
			"s1._domainkey.example.org. IN CNAME s1.keys.example.org.\ns1.keys.example.org: no TXT record", "s1.keys.example.org. " + keyText},
		{"DKIM, target of another organization", right, "s1._domainkey.example.org. IN CNAME k2.mailer.example.\n", "the name of the DKIM key s1 of example.org is an alias without a TXT record at its target",
			"s1._domainkey.example.org. IN CNAME k2.mailer.example.\nk2.mailer.example: no TXT record", right + " ; in place of the CNAME record"},
		{"DKIM, two aliases", right, "s1._domainkey.example.org. IN CNAME a.example.\na.example. IN CNAME s1.keys.example.org.\n", "the name of the DKIM key s1 of example.org is an alias without a TXT record at its target",
			"a.example. IN CNAME s1.keys.example.org.\ns1.keys.example.org: no TXT record", "s1.keys.example.org. " + keyText},
		{"DKIM, a loop", right, "s1._domainkey.example.org. IN CNAME a.example.org.\na.example.org. IN CNAME s1._domainkey.example.org.\n", "the name of the DKIM key s1 of example.org is an alias without a TXT record at its target",
			"the CNAME records form a loop", right + " ; in place of the CNAME record"},
		{"DMARC, own target", dmarcAt, "_dmarc.example.org. IN CNAME policy.example.org.\n", "_dmarc.example.org is an alias without a TXT record at its target", "policy.example.org: no TXT record", "policy.example.org. " + dmarcText},
		{"DMARC, target of another organization", dmarcAt, "_dmarc.example.org. IN CNAME example.org.vendor.example.\n", "_dmarc.example.org is an alias without a TXT record at its target",
			"example.org.vendor.example: no TXT record", "_dmarc.example.org. " + dmarcText + " ; in place of the CNAME record"},
		{"mail exchange", "example.org. IN MX 10 mail.example.org.", "example.org. IN MX 10 mail.example.org.\nexample.org. IN MX 20 mx.example.org.\nmx.example.org. IN CNAME old.host.example.\n",
			"the mail exchange mx.example.org is an alias whose target has no address", "mx.example.org. IN CNAME old.host.example.\nold.host.example: no A or AAAA record",
			"mx.example.org. IN A 192.0.2.1 ; or the right address, in place of the CNAME record"},
		{"mail exchange, two aliases", "example.org. IN MX 10 mail.example.org.", "example.org. IN MX 10 mx.example.org.\nmx.example.org. IN CNAME a.example.\na.example. IN CNAME mail.example.org.\n",
			"the mail exchange mx.example.org is an alias", "a.example. IN CNAME mail.example.org.", "example.org. IN MX 10 mail.example.org."},
		{"MTA-STS", spfAt, spfAt + "\n_mta-sts.example.org. IN CNAME sts.vendor.example.\n", "_mta-sts.example.org is an alias without a TXT record at its target", "sts.vendor.example: no TXT record", "; remove _mta-sts.example.org. IN CNAME sts.vendor.example."},
		{"include", spfAt, `example.org. IN TXT "v=spf1 mx include:spf.example.org -all"` + "\nspf.example.org. IN CNAME spf.vendor.example.\n", "a term of the SPF record of example.org has no valid target: include:spf.example.org: ... at spf.vendor.example, the target of its CNAME record", "include:spf.example.org", spfAt},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := &Own{Sender: Sender{HELO: "mail.example.org", Sends: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, Keys: []*keys.Key{k}}
			zone := strings.Replace(healthy+right+"\n", c.old, c.new, 1)
			found := bad(check(t, zone, own))
			if len(found) != 1 || !isText(found[0].What, c.what) || found[0].Fix != c.fix || !strings.Contains(found[0].Where, c.where) || found[0].Why == "" {
				t.Fatalf("%+v", found)
			}
			for _, f := range bad(check(t, mend(t, zone, c.fix), own)) {
				if f.Level == doctor.Red || isText(f.What, c.what) {
					t.Errorf("with %s: %+v", c.fix, f)
				}
			}
		})
	}
}

// If a domain is an alias, its SPF record is at the target.
func TestSPFOfAlias(t *testing.T) {
	const zone = "news.example.org. IN CNAME www.example.org.\nwww.example.org. IN A 192.0.2.80\nwww.example.org. IN MX 10 mail.example.org.\nmail.example.org. IN A 192.0.2.1\n" +
		`_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"` + "\n"
	for _, c := range []struct{ zone, where, fix string }{
		{zone, "news.example.org. IN CNAME www.example.org.\nwww.example.org: no TXT record", `www.example.org. IN TXT "v=spf1 mx -all"`},
		{strings.ReplaceAll(zone, "www.example.org.", "cdn.example."), "news.example.org. IN CNAME cdn.example.\ncdn.example: no TXT record", `news.example.org. IN TXT "v=spf1 mx -all" ; in place of the CNAME record`},
	} {
		var found []doctor.Finding
		for _, f := range lookAt(t, c.zone, "news.example.org", nil) {
			if f.Check == "spf" {
				found = append(found, f)
			}
		}
		if len(found) != 1 || found[0].What != "news.example.org is an alias without a TXT record at its target" || found[0].Where != c.where || found[0].Fix != c.fix {
			t.Fatalf("%+v", found)
		}
		for _, f := range lookAt(t, mend(t, c.zone, c.fix), "news.example.org", nil) {
			if f.Check == "spf" && f.Level != doctor.Green {
				t.Errorf("with %s: %+v", c.fix, f)
			}
		}
	}
}

// If a wrong record is at the target of an alias, the Fix is a record for the target. A name with a CNAME record cannot have another
// record.
func TestRecordsBehindAliases(t *testing.T) {
	k := key(t, 0)
	right := strings.TrimSpace(keyRecord(t, k.Signer))
	wrong := strings.TrimSpace(keyRecord(t, key(t, 1).Signer))
	const dmarcAt = `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"`
	for _, c := range []struct{ name, old, new, target, what, fix string }{
		{"a key of ours", right, strings.Replace(wrong, "s1._domainkey.example.org.", "TARGET", 1), "s1.keys.example.org.", "the record of the DKIM key s1 of example.org contains another key",
			strings.Replace(right, "s1._domainkey.example.org.", "s1.keys.example.org.", 1)},
		{"a key elsewhere", right, strings.Replace(wrong, "s1._domainkey.example.org.", "TARGET", 1), "k.mailer.example.", "the record of the DKIM key s1 of example.org contains another key",
			right + " ; in place of the CNAME record"},
		{"a policy of ours", dmarcAt, `TARGET IN TXT "v=DMARC1; p=rejct; rua=mailto:reports@example.org"`, "policy.example.org.", `the DMARC record of example.org has a typo: p="rejct" is not valid; did you mean reject?`,
			strings.Replace(dmarcAt, "_dmarc.", "policy.", 1)},
		{"a policy elsewhere", dmarcAt, `TARGET IN TXT "v=DMARC1; p=rejct; rua=mailto:reports@example.org"`, "policy.vendor.example.", `the DMARC record of example.org has a typo: p="rejct" is not valid; did you mean reject?`,
			dmarcAt + " ; in place of the CNAME record"},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := &Own{Sender: Sender{HELO: "mail.example.org", Sends: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, Keys: []*keys.Key{k}}
			name, _, _ := strings.Cut(c.old, " ")
			zone := strings.Replace(healthy+right+"\n", c.old, name+" IN CNAME "+c.target+"\n"+strings.Replace(c.new, "TARGET", c.target, 1), 1)
			found := bad(check(t, zone, own))
			if len(found) != 1 || found[0].What != c.what || found[0].Fix != c.fix {
				t.Fatalf("%+v", found)
			}
			if found := bad(check(t, mend(t, zone, c.fix), own)); len(found) > 0 {
				t.Errorf("with %s: %+v", c.fix, found)
			}
		})
	}
}

// The finding names the DNS name whose lookup failed, not the name that was looked up first. There is only one such finding.
func TestNameThatFailed(t *testing.T) {
	k := key(t, 0)
	zone := strings.ReplaceAll(healthy+keyRecord(t, k.Signer), "example.org", "a.test")
	alias := strings.Replace(zone, "s1._domainkey.a.test. IN TXT", "s1._domainkey.a.test. IN CNAME s1.keys.example.\ns1.keys.example. IN TXT", 1)
	include := strings.Replace(zone, `"v=spf1 mx -all"`, `"v=spf1 mx include:spf.b.example -all"`, 1) + `spf.b.example. IN TXT "v=spf1 include:spf.c.example -all"` + "\n" + `spf.c.example. IN TXT "v=spf1 -all"` + "\n"
	for _, c := range []struct {
		name, zone string
		fails      []string
		want       string
	}{
		{"above the DMARC record", zone, []string{"_dmarc.test"}, "_dmarc.test: DNS lookup failed"},
		{"DMARC record of the parent domain", strings.Replace(zone, "_dmarc.a.test.", "_dmarc.test.", 1), []string{"_dmarc.test"}, "_dmarc.test: DNS lookup failed"},
		{"the target of an alias", alias, []string{"s1.keys.example"}, "s1.keys.example: DNS lookup failed"},
		{"the servers of the target of an alias", alias, []string{"*.keys.example"}, "keys.example: DNS lookup failed"},
		{"the domain's servers", zone, []string{"*.a.test"}, "a.test: DNS lookup failed"},
		{"a key's name", zone, []string{"s1._domainkey.a.test"}, "s1._domainkey.a.test: DNS lookup failed"},
		{"an include of an include", include, []string{"*.c.example"}, "c.example: DNS lookup failed"},
		{"a mail exchange", strings.Replace(zone, "MX 10 mail.a.test.", "MX 10 mx.b.example.", 1), []string{"*.b.example"}, "b.example: DNS lookup failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := &Own{Sender: Sender{HELO: "mail.a.test", Sends: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, Keys: []*keys.Key{k}}
			var failed []string
			for _, f := range (Facts{Resolver: failingAt(t, c.zone, c.fails...)}).check(t.Context(), "a.test", own) {
				name, ok := strings.CutSuffix(f.What, ": DNS lookup failed")
				if !ok {
					continue
				}
				failed = append(failed, f.What)
				if f.Level != doctor.Yellow || !strings.HasPrefix(f.Where, name+": ") || !strings.Contains(f.Where, "SERVFAIL") || f.Fix != "dig "+name+" # shows whether its name servers answer" {
					t.Errorf("%+v", f)
				}
			}
			if !slices.Equal(failed, []string{c.want}) {
				t.Errorf("got %q, want %q", failed, c.want)
			}
		})
	}
}

// mend changes a zone like an administrator who publishes or removes the records of a Fix.
func mend(t *testing.T, zone, fix string) string {
	t.Helper()
	for line := range strings.Lines(fix) {
		line = strings.TrimSpace(line)
		if gone, ok := strings.CutPrefix(line, "; remove "); ok {
			if !strings.Contains(zone, gone+"\n") {
				t.Fatalf("%q is not in the zone", gone)
			}
			zone = strings.Replace(zone, gone+"\n", "", 1)
			continue
		}
		line, comment, _ := strings.Cut(line, " ; ")
		name, _, _ := strings.Cut(line, " ")
		if strings.Contains(comment, "in place of the CNAME record") {
			var kept []string
			for l := range strings.Lines(zone) {
				if !strings.HasPrefix(l, name+" IN CNAME ") {
					kept = append(kept, l)
				}
			}
			zone = strings.Join(kept, "")
		}
		zone = apply(t, zone, line)
	}
	return zone
}
