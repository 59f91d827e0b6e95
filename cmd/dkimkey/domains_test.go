package main

import (
	"strings"
	"testing"
)

// add and import reject a domain that cannot send mail or cannot exist in DNS. The usage error contains the reason.
func TestDomainsThatCannotBeHosted(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.write("key.pem", "no key", 0o600)
	for _, c := range []struct{ domain, want string }{
		{"com", `"com" is a single label`},
		{"localhost", "names under localhost are never in DNS"},
		{"mail.localhost", "names under localhost are never in DNS"},
		{"example.invalid", "names under invalid are never in DNS"},
		{"example.onion", "names under onion are never in DNS"},
		{"foo_bar", `"foo_bar" has an underscore`},
		{"foo_bar.example", "has an underscore: no mail can come from such a domain"},
		{"192.0.2.1", "is an IP address"},
		{"[192.0.2.1]", "is an IP address"},
		{"2001:db8::1", "is an IP address"},
		{"example.123", "no top-level domain is a number"},
		{"sel._domainkey.example.org", "\nhint: the domain is example.org, the selector is sel (--selector sel)"},
		{"ann@example.org", "\nhint: use \"example.org\""},
		{"", `"" is not a domain name`},
		{"a..example", "is not a domain name"},
		{"-.example", "is not a domain name"},
	} {
		for _, args := range [][]string{{"add", "--", c.domain}, {"import", h.dir + "/key.pem", "--domain", c.domain, "--selector", "s"}} {
			if c.domain == "" && args[0] == "import" {
				continue // an empty --domain counts as a missing one
			}
			if out, code := h.run(args...); code != 2 || !strings.HasPrefix(out, "dkimkey: ") || !strings.Contains(out, c.want) {
				t.Errorf("%q: %d %s", args, code, out)
			}
		}
	}
	for _, domain := range []string{"a.test", "mail.example", "Example.Org.", "bücher.example"} {
		h.must("add", domain, "--algorithm", "rsa,ed25519")
	}
	if out := h.must("status", "--json"); !strings.Contains(out, `"domain": "example.org"`) || !strings.Contains(out, `"domain": "xn--bcher-kva.example"`) {
		t.Error(out)
	}
}

// The hint names the flag --domain if the command does not take DOMAIN as an argument.
func TestNoDomain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	if out, code := h.run("import", h.dir+"/key.pem"); code != 2 || !strings.Contains(out, "pass --domain DOMAIN or --from-file FILE") {
		t.Error(code, out)
	}
	if out, code := h.run("add"); code != 2 || !strings.Contains(out, "pass DOMAIN or --from-file FILE") {
		t.Error(code, out)
	}
}

// add warns only if Ed25519 is the only algorithm of the domain.
func TestEd25519Alone(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	const warning = "dkimkey: warning: example.org: Ed25519 is the only algorithm of the domain"
	for _, c := range []struct {
		algorithm string
		want      bool
	}{{"ed25519", true}, {"rsa", false}, {"ed25519", false}} {
		if out := h.must("add", "example.org", "--algorithm", c.algorithm); strings.Contains(out, warning) != c.want {
			t.Errorf("%s: %s", c.algorithm, out)
		}
	}
}
