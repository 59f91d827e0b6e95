package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// perTick is the number of messages that arrive in each hundredth of a second while a large journal is reduced.
const perTick = 10

// shrink opens a copy of a large journal with other limits while messages arrive. It runs until done reports that enough messages are
// deleted and enough space is returned to the file system. It measures the time and the longest queue, and checks that no message was lost.
func shrink(b *testing.B, path string, limits Limits, done func(r *Reader) (bool, error)) {
	d := newFixture(b)
	d.Limits = limits
	d.Path = copied(b, path)
	j := newJournal(d.Options)
	// The journal tidies immediately, as if it had run for a while.
	j.clockReadAt = d.Now().Round(0)
	j.clockJumpedAt = j.clockReadAt.Add(-2 * minStable)
	j.more = time.After(0)
	j.done.Go(func() { j.run(make(chan struct{})) })
	most, n := 0, 0
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for is := false; !is; {
		for range 100 {
			<-tick.C
			for range perTick {
				j.Add(sample(n))
				n++
			}
			most = max(most, len(j.queue))
		}
		r, err := OpenReader(d.Path)
		if err == nil {
			is, err = done(r)
			r.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	took := time.Since(start)
	j.Close()
	before, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	after, err := os.Stat(d.Path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(float64(n)/took.Seconds(), "messages/s")
	b.ReportMetric(float64(most), "waiting-most")
	b.ReportMetric(float64(before.Size())/(1<<20), "MiB-before")
	b.ReportMetric(float64(after.Size())/(1<<20), "MiB-after")
	if d.lost.Load() > 0 || d.log.String() != "" {
		b.Errorf("%d lost\n%s", d.lost.Load(), d.log)
	}
}

func copied(b *testing.B, path string) string {
	b.Helper()
	to := filepath.Join(b.TempDir(), "journal", "journal.db")
	from, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil {
		b.Fatal(err)
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(f, from); errors.Join(err, f.Close()) != nil {
		b.Fatal(err)
	}
	return to
}

// shrunk is the number of messages to delete.
const shrunk = 100_000

// shrinks measures the effect of a shorter journal.keep and of a smaller journal.max_size. A shorter journal.keep has the same effect as a
// daemon that was stopped for a while.
func shrinks(b *testing.B, path string, rows int) {
	if rows <= shrunk {
		return
	}
	fi, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("a shorter journal.keep", func(b *testing.B) {
		r, err := OpenReader(path)
		if err != nil {
			b.Fatal(err)
		}
		ids, err := r.IDs(b.Context(), Filter{}, shrunk, true)
		r.Close()
		if err != nil {
			b.Fatal(err)
		}
		before := time.UnixMicro(ids[shrunk-1])
		shrink(b, path, Limits{time.Since(before), 64 << 30, Omit}, func(r *Reader) (bool, error) {
			var free, last int64
			err := r.snapshot(b.Context(), func(s *snapshot) error {
				last = s.chunks[0].last
				return s.tx.QueryRow("PRAGMA freelist_count").Scan(&free)
			})
			return last >= before.UnixMicro() && free < 2*vacuumPages, err
		})
	})
	b.Run("a smaller journal.max_size", func(b *testing.B) {
		less := fi.Size() - fi.Size()/int64(rows)*shrunk
		shrink(b, path, Limits{10 * largeSpan, (less + largeRoom) / (spareShare - 1) * spareShare, Omit}, func(r *Reader) (bool, error) {
			used, err := used(b.Context(), r.db)
			return used <= less, err
		})
	})
}
