package domain

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/testdns"
	"signpost/keys"
)

// hoster is the zone of the organization whose host sends the mail of the domains.
const hoster = `mail.hoster.example. IN A 192.0.2.1
mail.hoster.example. IN TXT "v=spf1 a -all"
1.2.0.192.in-addr.arpa. IN PTR mail.hoster.example.
_spf.hoster.example. IN TXT "v=spf1 ip4:192.0.2.1 -all"
`

// hosted returns the zones of domains of the hoster, and the facts about them. Each domain has a key with its own selector.
func hosted(t *testing.T, domains ...string) (zone string, all []Facts) {
	t.Helper()
	sender := Sender{HELO: "mail.hoster.example", Sends: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	zone = hoster
	for i, domain := range domains {
		k := &keys.Key{Domain: domain, Selector: fmt.Sprint("s", i), Algorithm: "ed25519", State: keys.Active, Signer: ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%032d", i)))}
		zone += fmt.Sprintf("%[1]s. IN MX 10 mail.hoster.example.\n%[1]s. IN TXT \"v=spf1 include:_spf.hoster.example -all\"\n_dmarc.%[1]s. IN TXT \"v=DMARC1; p=reject; rua=mailto:reports@%[1]s\"\n", domain) +
			strings.Replace(keyRecord(t, k.Signer), "s1._domainkey.example.org", keys.RecordName(domain, k.Selector), 1)
		all = append(all, Facts{Domain: domain, Own: &Own{Sender: sender, Keys: []*keys.Key{k}}})
	}
	return zone, all
}

// arranged runs the checks of the host and of all domains as signpost doctor does. It returns the findings that are not green.
func arranged(t *testing.T, r *dns.Resolver, all []Facts) []doctor.Finding {
	t.Helper()
	for i := range all {
		all[i].Resolver = r
	}
	found := doctor.Run(t.Context(), HostChecks(Host{Domain: all[0].Domain, Resolver: r}, &all[0].Own.Sender)[1:])
	for i := range all {
		all[i].Own.Sender = all[0].Own.Sender
	}
	return bad(doctor.Arrange(append(found, RunAll(t.Context(), all, func(string) {})...)))
}

// If several domains have a problem with a single cause, doctor reports one finding with the names of these domains. Its Fix corrects the
// problem for all of them.
func TestOneFindingForEachCause(t *testing.T) {
	zone, _ := hosted(t, "a.test", "b.test", "c.test")
	const more = "; the same for 2 more domains: b.test, c.test"
	missing := &fs.PathError{Op: "open", Path: "a.test/s0.pem", Err: fs.ErrPermission}
	for _, c := range []struct {
		name, old, new string
		change         func(*Facts)
		want           string // the headline
		fix            string
	}{
		{"nothing", "", "", nil, "", ""},
		{"the HELO name", "", "", func(f *Facts) { f.Own.HELO = "debian" }, `the HELO name "debian" is not a fully qualified domain name`, "postconf -e 'myhostname = mail.hoster.example'"},
		{"the host's address", "1.2.0.192.in-addr.arpa. IN PTR mail.hoster.example.\n", "", nil, "192.0.2.1 has no PTR record", "1.2.0.192.in-addr.arpa. IN PTR mail.hoster.example."},
		{"an include without a record", `_spf.hoster.example. IN TXT "v=spf1 ip4:192.0.2.1 -all"`, "", nil,
			"a term of the SPF record of a.test has no valid target: include:_spf.hoster.example: ..." + more, `_spf.hoster.example. IN TXT "v=spf1 ip4:192.0.2.1 -all"`},
		{"an include with an error", `"v=spf1 ip4:192.0.2.1 -all"`, `"v=spf1 ipv4:192.0.2.1 -all"`, nil,
			"a term of the SPF record of a.test has no valid target: include:_spf.hoster.example: ..." + more, `_spf.hoster.example. IN TXT "v=spf1 ip4:192.0.2.1 -all"`},
		{"an include without the host", `"v=spf1 ip4:192.0.2.1 -all"`, `"v=spf1 ip4:192.0.2.7 -all"`, nil,
			"the SPF record of a.test does not allow this host" + more, `_spf.hoster.example. IN TXT "v=spf1 ip4:192.0.2.1 ip4:192.0.2.7 -all"`},
		{"the keys directory", "", "", func(f *Facts) {
			f.Own.Keys = append(f.Own.Keys, &keys.Key{Domain: f.Domain, Selector: "z" + f.Domain[:1], State: keys.Unusable, Err: fmt.Errorf("keys/%s: %w", f.Domain, missing)})
		}, "the key za of a.test is unusable" + more, "dkimkey status a.test\ndkimkey status b.test\ndkimkey status c.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			look := func(zone string) []doctor.Finding {
				_, all := hosted(t, "a.test", "b.test", "c.test")
				for i := range all {
					if c.change != nil {
						c.change(&all[i])
					}
				}
				return arranged(t, failingAt(t, zone), all)
			}
			broken := strings.Replace(zone, c.old, c.new, 1)
			found := look(broken)
			if c.want == "" {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			if len(found) != 1 || !isText(found[0].Headline(), c.want) || found[0].Fixes() != c.fix {
				t.Fatalf("%+v", found)
			}
			if strings.Contains(c.fix, " IN ") {
				if found := look(mend(t, broken, c.fix)); len(found) > 0 {
					t.Errorf("with %s: %+v", c.fix, found)
				}
			}
		})
	}
}

// A lookup that fails for all domains also causes only one finding.
func TestOneFindingForEachFailure(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails []string
		want  []string
	}{
		{"the servers of an include", []string{"_spf.hoster.example"}, []string{"_spf.hoster.example: DNS lookup failed; the same for 2 more domains: b.test, c.test"}},
		{"the servers of the host's domain", []string{"*.hoster.example"}, []string{"hoster.example: DNS lookup failed"}},
		{"a parent name", []string{"_dmarc.test"}, []string{"_dmarc.test: DNS lookup failed; the same for 2 more domains: b.test, c.test"}},
		{"the domains' servers", []string{"*.a.test", "*.b.test"}, []string{"a.test: DNS lookup failed; the same for 1 more domain: b.test"}},
	} {
		zone, all := hosted(t, "a.test", "b.test", "c.test")
		var got []string
		for _, f := range arranged(t, failingAt(t, zone, c.fails...), all) {
			got = append(got, f.Headline())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// A name server that does not answer is one finding for all domains that it serves.
func TestOneFindingForEachNameServer(t *testing.T) {
	zone, all := hosted(t, "a.test", "b.test")
	first := zone + "ns1.hoster.example. IN A 127.0.0.1\nns2.hoster.example. IN A 127.0.0.2\n"
	for _, domain := range []string{"a.test", "b.test"} {
		first += fmt.Sprintf("%[1]s. IN SOA ns1.hoster.example. hostmaster.hoster.example. 1 3600 600 86400 60\n%[1]s. IN NS ns1.hoster.example.\n%[1]s. IN NS ns2.hoster.example.\n", domain)
	}
	for _, c := range []struct{ name, second, want string }{
		{"it does not answer", first + ";fault *.test REFUSED\n", "yellow the name server ns2.hoster.example (127.0.0.2) does not answer; the same for 1 more domain: b.test"},
		{"it has old zones", strings.NewReplacer("s0._domainkey", "x", "s1._domainkey", "x").Replace(first), "red not every name server serves the record of the DKIM key s0 of a.test; the same for 1 more domain: b.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			one, err := testdns.Start(first)
			if err != nil {
				t.Fatal(err)
			}
			defer one.Stop()
			at := netip.MustParseAddrPort(one.Addr())
			two, err := testdns.StartAt(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at.Port()).String(), c.second)
			if err != nil {
				t.Fatal(err)
			}
			defer two.Stop()
			r := dns.New(dns.Options{Servers: []netip.AddrPort{at}, Timeout: 5 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
			for i := range all {
				all[i].Checker = &keys.Checker{Authority: &dns.Authority{Resolver: r, Port: at.Port(), Timeout: 5 * time.Second}}
			}
			found := arranged(t, r, all)
			if len(found) != 1 || string(found[0].Level)+" "+found[0].Headline() != c.want {
				t.Errorf("%+v", found)
			}
		})
	}
}

// If no DNS server answers, this is the only finding, and the other domains are not looked up.
func TestNoDNSServerAnswers(t *testing.T) {
	_, all := hosted(t, "a.test", "b.test", "c.test")
	r := dns.New(dns.Options{Timeout: time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler), Ask: func(_ context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		if q.Question[0].Name != "." {
			t.Errorf("looked up %s", q.Question[0].Name)
		}
		return nil, errors.New("connection refused")
	}})
	found := arranged(t, r, all)
	if len(found) != 1 || found[0].Level != doctor.Red || found[0].Headline() != "no DNS server answers" || !found[0].First {
		t.Errorf("%+v", found)
	}
}

// If a fault of a thousand domains has a single cause, doctor prints as many lines as for one domain.
func TestThousandDomains(t *testing.T) {
	zones := map[string]*dns.Zone{} // one zone for each domain, because a lookup searches all names of a zone
	var all []Facts
	for i := range 1000 {
		domain := fmt.Sprintf("d%d.test", i)
		text, facts := hosted(t, domain)
		zone, err := dns.ParseZone(strings.NewReader(strings.ReplaceAll(text, "p=reject", "p=none")), "zone")
		if err != nil {
			t.Fatal(err)
		}
		zones[domain], all = zone, append(all, facts...)
	}
	r := dns.New(dns.Options{Timeout: time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler), Ask: func(_ context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		name := strings.TrimSuffix(q.Question[0].Name, ".")
		for zones[name] == nil && strings.Contains(name, ".") {
			_, name, _ = strings.Cut(name, ".")
		}
		return cmp.Or(zones[name], zones["d0.test"]).Answer(q), nil
	}})
	found := arranged(t, r, all)
	if len(found) != 1 || found[0].Headline() != "the DMARC policy of d0.test is none; the same for 999 more domains: d1.test, d2.test, d3.test, ..." || strings.Count(found[0].Fixes(), "\n") > 3 {
		t.Errorf("%d findings: %+v", len(found), found[:min(3, len(found))])
	}
}
