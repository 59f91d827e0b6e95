package filter

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/milter"
	"signpost/policy"
)

// rounds is a name server that answers all waiting queries together, when no goroutine can continue without an answer. Therefore each round
// takes the time of one query.
type rounds struct {
	zone *dns.Zone

	mu      sync.Mutex
	waiting []string
	answer  chan struct{}
	past    []string // the queries of each round, in order
}

func newRounds(t *testing.T, f *Filter, records string) *rounds {
	t.Helper()
	zone, err := dns.ParseZone(strings.NewReader(records), "zone")
	if err != nil {
		t.Fatal(err)
	}
	r := &rounds{zone: zone, answer: make(chan struct{})}
	f.Resolver = dns.New(dns.Options{Ask: r.ask, Timeout: time.Minute, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	return r
}

func (r *rounds) ask(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
	r.mu.Lock()
	r.waiting = append(r.waiting, strings.TrimSuffix(q.Question[0].Name, ".")+" "+miekg.TypeToString[q.Question[0].Qtype])
	answer := r.answer
	r.mu.Unlock()
	select {
	case <-answer:
		return r.zone.Answer(q), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// round answers all waiting queries, once no goroutine can continue without an answer. It reports whether any queries were waiting.
func (r *rounds) round() (asked bool) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return false
	}
	slices.Sort(r.waiting)
	r.past = append(r.past, strings.Join(r.waiting, ", "))
	r.waiting = nil
	close(r.answer)
	r.answer = make(chan struct{})
	return true
}

// play passes a message to the filter. early is the number of rounds between its first recipient and its header.
func (r *rounds) play(t *testing.T, f *Filter, o ordinary, early int) (edits milter.Edits) {
	t.Helper()
	r.past = nil
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m := f.Begin(ctx, o.session, o.envelope)
	for range early {
		r.round()
	}
	for _, field := range o.fields {
		m.Header(field.Name, field.Value)
	}
	m.EndHeaders("Q")
	m.Body(o.body)
	ended := make(chan struct{})
	go func() {
		edits, _ = m.Finish(ctx)
		close(ended)
	}()
	for r.round() {
	}
	<-ended
	return edits
}

// TestRounds checks the queries for a message, and the number of consecutive rounds. After the end of its header, an ordinary message takes
// one round, whatever names it contains. SPF begins at the first recipient. The records to which an SPF record refers take further rounds.
// The next message of the same kind needs no queries.
func TestRounds(t *testing.T) {
	const (
		key   = "key._domainkey.example.com TXT"
		dmarc = "_dmarc.example.com TXT"
	)
	join := func(queries ...string) string { slices.Sort(queries); return strings.Join(queries, ", ") }
	for _, c := range []struct {
		name, author, d, sender, records string
		early                            int
		want                             string // part of the results
		rounds                           []string
	}{
		{"all names are the same", "ann@example.com", "example.com", "ann@example.com", "", 0,
			"spf=pass dkim=pass dmarc=pass", []string{join(dmarc, "example.com TXT", key)}},
		{"the author below the signer", "ann@news.example.com", "example.com", "ann@example.com", "", 0,
			"spf=pass dkim=pass dmarc=pass", []string{join("_dmarc.com TXT", dmarc, "_dmarc.news.example.com TXT", "example.com TXT", key)}},
		{"the author far below", "ann@a.b.c.d.example.com", "example.com", "ann@example.com", "", 0,
			"dmarc=pass", []string{join("_dmarc.a.b.c.d.example.com TXT", "_dmarc.com TXT", "_dmarc.d.example.com TXT", dmarc, "example.com TXT", key),
				"_dmarc.b.c.d.example.com TXT", "_dmarc.c.d.example.com TXT"}},
		{"the signer below the author", "ann@example.com", "mail.example.com", "", "key._domainkey.mail.example.com. CNAME key._domainkey.example.com.\n", 0,
			"spf=none dkim=pass dmarc=pass", []string{join("_dmarc.com TXT", dmarc, "_dmarc.mail.example.com TXT", "key._domainkey.mail.example.com TXT", "mail.example.com TXT")}},
		{"the sender below the author", "ann@example.com", "", "ann@bounce.example.com", "bounce.example.com. TXT \"v=spf1 ip4:192.0.2.25 -all\"\n", 0,
			"spf=pass dkim=none dmarc=pass", []string{join("_dmarc.bounce.example.com TXT", "_dmarc.com TXT", dmarc, "bounce.example.com TXT")}},
		{"under a public suffix of two labels", "ann@news.example.co.uk", "example.co.uk", "", "_dmarc.example.co.uk. TXT \"v=DMARC1; p=reject\"\nkey._domainkey.example.co.uk. CNAME key._domainkey.example.com.\n", 0,
			"dkim=pass dmarc=pass", []string{join("_dmarc.co.uk TXT", "_dmarc.example.co.uk TXT", "_dmarc.news.example.co.uk TXT", "_dmarc.uk TXT",
				"key._domainkey.example.co.uk TXT", "mail.example.com TXT")}},
		{"a stranger", "ann@example.com", "", "x@example.net", "", 0,
			"spf=none dkim=none dmarc=fail", []string{join("_dmarc.com TXT", dmarc, "example.net TXT")}},
		{"a name without a policy", "ann@example.net", "", "x@example.net", "", 0,
			"spf=none dkim=none dmarc=none", []string{"_dmarc.example.net TXT, example.net TXT", "_dmarc.net TXT"}},
		{"SPF includes", "ann@example.com", "", "x@spf.example", "spf.example. TXT \"v=spf1 include:a.example include:b.example mx ip6:2001:db8::/32 -all\"\n" +
			"a.example. TXT \"v=spf1 ip4:203.0.113.1 -all\"\nb.example. TXT \"v=spf1 ip4:192.0.2.25 -all\"\nspf.example. MX 1 mx.spf.example.\n", 0,
			"spf=pass dmarc=fail", []string{join("_dmarc.com TXT", dmarc, "spf.example TXT"), "a.example TXT, b.example TXT, spf.example MX"}},
		{"SPF includes, and the client is slow", "ann@example.com", "", "x@spf.example", "spf.example. TXT \"v=spf1 include:a.example -all\"\n" +
			"a.example. TXT \"v=spf1 ip4:192.0.2.25 -all\"\n", 1,
			"spf=pass dmarc=fail", []string{"spf.example TXT", join("_dmarc.com TXT", dmarc, "a.example TXT")}},
		{"SPF has mail exchanges", "ann@spf.example", "", "x@spf.example", "spf.example. TXT \"v=spf1 mx a:%{i}.example a -all\"\n_dmarc.spf.example. TXT \"v=DMARC1; p=none\"\n" +
			"spf.example. MX 1 mx1.spf.example.\nspf.example. MX 2 mx2.spf.example.\nmx2.spf.example. A 192.0.2.25\nspf.example. A 192.0.2.1\n", 1,
			"spf=pass dmarc=pass", []string{"spf.example TXT", "_dmarc.spf.example TXT, spf.example A, spf.example MX", "mx1.spf.example A, mx2.spf.example A"}},
		{"SPF redirects", "ann@spf.example", "", "x@spf.example", "spf.example. TXT \"v=spf1 redirect=a.example\"\n_dmarc.spf.example. TXT \"v=DMARC1; p=none\"\n" +
			"a.example. TXT \"v=spf1 ip4:192.0.2.25 -all\"\n", 0,
			"spf=pass dmarc=pass", []string{"_dmarc.spf.example TXT, spf.example TXT", "a.example TXT"}},
		{"an address decides", "ann@spf.example", "", "x@spf.example", "spf.example. TXT \"v=spf1 ip4:192.0.2.25 include:a.example redirect=b.example\"\n_dmarc.spf.example. TXT \"v=DMARC1; p=none\"\n", 0,
			"spf=pass dmarc=pass", []string{"_dmarc.spf.example TXT, spf.example TXT"}},
		{"more terms than SPF may have", "ann@spf.example", "", "x@spf.example", "spf.example. TXT \"v=spf1" + strings.Repeat(" a:spf.example", 10) + " ptr -all\"\n_dmarc.spf.example. TXT \"v=DMARC1; p=none\"\n" +
			"spf.example. A 192.0.2.1\n", 0,
			"spf=permerror dmarc=fail", []string{"_dmarc.spf.example TXT, spf.example TXT", "spf.example A", "_dmarc.example TXT"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signer := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
				f := newFilter(t, "")
				f.Rules.Reject = policy.RejectNever // so that messages that fail have results too
				r := newRounds(t, f, zoneFor(t, signer)+c.records)
				o := ordinaryMessage(c.author)
				o.envelope.Sender = c.sender
				if c.d != "" {
					o = o.signed(t, c.d, signer)
				}
				edits := r.play(t, f, o, c.early)
				if !slices.Equal(r.past, c.rounds) {
					t.Errorf("queries\n%s\nwant\n%s", strings.Join(r.past, "\n"), strings.Join(c.rounds, "\n"))
				}
				check := func() {
					for word := range strings.FieldsSeq(c.want) {
						if results := fmt.Sprint(edits.Insert); !strings.Contains(results, word) {
							t.Errorf("no %s in %s", word, results)
						}
					}
				}
				check()
				edits = r.play(t, f, o, 0)
				if len(r.past) > 0 {
					t.Errorf("repeated queries: %q", r.past)
				}
				check()
			})
		})
	}
}

// If all answers are in the cache, no goroutine is started. The results of SPF and DMARC are available when the call that began them
// returns.
func TestCachedAnswersNeedNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signer := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
		f := newFilter(t, "")
		r := newRounds(t, f, zoneFor(t, signer))
		o := ordinaryMessage("ann@example.com").signed(t, "example.com", signer)
		r.play(t, f, o, 0)
		m := f.Begin(t.Context(), o.session, o.envelope).(*message)
		for _, field := range o.fields {
			m.Header(field.Name, field.Value)
		}
		m.EndHeaders("Q")
		v := m.verification
		if v.spf.done != nil || v.policies[0].done != nil {
			t.Error("a goroutine was started")
		}
		if n, open := v.view.Spent(); n != 3 || open != 0 {
			t.Errorf("%d questions, open for %v", n, open)
		}
	})
}

// When a message ends early, its prefetches end.
func TestAbortEndsPrefetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signer := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
		f := newFilter(t, "")
		r := newRounds(t, f, zoneFor(t, signer)+"spf.example. TXT \"v=spf1 include:a.example mx -all\"\n")
		o := ordinaryMessage("ann@news.example.com").signed(t, "example.com", signer)
		o.envelope.Sender = "x@spf.example"
		ctx, cancel := context.WithCancel(t.Context())
		m := f.Begin(ctx, o.session, o.envelope)
		r.round()
		for _, field := range o.fields {
			m.Header(field.Name, field.Value)
		}
		m.EndHeaders("Q")
		synctest.Wait()
		if len(r.waiting) != 6 {
			t.Errorf("waiting for %q", r.waiting)
		}
		cancel()
		synctest.Wait() // the test fails if a goroutine is left
	})
}

// For any record, the prefetches for SPF do not exceed the queries that its evaluation may make: the record, ten terms, and ten exchanges
// for each term.
func TestSPFPrefetchIsBounded(t *testing.T) {
	const most = 1 + 10 + 10*10
	for before := range 10 {
		var zone strings.Builder
		mx := func(name string) string {
			for i := range 10 {
				fmt.Fprintf(&zone, "%s.example. MX 1 h%d.%s.example.\nh%d.%s.example. A 192.0.2.200\n", name, i, name, i, name)
			}
			return " mx:" + name + ".example"
		}
		top, included := "v=spf1", "v=spf1"
		for i := range 10 {
			if i == before {
				top += " include:included.example"
			} else {
				top += mx(fmt.Sprintf("top%d", i))
			}
			included += mx(fmt.Sprintf("in%d", i))
		}
		fmt.Fprintf(&zone, "example.com. TXT \"%s -all\"\nincluded.example. TXT \"%s -all\"\n", top, included)
		o := ordinaryMessage("ann@example.com")
		v := newFilter(t, zone.String()).Begin(t.Context(), o.session, o.envelope).(*message).verification
		result := v.spf.wait()
		if n, _ := v.view.Spent(); n > most || n < most-10 || result.Status != spf.PermError {
			t.Errorf("%d terms before the include: %d queries, %s", before, n, result.Status)
		}
	}
}
