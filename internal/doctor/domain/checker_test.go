package domain

import (
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/testdns"
	"signpost/keys"
)

// The records of our own keys are looked up at every name server of the domain, not only through the resolver.
func TestNameServersOfKeys(t *testing.T) {
	k := key(t, 0)
	right := keyRecord(t, k.Signer)
	zone := healthy + "example.org. IN SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60\nexample.org. IN NS ns1.example.org.\nexample.org. IN NS ns2.example.org.\nns1.example.org. IN A 127.0.0.1\nns2.example.org. IN A 127.0.0.2\n"
	for _, c := range []struct {
		name, second string // what the second server has
		level        doctor.Level
		what, where  string
	}{
		{"all servers have the record", right, doctor.Green, "the record of the DKIM key s1 of example.org matches the key", "visible at all 2 name servers"},
		{"one server lacks the record", "", doctor.Red, "not every name server serves the record of the DKIM key s1 of example.org", "ns2.example.org 127.0.0.2: no TXT record"},
		{"one server has another record", keyRecord(t, key(t, 1).Signer), doctor.Red, "not every name server serves the record of the DKIM key s1 of example.org", "ns2.example.org 127.0.0.2: the record belongs to another key"},
		{"one server does not answer", right + ";fault s1._domainkey.example.org REFUSED\n", doctor.Yellow, "the name server ns2.example.org (127.0.0.2) does not answer", "s1._domainkey.example.org at ns2.example.org 127.0.0.2: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, err := testdns.Start(zone + right)
			if err != nil {
				t.Fatal(err)
			}
			defer first.Stop()
			at := netip.MustParseAddrPort(first.Addr())
			second, err := testdns.StartAt("127.0.0.2:"+strconv.Itoa(int(at.Port())), zone+c.second)
			if err != nil {
				t.Fatal(err)
			}
			defer second.Stop()
			resolver := dns.New(dns.Options{Servers: []netip.AddrPort{at}, Timeout: 5 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
			d := Facts{Resolver: resolver, Checker: &keys.Checker{Authority: &dns.Authority{Resolver: resolver, Port: at.Port(), Timeout: 5 * time.Second}}}
			var found []doctor.Finding
			for _, f := range d.check(t.Context(), "example.org", &Own{Keys: []*keys.Key{k}}) {
				if f.Check == "dkim" {
					found = append(found, f)
				}
			}
			if len(found) != 1 || found[0].Level != c.level || found[0].What != c.what || !strings.Contains(found[0].Where, c.where) {
				t.Fatalf("%+v", found)
			}
			if fix := map[doctor.Level]string{doctor.Red: strings.TrimSpace(right), doctor.Yellow: "dig @127.0.0.2 s1._domainkey.example.org TXT"}[c.level]; found[0].Fix != fix {
				t.Errorf("fix %s", found[0].Fix)
			}
		})
	}
}

// For a domain of another site, the keys of the given selectors are checked.
func TestSelectors(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	right := strings.TrimSpace(keyRecord(t, key(t, 0).Signer))
	for _, c := range []struct {
		name, selector, records string
		level                   doctor.Level
		what, fix               string
	}{
		{"none named", "", "", doctor.Green, "DNS does not list the DKIM keys of example.org; check one with --selector NAME (s= in a DKIM-Signature)", ""},
		{"right", "s1", right, doctor.Green, "the DKIM key s1 of example.org is valid: ed25519, 256 bits", ""},
		{"missing", "s1", "", doctor.Red, "example.org has no DKIM key s1", "dkimkey show example.org s1 # on the host that signs"},
		{"revoked", "s1", `s1._domainkey.example.org. IN TXT "v=DKIM1; p="`, doctor.Yellow, "the DKIM key s1 of example.org is revoked", "dkimkey add example.org # on the host that signs"},
		{"broken", "s1", `s1._domainkey.example.org. IN TXT "v=DKIM1; p=!"`, doctor.Red, "the DKIM key s1 of example.org is unusable: p= is not valid base64", "dkimkey add example.org # on the host that signs"},
		{"short", "s1", strings.TrimSpace(keyRecord(t, short)), doctor.Yellow, "the DKIM key s1 of example.org has 1024 bits", "dkimkey add example.org # on the host that signs"},
		{"tested", "s1", strings.Replace(right, "p=", "t=y:s; p=", 1), doctor.Yellow, "the record of the DKIM key s1 of example.org contains t=y (testing)", strings.Replace(right, "p=", "t=s; p=", 1)},
		{"two", "s1", right + "\n" + `s1._domainkey.example.org. IN TXT "x"`, doctor.Red, "2 TXT records at the DKIM key s1 of example.org", `; remove s1._domainkey.example.org. IN TXT "x"`},
		{"no selector", "a b", "", doctor.Red, `"a b" is not a valid selector`, "signpost doctor example.org --selector NAME"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var found []doctor.Finding
			for _, f := range lookAt(t, healthy+c.records+"\n", "example.org", func(d *Facts) {
				if c.selector != "" {
					d.Selectors = []string{c.selector}
				}
			}) {
				if f.Check == "dkim" {
					found = append(found, f)
				}
			}
			if len(found) != 1 || found[0].Level != c.level || found[0].What != c.what || found[0].Fix != c.fix {
				t.Errorf("%+v", found)
			}
		})
	}
}

// If a key waits for its record, doctor does not propose another key.
func TestKeyWaits(t *testing.T) {
	for state, fix := range map[keys.State]string{keys.Published: "dkimkey rotate example.org --wait", keys.Retiring: "dkimkey add example.org", keys.Active: ""} {
		k := key(t, 0)
		k.State = state
		var fixes []string
		for _, f := range bad(check(t, healthy+keyRecord(t, k.Signer), &Own{Keys: []*keys.Key{k}})) {
			if f.Check == "dkim" {
				fixes = append(fixes, f.Fix)
			}
		}
		if strings.Join(fixes, "\n") != fix {
			t.Errorf("%s: %q", state, fixes)
		}
	}
}
