package journal

import (
	"syscall"
	"testing"
	"time"
)

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWriter measures the cost of an ordinary message in a batch: the total, and each part.
func BenchmarkWriter(b *testing.B) {
	const different, batch = 4096, largeBatch
	all := make([]Entry, different)
	fresh := func(from int) []Entry {
		entries := make([]Entry, batch)
		for i := range entries {
			n := from + i
			entries[i] = Entry{Time: time.Unix(1_790_000_000, 0).Add(time.Duration(n) * 10 * time.Millisecond), Record: all[n%different].Record}
			entries[i].Evidence.QueueID = all[(n*31)%different].Evidence.QueueID
		}
		return entries
	}
	for i := range all {
		all[i] = Entry{Time: time.Unix(1_790_000_000, 0), Record: *sample(i)}
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
	d := newFixture(b)
	db, err := create(b.Context(), d.Path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.close()
	c := newCodec()
	packed := func(b *testing.B, e Entry) *row {
		e.Record = redact(e.Record, Omit, nil)
		r, err := pack(&e, c, db.stored, false)
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	b.Run("redact", func(b *testing.B) {
		each(b, func(first int) {
			for _, e := range fresh(first) {
				redact(e.Record, Omit, nil)
			}
		})
	})
	b.Run("pack", func(b *testing.B) {
		each(b, func(first int) {
			for _, e := range fresh(first) {
				packed(b, e)
			}
		})
	})
	at := 0
	b.Run("all", func(b *testing.B) {
		each(b, func(int) {
			var rows []*row
			for _, e := range fresh(at) {
				rows = append(rows, packed(b, e))
			}
			at += batch
			if _, err := db.insert(b.Context(), rows); err != nil {
				b.Fatal(err)
			}
			if err := db.bound(b.Context(), 64<<20, deleteSteps); err != nil {
				b.Fatal(err)
			}
		})
	})
}
