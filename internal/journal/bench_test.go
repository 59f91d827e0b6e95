package journal

import (
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time that this process has taken.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What the writer needs for an ordinary message, in batches: all of it, and its parts.
func BenchmarkWriter(b *testing.B) {
	const different, batch = 4096, largeBatch
	all := make([]Entry, different)
	fresh := func(from int) []Entry {
		entries := make([]Entry, batch)
		for i := range entries {
			n := from + i
			entries[i] = Entry{Time: time.Unix(1_790_000_000, 0).Add(time.Duration(n) * 10 * time.Millisecond), Report: all[n%different].Report}
			entries[i].Evidence.QueueID = all[(n*31)%different].Evidence.QueueID
		}
		return entries
	}
	for i := range all {
		all[i] = Entry{Time: time.Unix(1_790_000_000, 0), Report: sample(i)}
	}
	each := func(b *testing.B, f func(first int)) {
		b.ReportAllocs()
		start := cpu()
		n := 0
		for b.Loop() {
			f(n)
			n += batch
		}
		b.ReportMetric(float64(cpu()-start)/float64(n), "cpu-ns/message")
	}
	d := newDesk(b)
	db, err := create(d.Path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.close()
	pack := func(b *testing.B, e Entry) row {
		e.Report = redact(shorten(e.Report), Omit, nil)
		r, err := db.pack(&e)
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	b.Run("redact", func(b *testing.B) {
		each(b, func(first int) {
			for _, e := range fresh(first) {
				redact(shorten(e.Report), Omit, nil)
			}
		})
	})
	b.Run("pack", func(b *testing.B) {
		each(b, func(first int) {
			for _, e := range fresh(first) {
				pack(b, e)
			}
		})
	})
	at := 0
	b.Run("all", func(b *testing.B) {
		each(b, func(int) {
			var rows []row
			for _, e := range fresh(at) {
				rows = append(rows, pack(b, e))
			}
			at += batch
			if n, err := db.insert(rows); n != batch || err != nil {
				b.Fatal(n, err)
			}
			if err := db.bound(64<<20, some); err != nil {
				b.Fatal(err)
			}
		})
	})
}
