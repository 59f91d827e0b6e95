package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// Some names are converted without the wire format. Their canonical form is the same as after a conversion through the wire format. All
// other names are converted through the wire format.
func TestCanonical(t *testing.T) {
	label := strings.Repeat("x", 63)
	long := strings.Repeat("abcdefg.", 31) + "abcde" // 253
	for name, plain := range map[string]bool{
		"example.com": true, "example.com.": true, "EXAMPLE.Com": true, "_dmarc.a-b.1": true, "com": true, label + ".a": true, long: true,
		"": false, ".": false, "..": false, ".a": false, "a..b": false, "a b": false, "a\\.b": false, "ü.example": false, "*.example": false, "\u212a.example": false,
		label + "x.a": false, long + "x": false, long + ".": true,
	} {
		if got := hostLike(strings.TrimSuffix(name, ".")); got != plain {
			t.Errorf("hostLike(%q) is %v", name, got)
		}
		if !plain {
			continue
		}
		got, err := canonical(name)
		want, wireErr := respell(strings.TrimSuffix(name, ".") + ".")
		if err != nil || wireErr != nil || got != want {
			t.Errorf("%q: %q %v, through the wire format %q %v", name, got, err, want, wireErr)
		}
	}
}

// gated is a resolver whose network answers when the test closes a channel.
type gated struct {
	*Resolver
	answer chan struct{}
	mu     sync.Mutex
	asked  []string
}

func gate(t *testing.T, text string) *gated {
	z := zone(t, text)
	g := &gated{answer: make(chan struct{})}
	g.Resolver = fake(func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		g.mu.Lock()
		g.asked = append(g.asked, q.Question[0].Name)
		g.mu.Unlock()
		select {
		case <-g.answer:
			return z.Answer(q), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return g
}

// If parts of a message ask the same question at the same time, one query is sent, and it counts once.
func TestOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate(t, "a. 0 TXT x")
		v := g.View(netip.Addr{}).Limit(1)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if txt, err := v.LookupTXT(t.Context(), "a"); err != nil || len(txt) != 1 {
					t.Error(txt, err)
				}
			})
		}
		synctest.Wait()
		close(g.answer)
		all.Wait()
		if n, _ := v.Spent(); n != 1 || len(g.asked) != 1 || len(v.Answered().Lookups()) != 1 {
			t.Errorf("%d questions, %d queries", n, len(g.asked))
		}
	})
}

// A lookup continues for the part of the message that still has time, even if another part started it.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate(t, "a. 0 TXT x")
		v := g.View(netip.Addr{})
		short := v.Until(time.Now().Add(time.Second))
		var all sync.WaitGroup
		for range 2 { // the first starts the lookup, the second waits for it
			all.Go(func() {
				if _, err := short.LookupTXT(t.Context(), "a"); err == nil {
					t.Error("an answer before there is one")
				}
			})
			synctest.Wait()
		}
		all.Go(func() {
			if txt, err := v.LookupTXT(t.Context(), "a"); err != nil || len(txt) != 1 {
				t.Error(txt, err)
			}
		})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		close(g.answer)
		all.Wait()
		if len(g.asked) != 1 {
			t.Errorf("%d queries", len(g.asked))
		}
	})
}

// Known sends no queries and reports whether an answer was missing. Cached answers count against the limit, as in other views.
func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate(t, "a. 60 TXT x\nb. 0 TXT x")
		close(g.answer)
		if _, err := g.View(netip.Addr{}).LookupTXT(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		v := g.View(netip.Addr{})
		known := v.Limit(1).Known()
		for _, name := range []string{"a", "a", "b"} { // a question over the limit does not count as missed
			_, _ = known.LookupTXT(t.Context(), name)
		}
		if n, _ := v.Spent(); known.Missed() || n != 1 || !v.Answered().Lookups()[0].Cached {
			t.Errorf("missed %v, %+v", known.Missed(), v.Answered().Lookups())
		}
		known = v.Known()
		if _, err := known.LookupTXT(t.Context(), "b"); err == nil || !known.Missed() || len(g.asked) != 1 {
			t.Errorf("%v, missed %v, queries %q", err, known.Missed(), g.asked)
		}
		if n, _ := v.Spent(); n != 1 {
			t.Errorf("a miss counts: %d", n)
		}
		// The answer to a query in progress is not known yet.
		g.answer = make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() { _, _ = v.LookupTXT(t.Context(), "b") })
		synctest.Wait()
		known = v.Known()
		if _, err := known.LookupTXT(t.Context(), "b"); err == nil || !known.Missed() {
			t.Error("known before it is answered")
		}
		close(g.answer)
		all.Wait()
	})
}

// A cached lookup needs one allocation, for the canonical name. A message needs a few more allocations for its view.
func TestWarmAllocations(t *testing.T) {
	r := zone(t, "a.example. TXT x\nb.example. TXT x\nc.example. TXT x").Resolver(time.Now, slog.New(slog.DiscardHandler))
	look := func() {
		v := r.View(netip.Addr{})
		for _, name := range []string{"a.example", "b.example", "c.example", "a.example"} {
			if _, err := v.LookupTXT(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	look()
	const view, names = 3, 4
	if n := testing.AllocsPerRun(100, look); n > view+names {
		t.Errorf("%v allocations, at most %d", n, view+names)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = canonical("a.example") }); fmt.Sprint(n) != "1" {
		t.Errorf("%v allocations for a name", n)
	}
}

// A prefetched question is sent once, concurrently with others, and the lookup waits for it. It counts against the limit of the view that
// prefetched it. A prefetch that was cancelled is repeated by the lookup.
func TestPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate(t, "a. 0 TXT x\nb. 0 TXT x\nb. 0 MX 1 a.\nc. 0 TXT x")
		v := g.View(netip.Addr{})
		limited := v.Limit(3)
		v.Known().Prefetch(t.Context(), TXT, "a") // no query is sent
		limited.Prefetch(t.Context(), TXT, "a..b")
		limited.Prefetch(t.Context(), TXT, "a")
		limited.Prefetch(t.Context(), TXT, "a")
		limited.Prefetch(t.Context(), MX, "b")
		leaving, leave := context.WithCancel(t.Context())
		limited.Prefetch(leaving, TXT, "b")
		limited.Prefetch(t.Context(), TXT, "c")
		synctest.Wait()
		if len(g.asked) != 3 {
			t.Errorf("queries %q", g.asked)
		}
		leave()
		synctest.Wait()
		close(g.answer)
		for _, name := range []string{"a", "b"} {
			if txt, err := v.LookupTXT(t.Context(), name); err != nil || len(txt) != 1 {
				t.Error(name, txt, err)
			}
		}
		if mx, err := limited.LookupMX(t.Context(), "b"); err != nil || len(mx) != 1 {
			t.Error(mx, err)
		}
		if len(g.asked) != 4 {
			t.Errorf("queries %q", g.asked)
		}
	})
}

// A record that names a hundred hosts does not cause a hundred open sockets at a time. Names that were not prefetched are looked up when
// needed.
func TestPrefetchIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var zone strings.Builder
		for i := range 100 {
			fmt.Fprintf(&zone, "h%d. 0 TXT x\n", i)
		}
		g := gate(t, zone.String())
		v := g.View(netip.Addr{})
		for i := range 100 {
			v.Prefetch(t.Context(), TXT, fmt.Sprintf("h%d", i))
		}
		synctest.Wait()
		if len(g.asked) != maxPrefetch {
			t.Errorf("%d questions at once, want %d", len(g.asked), maxPrefetch)
		}
		close(g.answer)
		if txt, err := v.LookupTXT(t.Context(), "h99"); err != nil || len(txt) != 1 {
			t.Error(txt, err)
		}
	})
}

// For any name, the conversion has the same result with and without the wire format.
func FuzzCanonical(f *testing.F) {
	for _, name := range []string{"example.com", "A-b_1.Example.", "a b\\;\"()@.x", "..", "\\046.a", "ü", ".a", "a.."} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := canonical(name)
		bare := strings.TrimSuffix(name, ".")
		escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "(", `\(`, ")", `\)`, ";", `\;`, " ", `\ `, "@", `\@`).Replace(bare) + "."
		want, wireErr := respell(escaped)
		if bare == "" || strings.Contains("."+bare, "..") {
			wireErr = errors.New("not a domain name")
		}
		if (err == nil) != (wireErr == nil) || err == nil && got != want {
			t.Fatalf("%q: %q %v, through the wire format %q %v", name, got, err, want, wireErr)
		}
	})
}
