package report

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/journal"
)

// varied returns the record of the n-th message. If everything varies, each message has its own report and row.
func varied(n int, everything bool) *decision.Record {
	r := message()
	if everything {
		r = from(r, fmt.Sprintf("d%d.example", n))
		for i := range 8 {
			r.Evidence.DKIM = append(r.Evidence.DKIM, dkim.Result{Status: dkim.Fail, Domain: fmt.Sprintf("x%d-%d.example", n, i), Selector: "s"})
		}
		r.Client = netip.AddrFrom4([4]byte{203, byte(n >> 16), byte(n >> 8), byte(n)})
		return r
	}
	r = from(r, fmt.Sprintf("d%d.example", n*n%2000)) // most domains send little
	r.Evidence.DMARC[0].OrgDomain = ""                // no walk was needed
	r.Evidence.DKIM = append(r.Evidence.DKIM, dkim.Result{Status: dkim.Pass, Domain: "provider.example.com", Selector: "s"})
	r.Client = netip.AddrFrom4([4]byte{203, 0, byte(n % 7), byte(n % 13)})
	return r
}

// A sender who varies everything causes more passes, but not more memory.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	c := &collector{memory: memory}
	c.begin()
	for n := range 100_000 {
		c.add(t.Context(), &journal.Entry{Record: *varied(n, true)})
	}
	grown := heap() - before
	t.Logf("%d groups, %d bytes by their sizes, %d bytes of memory", len(c.groups), c.bytes, grown)
	if grown > 2*memory || c.bytes > memory || c.bytes < memory/4 {
		t.Errorf("%d bytes of memory, %d by the sizes of the groups", grown, c.bytes)
	}
	runtime.KeepAlive(c)
}

// BenchmarkCollect makes the reports of a day, with the mail of an ordinary day and with mail in which everything varies.
func BenchmarkCollect(b *testing.B) {
	const messages = 20_000
	for name, everything := range map[string]bool{"ordinary": false, "varied": true} {
		b.Run(name, func(b *testing.B) {
			j := newJournal(b)
			for n := range messages {
				j.at(monday().Add(time.Duration(n) * time.Second))
				j.Add(varied(n, everything))
				if n%4000 == 3999 { // the queue has room for 8192 messages
					j.Close()
					j = openJournal(b, j.path)
				}
			}
			j.Close()
			r, err := journal.OpenReader(j.path)
			ok(b, err)
			defer r.Close()
			for b.Loop() {
				reports := 0
				ok(b, collect(b.Context(), r, monday(), Options{}, memory, func(r *Report) error {
					if reports++; reports > 1000 {
						return nil // only reports with a destination become files
					}
					_, err := r.File(sender())
					return err
				}))
				b.ReportMetric(float64(reports), "reports")
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(messages*max(1, b.N)), "us/message")
		})
	}
}
