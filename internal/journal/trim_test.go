package journal

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/policy"
)

// With addresses = "hash", an address has the same hash in each field and in each spelling. Other addresses, and other journals, have
// different hashes.
func TestHashedAddresses(t *testing.T) {
	var senders [][]string
	for range 2 {
		d := newFixture(t)
		d.Addresses = Hash
		for _, sender := range []string{"Ann@example.com", "ann@EXAMPLE.com", "bob@example.com", "ann@example.net", ""} {
			j := Open(d.Options) // the secret outlives the daemon
			r := sample(1)
			r.Evidence.Envelope.Sender = sender
			r.Evidence.Envelope.Recipients = []string{"ann@example.com", "carol@example.com"}
			r.Evidence.DKIM[0].Identity = "ann@example.com"
			j.Add(r)
			j.Close()
		}
		var all []string
		err := d.read(t).Each(t.Context(), Filter{}, func(e *Entry) bool {
			all = append(all, strings.ToLower(e.Evidence.Envelope.Sender))
			if to, id := e.Evidence.Envelope.Recipients, e.Evidence.DKIM[0].Identity; len(to) != 2 || to[0] != all[0] || to[1] == all[0] || id != all[0] {
				t.Errorf("%q %q, want twice %q", to, id, all[0])
			}
			return true
		})
		if err != nil || len(all) != 5 {
			t.Fatal(all, err)
		}
		senders = append(senders, all)
	}
	one, other := senders[0], senders[1]
	if one[0] != one[1] || one[0] == one[2] || one[0] == one[3] || one[4] != "" || !strings.HasSuffix(one[0], "@example.com") {
		t.Errorf("%q", one)
	}
	if slices.Contains(other, one[0]) || slices.Contains(other, one[2]) {
		t.Errorf("%q in two journals, %q", one, other)
	}
}

// A DNS name that contains the sender's local part is omitted in the whole record. If its lookup failed, the reason and the reply contain
// the name too.
func TestFailedNameIsLeftOut(t *testing.T) {
	const name = "secretary.u.example.com"
	r := &decision.Record{Lookups: []dns.Lookup{
		{Name: "example.com", Type: "TXT", Status: dns.NoError, Records: []string{"v=spf1 exists:%{l}.u.example.com -all"}},
		{Name: name, Type: "A", Status: dns.ServFail},
	}}
	e := &r.Evidence
	e.Envelope.Sender = "secretary@example.com"
	e.SPF = &spf.Result{Status: spf.TempError, Domain: "example.com", Failed: name, Cause: spf.LookupFailed, Detail: "SERVFAIL"}
	e.DMARC = []dmarc.Result{{Status: dmarc.TempError, Domain: "example.com", Failed: name}}
	e.Relays = []policy.Relay{{Kind: policy.RelaySRS, Domain: "example.com", Failed: name}}
	r.Verdict = policy.Verdict{Reasons: []policy.Reason{{Code: policy.RelayUnverified, Detail: name}}, Reply: policy.Reply{Code: 451, Text: "lookup of " + name + " failed"}}
	text, err := json.Marshal(redact(*r, Omit, nil))
	if err != nil || strings.Contains(string(text), "secretary") {
		t.Errorf("%v %s", err, text)
	}
}

// SPF macros put the local part into DNS names, completely or in parts, escaped or not. The journal has none of these names, not even an
// invalid name that was never looked up.
func TestNamesOfMacrosAreLeftOut(t *testing.T) {
	for _, local := range []string{"zq.local", "zq!local", `"zq local"`, "zq%local", "zqé", "ZQÉ", "zq\xfflocal", `"zq@local"`, `zq\local`, "zq+a/b_c=local", "zq..local", strings.Repeat("zq", 40)} {
		for _, term := range []string{"exists:%{l}.a.example.com", "exists:%{L}.a.example.com", "exists:%{S}.a.example.com", "a:%{L1}.x%{l2r+}.example.com",
			"include:zz.%{l}.example.com", "include:%{L}.Fail.example.com", "redirect=%{l}.Spf.Example.com", "redirect=%{L}.nowhere.example.com"} {
			zone, err := dns.ParseZone(strings.NewReader("example.com. TXT \"v=spf1 "+term+" -all\"\n*.Spf.Example.com. TXT \"v=spf1 foo:bar -all\"\n"), "zone")
			if err != nil {
				t.Fatal(err)
			}
			v := zone.Resolver(time.Now, slog.New(slog.DiscardHandler)).View(netip.Addr{})
			r := &decision.Record{}
			r.Sender = local + "@example.com"
			result := spf.Check(t.Context(), v, netip.MustParseAddr("203.0.113.9"), "helo.example", r.Sender)
			r.SPF, r.Lookups = &result, v.Answered().Lookups()
			text, err := json.Marshal(redact(*r, Omit, nil))
			if low := strings.ToLower(string(text)); err != nil || strings.Contains(low, "zq") || strings.Contains(low, "qlocal") {
				t.Errorf("%q %s: %v %s", local, term, err, text)
			}
		}
	}
}

// In the results of other hosts, an address may be quoted or contain equals signs. Text that is not a local part is kept.
func TestAddressesInResults(t *testing.T) {
	for text, want := range map[string]string{
		"i=1; mx; spf=pass smtp.mailfrom=zq@a.example; dkim=pass header.i=@b.example": "i=1; mx; spf=pass smtp.mailfrom=@a.example; dkim=pass header.i=@b.example",
		"spf=pass smtp.mailfrom=l+zq=zq.example@a.example":                            "spf=pass smtp.mailfrom=@a.example",
		`spf=pass smtp.mailfrom="zq zq"@a.example`:                                    `spf=pass smtp.mailfrom=@a.example`,
		`spf=pass smtp.mailfrom="zq zq@a.example"`:                                    `spf=pass smtp.mailfrom=@a.example`,
		`(domain of zq=zq@a.example designates <zq@b.example> "zq zq"@c.example)`:     `(domain of @a.example designates <@b.example> @c.example)`,
		`reason="no key for \"zq@a.example\" there"`:                                  `reason="no key for @a.example there"`,
		`spf=pass smtp.mailfrom="zq@a.example`:                                        `spf=pass smtp.mailfrom=@a.example`,
		`dmarc=pass (p=none sp=none) header.from=a.example`:                           `dmarc=pass (p=none sp=none) header.from=a.example`,
		`network=192.0.2.0/24 comment="asked zq@a.example on 3 March" expires=x`:      `network=192.0.2.0/24 comment="asked @a.example on 3 March" expires=x`,
	} {
		if got := (hider{}).text(text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}
