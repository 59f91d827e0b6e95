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
	const different = 4096
	all := make([]Entry, different)
	fresh := func(from int) []Entry {
		batch := make([]Entry, batch)
		for i := range batch {
			n := from + i
			batch[i] = Entry{Time: time.Unix(1_790_000_000, 0).Add(time.Duration(n) * 10 * time.Millisecond), Report: all[n%different].Report}
			batch[i].Evidence.QueueID = all[(n*31)%different].Evidence.QueueID
		}
		return batch
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
	b.Run("redact", func(b *testing.B) {
		each(b, func(first int) {
			for _, e := range fresh(first) {
				redact(shorten(e.Report), Omit, nil)
			}
		})
	})
	b.Run("encode", func(b *testing.B) {
		each(b, func(first int) {
			for _, e := range fresh(first) {
				if _, err := db.codec.encode(&e); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	at := 0
	b.Run("all", func(b *testing.B) {
		each(b, func(int) {
			entries := fresh(at)
			at += batch
			for i := range entries {
				entries[i].Report = redact(shorten(entries[i].Report), Omit, nil)
			}
			if n, err := db.insert(entries); n != batch || err != nil {
				b.Fatal(n, err)
			}
			if err := db.bound(64 << 20); err != nil {
				b.Fatal(err)
			}
		})
	})
}
