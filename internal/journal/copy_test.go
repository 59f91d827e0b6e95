package journal

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A packed copy has everything that a Reader returns, with the DNS answers that the journal stores once for many messages.
func TestPacker(t *testing.T) {
	d := newFixture(t)
	d.keep(t, 0, 40)
	r := d.read(t)
	ids, err := r.IDs(t.Context(), Filter{Outcome: Outcome.Failed}, 100, true)
	if err != nil || len(ids) != 4 {
		t.Fatalf("%d messages, %v", len(ids), err)
	}
	all, err := r.Entries(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	p := NewPacker()
	for _, e := range all {
		packed, err := p.Pack(&e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Unpack(packed)
		if err != nil {
			t.Fatal(err)
		}
		got.ID = e.ID
		want, _ := json.Marshal(e)
		if text, _ := json.Marshal(got); string(text) != string(want) || !strings.Contains(string(want), "include:servers.mcsv.example") {
			t.Errorf("%s\nwant %s", text, want)
		}
	}
	e := &all[0]
	if id := e.MessageID; !e.HasMessageID(id) || !e.HasMessageID(strings.Trim(id, "<>")) || e.HasMessageID(id+"x") || !e.HasQueueID(e.QueueID) || e.HasQueueID("") {
		t.Errorf("IDs of %s %s", e.QueueID, e.MessageID)
	}
	for what, c := range map[string]struct {
		filter Filter
		want   bool
	}{
		"all":           {Filter{}, true},
		"domain":        {Filter{Domain: e.Domain()}, true},
		"other domain":  {Filter{Domain: "x" + e.Domain()}, false},
		"client":        {Filter{Client: netip.PrefixFrom(e.Client, 32)}, true},
		"network":       {Filter{Client: netip.MustParsePrefix("203.0.0.0/16")}, true},
		"other network": {Filter{Client: netip.MustParsePrefix("2001:db8::/32")}, false},
		"failed":        {Filter{Outcome: Outcome.Failed}, true},
		"not failed":    {Filter{Outcome: func(o Outcome) bool { return !o.Failed() }}, false},
		"later":         {Filter{After: e.ID}, false},
		"before":        {Filter{Before: time.UnixMicro(e.ID)}, false},
	} {
		if got := c.filter.Matches(e); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// Number counts the same messages that IDs returns. A journal that replaces another has another identity.
func TestNumberAndIdentity(t *testing.T) {
	d := newFixture(t)
	d.keep(t, 0, 35)
	r := d.read(t)
	f := Filter{Outcome: Outcome.Failed}
	ids, err := r.IDs(t.Context(), f, 100, true)
	if err != nil {
		t.Fatal(err)
	}
	n, first, err := r.Number(t.Context(), f)
	if err != nil || n != 3 || len(ids) != 3 || first.UnixMicro() != ids[0] {
		t.Errorf("%d messages from %s, want %d from %d; %v", n, first, len(ids), ids, err)
	}
	f.After = ids[2]
	if n, first, err := r.Number(t.Context(), f); n != 0 || !first.IsZero() || err != nil {
		t.Errorf("%d messages from %s after the last one, %v", n, first, err)
	}
	other := newFixture(t)
	other.keep(t, 0, 1)
	a, err := r.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := other.read(t).Identity(t.Context())
	if err != nil || a == b || len(a) != 16 {
		t.Errorf("identities %s and %s, %v", a, b, err)
	}
}

// With the secret of a cluster, an address has the same word in each journal, and Forget finds it.
func TestUseSecret(t *testing.T) {
	secret := []byte("the secret of a cluster")
	var words []string
	var last *fixture
	for range 2 {
		d := newFixture(t)
		d.Addresses = Hash
		j := d.open()
		j.UseSecret(secret)
		j.Add(person(3))
		j.Close()
		ids, err := d.read(t).IDs(t.Context(), Filter{}, 1, false)
		if err != nil {
			t.Fatal(err)
		}
		all, err := d.read(t).Entries(t.Context(), ids)
		if err != nil || len(all) != 1 || !Hidden(all[0].Sender) {
			t.Fatalf("%+v, %v", all, err)
		}
		words, last = append(words, all[0].Sender), d
	}
	if words[0] != words[1] {
		t.Errorf("different words: %q", words)
	}
	for n, secrets := range [][][]byte{nil, {secret}} {
		if found, err := last.forget(t, "qxz3vwkj@sender3.example", false, secrets...); err != nil || found != n {
			t.Errorf("with %d secrets: %d messages, want %[1]d; %v", n, found, err)
		}
	}
}
