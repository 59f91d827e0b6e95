package journal

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fixture is a journal in a separate directory.
type fixture struct {
	Options
	log   *lockedBuffer
	lost  atomic.Int64
	ahead atomic.Int64 // of the clock, in nanoseconds
	chunk int          // maximum number of messages in a chunk, if not 0
}

// open opens the journal.
func (d *fixture) open() *Journal {
	j := newJournal(d.Options)
	if d.chunk > 0 {
		j.chunk = d.chunk
	}
	return j.start()
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	d := &fixture{log: &lockedBuffer{}}
	d.Options = Options{Path: filepath.Join(t.TempDir(), "journal", "journal.db"), Limits: Limits{14 * 24 * time.Hour, 512 << 20, Omit},
		Now: func() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())) },
		Log: slog.New(slog.NewTextHandler(d.log, nil)), Lost: func(_ Cause, n int) { d.lost.Add(int64(n)) }}
	return d
}

// keep writes the messages with the numbers first to last-1.
func (d *fixture) keep(t *testing.T, first, last int) {
	t.Helper()
	j := d.open()
	for i := first; i < last; i++ {
		for len(j.queue) == queueMessages {
			time.Sleep(time.Millisecond)
		}
		j.Add(sample(i))
	}
	if last-first > batchMessages { // on a busy machine, Close may not have time for a second batch
		until(t, "all is written", func() bool { return j.queued.Load() == 0 })
	}
	j.Close()
}

func (d *fixture) read(t *testing.T) *Reader {
	t.Helper()
	r, err := OpenReader(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// The record of a message is read back unchanged, except for the parts that are not kept.
func TestKept(t *testing.T) {
	d := newFixture(t)
	d.keep(t, 0, 300)
	r := d.read(t)
	want := sample(123)
	for _, id := range []string{want.Evidence.QueueID, want.Evidence.MessageID, strings.Trim(want.Evidence.MessageID, "<>")} {
		found, err := r.Find(t.Context(), id)
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %d messages, %v", id, len(found), err)
		}
		kept := shorten(&Entry{Record: *want}, 0).Record
		kept.Evidence.Envelope.Sender = "@sender23.example"
		kept.Evidence.DKIM[0].Identity = "@sender23.example"
		got, _ := json.Marshal(found[0].Record)
		if want, _ := json.Marshal(kept); !bytes.Equal(got, want) {
			t.Errorf("%s: %.3000s, want %.3000s", id, got, want)
		}
	}
	if found, err := r.Find(t.Context(), "4none"); err != nil || len(found) > 0 {
		t.Errorf("%v %v", found, err)
	}
	if d.log.String() != "" || d.lost.Load() != 0 {
		t.Errorf("%d lost\n%s", d.lost.Load(), d.log)
	}
}

// Each filter returns the messages that match, newest first.
func TestFilters(t *testing.T) {
	d := newFixture(t)
	d.keep(t, 0, 600)
	r := d.read(t)
	failed := func(o Outcome) bool { return o.Failed() }
	for name, c := range map[string]struct {
		filter  Filter
		matches func(n int) bool
	}{
		"all":              {Filter{}, func(int) bool { return true }},
		"domain":           {Filter{Domain: "sender9.example"}, func(n int) bool { return n%100 == 9 }},
		"client":           {Filter{Client: netip.MustParsePrefix("203.0.1.3/32")}, func(n int) bool { return n == 0x103 }},
		"network":          {Filter{Client: netip.MustParsePrefix("203.0.1.0/24")}, func(n int) bool { return n>>8 == 1 }},
		"other family":     {Filter{Client: netip.MustParsePrefix("cb00::/16")}, func(int) bool { return false }},
		"failed":           {Filter{Outcome: failed}, func(n int) bool { return n%10 == 9 }},
		"failed of domain": {Filter{Outcome: failed, Domain: "sender8.example"}, func(int) bool { return false }},
		"failed, network":  {Filter{Outcome: failed, Client: netip.MustParsePrefix("203.0.2.0/23")}, func(n int) bool { return n%10 == 9 && n>>9 == 1 }},
		"later":            {Filter{Since: time.Now().Add(time.Hour)}, func(int) bool { return false }},
		"before":           {Filter{Before: time.Now().Add(time.Hour), Domain: "sender1.example"}, func(n int) bool { return n%100 == 1 }},
	} {
		var want, got, back []string
		for n := range 600 {
			if c.matches(n) {
				want = append(want, sample(n).Evidence.MessageID)
			}
		}
		ids, err := r.IDs(t.Context(), c.filter, 10000, false)
		if err != nil {
			t.Fatal(name, err)
		}
		all, err := r.Entries(t.Context(), ids)
		if err != nil {
			t.Fatal(name, err)
		}
		for _, e := range all {
			got = append(got, e.Evidence.MessageID)
		}
		slices.Reverse(got)
		err = r.Each(t.Context(), c.filter, func(e *Entry) bool {
			back = append(back, e.Evidence.MessageID)
			return true
		})
		if !slices.Equal(got, want) || !slices.Equal(back, want) || err != nil {
			t.Errorf("%s: %d and %d messages, want %d: %v", name, len(got), len(back), len(want), err)
		}
	}
	var n, bad int64
	hours, err := r.Hours(t.Context(), time.Now().Add(-2*time.Hour))
	for _, h := range hours {
		n += h.N
		if h.Failed() {
			bad += h.N
		}
	}
	if n != 600 || bad != 60 || err != nil {
		t.Errorf("the hours have %d messages, %d failed: %v", n, bad, err)
	}
	top, whole, err := r.Top(t.Context(), Filter{Outcome: failed}, false, 2)
	if err != nil || !whole || len(top) != 2 || top[0] != (Count{"sender19.example", 6}) {
		t.Errorf("%v %v %v", top, whole, err)
	}
	if d.log.String() != "" || d.lost.Load() != 0 {
		t.Errorf("%d lost\n%s", d.lost.Load(), d.log)
	}
}

// If the machine was suspended and closeTimeout has passed before end is called, end still writes one batch, which is almost always
// sufficient. Further messages are counted and logged as lost.
func TestEnd(t *testing.T) {
	d := newFixture(t)
	j := newJournal(d.Options)
	close(j.stop)
	for i := range largeBatch + 5 {
		j.Add(sample(i))
	}
	j.open()
	j.end(time.Now().Add(-time.Minute))
	if n := d.count(t); n != largeBatch || d.lost.Load() != 5 || !strings.Contains(d.log.String(), "messages=5") {
		t.Errorf("%d kept, %d lost\n%s", n, d.lost.Load(), d.log)
	}
}

// lockedBuffer is a bytes.Buffer for concurrent use. It collects the log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
