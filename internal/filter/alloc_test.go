package filter

import (
	"crypto/ed25519"
	"io"
	"log/slog"
	"strings"
	"testing"
)

// A field is kept without a copy. Only a folded field is copied.
func TestHeaderAllocations(t *testing.T) {
	f := newFilter(t, "")
	fields := ordinaryMessage("ann@example.com").fields
	want := 2.0 // one for the slice of all fields, one for the slice of From fields
	for _, field := range fields {
		if strings.Contains(field.Value, "\n") {
			want++
		}
	}
	m := &message{filter: f}
	if n := testing.AllocsPerRun(100, func() {
		m.fields, m.froms, m.header = nil, nil, 0
		for _, field := range fields {
			m.Header(field.Name, field.Value)
		}
	}); n != want {
		t.Errorf("%v allocations for %d fields, want %v", n, len(fields), want)
	}
}

// An ordinary message that passes, with all answers in the cache. The limits are a little above the present numbers, because pools drop
// objects under the race detector. More allocations are a regression.
func TestMessageAllocations(t *testing.T) {
	signer := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	for _, c := range []struct {
		name   string
		o      ordinary
		want   string
		atMost float64
	}{
		{"unsigned", ordinaryMessage("ann@example.com"), "dmarc=pass", 100},
		{"signed", ordinaryMessage("ann@example.com").signed(t, "example.com", signer), "dkim=pass", 150},
	} {
		f := newFilter(t, zoneFor(t, signer))
		f.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
		if edits, _ := c.o.play(t.Context(), f); len(edits.Insert) != 1 || !strings.Contains(edits.Insert[0].Value, c.want) {
			t.Fatalf("%s: %+v", c.name, edits)
		}
		if n := testing.AllocsPerRun(100, func() { c.o.play(t.Context(), f) }); n > c.atMost {
			t.Errorf("%s: %v allocations, at most %v", c.name, n, c.atMost)
		}
	}
}
