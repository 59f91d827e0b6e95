package journal

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/policy"
)

// rowsVar is the number of messages in the database of BenchmarkLarge, and pathVar is the path of that database: see `make bench-journal`.
const (
	rowsVar = "SIGNPOST_JOURNAL_ROWS"
	pathVar = "SIGNPOST_JOURNAL_FILE"
)

// largeSpan is the time over which the messages are spread. It ends now.
const largeSpan = 14 * 24 * time.Hour

// packedEntries is the number of different packed entries. Packing ten million entries would take an hour, so most messages reuse one of
// the packed entries. Each message has its own row.
const packedEntries = 1000

// crowd creates messages with a realistic distribution of senders and clients: a few send most of the mail, and many send little.
type crowd struct {
	random  *rand.Rand
	domains *rand.Zipf
	pool    []Entry
	packed  []*row
	texts   []text // the texts of packed; the first message stores them
}

func newCrowd(b *testing.B, db *database) *crowd {
	random := rand.New(rand.NewPCG(1, 2))
	c := &crowd{random: random, domains: rand.NewZipf(random, 1.2, 4, 50_000)}
	for n := range packedEntries {
		e := Entry{Record: redact(*sample(n), Omit, nil)}
		e.Evidence.QueueID = queueOf(n)
		r, err := pack(&e, db.codec, db.stored, false)
		if err != nil {
			b.Fatal(err)
		}
		c.pool, c.packed, c.texts = append(c.pool, e), append(c.packed, r), append(c.texts, r.texts...)
	}
	return c
}

func queueOf(n int) string { return fmt.Sprintf("4%012xz%05x", n*2654435761, n&0xfffff) }

func (c *crowd) message(b *testing.B, db *database, n int, at time.Time) *row {
	which := c.random.IntN(len(c.pool))
	e, d := c.pool[which], c.domains.Uint64()
	ev := &e.Evidence
	ev.Connection.Client = netip.AddrFrom4([4]byte{byte(10 + d%200), byte(d >> 8), byte(d), byte(c.random.IntN(4))})
	ev.Author.Domains = []string{fmt.Sprintf("sender%d.example", d)}
	ev.QueueID, ev.MessageID = queueOf(n), fmt.Sprintf("<%x.%d@%s>", n*40503, n, ev.Author.Domains[0])
	e.Time = at
	switch {
	case n%5 == 0:
		e.Role, e.Action, ev.SPF, ev.DKIM, ev.DMARC = policy.RoleSign, policy.Sign, nil, nil, nil
	case n%1_000_003 == 1: // about ten in ten million, all in the most common domain
		e.Action = policy.Hold
		ev.Author.Domains = []string{"sender0.example"}
	}
	if n%packedEntries == 0 {
		r, err := pack(&e, db.codec, db.stored, false)
		if err != nil {
			b.Fatal(err)
		}
		r.texts, c.texts = append(c.texts, r.texts...), nil
		return r
	}
	return &row{at: at, queue: hash(ev.QueueID), mid: hash(ev.MessageID), domain: e.Domain(), client: address(ev.Connection.Client), outcome: e.Outcome(), entry: c.packed[which].entry}
}

// fill creates the database, and the indexes at the end.
func fill(b *testing.B, path string, rows int) {
	db, err := create(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.close()
	exec := func(text string) {
		if _, err := db.db.Exec(text); err != nil {
			b.Fatal(text, err)
		}
	}
	exec("PRAGMA synchronous = 0; PRAGMA cache_size = -400000; PRAGMA wal_autocheckpoint = 50000")
	c, begin, start := newCrowd(b, db), time.Now().Add(-largeSpan), time.Now()
	for n := 0; n < rows; {
		var all []*row
		for i := n; i < min(n+3000, rows); i++ {
			all = append(all, c.message(b, db, i, begin.Add(largeSpan/time.Duration(rows)*time.Duration(i))))
		}
		n += len(all)
		if _, err := db.insert(b.Context(), all); err != nil {
			b.Fatal(err)
		}
	}
	for c := db.unindexed(); c != nil; c = db.unindexed() {
		if err := db.createIndex(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("%d messages created in %v", rows, time.Since(start).Round(time.Second))
}

// BenchmarkLarge measures queries to a large database. It also checks that the database keeps its limit while messages are written and
// queried. It does not run by default, because creating ten million messages takes long.
func BenchmarkLarge(b *testing.B) {
	rows, _ := strconv.Atoi(os.Getenv(rowsVar))
	if rows == 0 {
		b.Skip("set " + rowsVar + " to the number of messages")
	}
	path := os.Getenv(pathVar)
	if path == "" {
		path = filepath.Join(b.TempDir(), "journal", "journal.db")
	}
	if missing(path) {
		fill(b, path, rows)
	}
	fi, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d bytes, %d per message", fi.Size(), fi.Size()/int64(rows))
	ask(b, path, rows)
	b.Run("every message", func(b *testing.B) { every(b, path) })
	shrinks(b, path, rows)
	b.Run("burst", burst)
	b.Run("mail flows", func(b *testing.B) { flow(b, path, fi.Size()) })
}

// every reads complete messages one after the other, as what-if does.
func every(b *testing.B, path string) {
	const most = 100_000
	n, start := 0, cpu()
	for b.Loop() {
		r, err := OpenReader(path)
		if err != nil {
			b.Fatal(err)
		}
		read := 0
		if err := r.Each(b.Context(), Filter{}, func(*Entry) bool { read++; return read < most }); err != nil {
			b.Fatal(err)
		}
		n += read
		r.Close()
	}
	b.ReportMetric(float64(cpu()-start)/1e3/float64(n), "cpu-us/message")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "us/message")
}

// burst adds 5000 messages a second for ten seconds to a new journal. None may be lost.
func burst(b *testing.B) {
	const perSecond, seconds, ticks = 5000, 10, 100
	all := make([]*decision.Record, perSecond)
	for i := range all {
		all[i] = sample(i)
	}
	for b.Loop() {
		d := newFixture(b)
		j := Open(d.Options)
		most, start := 0, time.Now()
		for n := range perSecond * seconds {
			if n%(perSecond/ticks) == 0 {
				time.Sleep(time.Until(start.Add(time.Duration(n) * time.Second / perSecond)))
				most = max(most, len(j.queue))
			}
			j.Add(all[n%len(all)])
		}
		took := time.Since(start)
		j.Close()
		b.ReportMetric(perSecond*seconds/took.Seconds(), "messages/s")
		b.ReportMetric(float64(most), "waiting-most")
		if d.lost.Load() > 0 {
			b.Errorf("%d lost\n%s", d.lost.Load(), d.log)
		}
	}
}

// flow writes messages to a database that has already reached its limit, while another goroutine queries it.
func flow(b *testing.B, path string, size int64) {
	d := newFixture(b)
	d.Path, d.Keep, d.MaxSize = path, 10*largeSpan, size+size/spareShare+largeRoom // the database is full
	var slowest time.Duration
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for at := 0; ; at += packedEntries {
			select {
			case <-stop:
				return
			default:
			}
			r, err := OpenReader(path)
			if err != nil {
				b.Error(err)
				return
			}
			start := time.Now()
			if _, err := r.Find(b.Context(), queueOf(at)); err != nil {
				b.Error(err)
			}
			slowest = max(slowest, time.Since(start))
			if _, err := r.IDs(b.Context(), Filter{Outcome: Outcome.Failed}, 100, false); err != nil {
				b.Error(err)
			}
			r.Close()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	largest := func() (all int64) {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if fi, err := os.Stat(path + suffix); err == nil {
				all += fi.Size()
			}
		}
		return all
	}
	j := Open(d.Options)
	start, n, most := time.Now(), 0, int64(0)
	for b.Loop() {
		for range 500 { // 1000 messages a second
			time.Sleep(10 * time.Millisecond)
			for range perTick {
				j.Add(sample(n))
				n++
			}
		}
		most = max(most, largest())
	}
	j.Close()
	took := time.Since(start)
	close(stop)
	<-done
	b.ReportMetric(float64(n)/took.Seconds(), "messages/s")
	b.ReportMetric(float64(slowest)/float64(time.Millisecond), "ms-worst-explain")
	b.ReportMetric(float64(max(most, largest()))/float64(d.MaxSize), "size/bound")
	if d.lost.Load() > 0 || most > d.MaxSize {
		b.Errorf("%d lost, at most %d bytes of %d\n%s", d.lost.Load(), most, d.MaxSize, d.log)
	}
}

func action(words ...string) func(Outcome) bool {
	return func(o Outcome) bool {
		for _, w := range words {
			if o.Action == w {
				return true
			}
		}
		return false
	}
}

// ask makes each query once, with an empty cache in the reader.
func ask(b *testing.B, path string, rows int) {
	network, wide, one := netip.MustParsePrefix("60.0.0.0/14"), netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("10.0.0.1/32")
	failed, held, never := Outcome.Failed, action("hold"), action("tempfail")
	early := time.Now().Add(-largeSpan).Add(time.Hour)
	filters := []struct {
		name string
		Filter
	}{
		{"all", Filter{}},
		{"failed", Filter{Outcome: failed}},
		{"rare action", Filter{Outcome: held}},
		{"action that never occurs", Filter{Outcome: never}},
		{"common domain", Filter{Domain: "sender0.example"}},
		{"rare domain", Filter{Domain: "sender49999.example"}},
		{"common domain, rare verdict", Filter{Domain: "sender0.example", Outcome: held}},
		{"common domain, failed, early", Filter{Domain: "sender0.example", Outcome: failed, Before: early}},
		{"one client", Filter{Client: one}},
		{"one client, rare verdict", Filter{Client: one, Outcome: held}},
		{"one client, other domain", Filter{Client: one, Domain: "sender1.example"}},
		{"network", Filter{Client: network}},
		{"network, failed", Filter{Client: network, Outcome: failed}},
		{"half of the world", Filter{Client: wide}},
		{"half of the world, failed", Filter{Client: wide, Outcome: failed}},
		{"half of the world, rare verdict", Filter{Client: wide, Outcome: held}},
		{"half of the world, common domain", Filter{Client: wide, Domain: "sender0.example"}},
		{"no client, failed, since ever", Filter{Client: netip.MustParsePrefix("2001:db8::/32"), Outcome: failed, Since: early}},
		{"network, failed, early", Filter{Client: network, Outcome: failed, Before: early}},
	}
	question := func(name string, most time.Duration, f func(r *Reader) int) {
		b.Run(name, func(b *testing.B) {
			var worst time.Duration
			n := 0
			for b.Loop() {
				r, err := OpenReader(path)
				if err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				n = f(r)
				worst = max(worst, time.Since(start))
				r.Close()
			}
			b.ReportMetric(float64(worst)/float64(time.Millisecond), "ms-worst")
			b.ReportMetric(float64(n), "rows")
			if worst > most {
				b.Errorf("%v, at most %v", worst, most)
			}
		})
	}
	at := 0
	question("explain by queue ID", 50*time.Millisecond, func(r *Reader) int {
		at = (at + 7_919_000) % rows
		found, err := r.Find(b.Context(), queueOf(at))
		if err != nil || len(found) != 1 {
			b.Errorf("%d found: %v", len(found), err)
		}
		return len(found)
	})
	question("explain by an unknown Message-ID", 50*time.Millisecond, func(r *Reader) int {
		found, err := r.Find(b.Context(), "none@sender0.example")
		if err != nil || len(found) != 0 {
			b.Errorf("%d found: %v", len(found), err)
		}
		return len(found)
	})
	for _, f := range filters {
		question("log, "+f.name, time.Second, func(r *Reader) int {
			ids, err := r.IDs(b.Context(), f.Filter, 100, false)
			if err != nil {
				b.Fatal(err)
			}
			all, err := r.Entries(b.Context(), ids)
			if err != nil {
				b.Fatal(err)
			}
			return len(all)
		})
	}
	question("hours", time.Second, func(r *Reader) int {
		all, err := r.Hours(b.Context(), time.Unix(0, 0))
		if err != nil {
			b.Fatal(err)
		}
		return len(all)
	})
	for _, clients := range []bool{false, true} {
		question(fmt.Sprintf("top of those that failed, clients %v", clients), 2*time.Second, func(r *Reader) int {
			top, _, err := r.Top(b.Context(), Filter{Outcome: failed}, clients, 20)
			if err != nil {
				b.Fatal(err)
			}
			return len(top)
		})
	}
}
