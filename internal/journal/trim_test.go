package journal

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/filter"
	"signpost/internal/spf"
	"signpost/policy"
)

// With hash the same address has the same word wherever it stands and however it is written, other addresses have others, and
// so has every other journal.
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

// A DNS name that the sender's local part went into is left out wherever the decision names it: the lookup that failed is in the
// reason and the reply, too.
func TestFailedNameIsLeftOut(t *testing.T) {
	const name = "secretary.u.example.com"
	r := filter.Report{Lookups: []dns.Lookup{
		{Name: "example.com", Type: "TXT", Status: dns.NoError, Records: []string{"v=spf1 exists:%{l}.u.example.com -all"}},
		{Name: name, Type: "A", Status: dns.ServFail},
	}}
	e := &r.Evidence
	e.Envelope.Sender = "secretary@example.com"
	e.SPF = &spf.Result{Status: spf.TempError, Domain: "example.com", Failed: name, Reason: "looking up " + name + ".: SERVFAIL"}
	e.DMARC = []dmarc.Result{{Status: dmarc.TempError, Domain: "example.com", Failed: name}}
	e.Relays = []policy.Relay{{Kind: policy.RelaySRS, Domain: "example.com", Failed: name}}
	r.Verdict = policy.Verdict{Reason: "the lookup of " + name + " failed", Reply: policy.Reply{Code: 451, Text: "lookup of " + name + " failed"}}
	text, err := json.Marshal(redact(r, Omit, nil))
	if err != nil || strings.Contains(string(text), "secretary") {
		t.Errorf("%v %s", err, text)
	}
}
