package cluster

import (
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"signpost/internal/journal"
	"signpost/internal/testsql"
)

// BenchmarkShip measures the processor time of this process for each message that it copies, and for a round without new messages.
func BenchmarkShip(b *testing.B) {
	b.Run("PostgreSQL", func(b *testing.B) { benchmarkShip(b, testsql.PostgreSQL(b)) })
	b.Run("MariaDB", func(b *testing.B) { benchmarkShip(b, testsql.MariaDB(b)) })
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkShip(b *testing.B, server *testsql.Server) {
	h, database := newMember(b, server)
	path := filepath.Join(b.TempDir(), "journal", "journal.db")
	j := journal.Open(journal.Options{Path: path, Limits: journal.Limits{Keep: 2 * span, MaxSize: 512 << 20, Addresses: journal.Omit}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	const rows = 6000 // fewer than the queue of the journal
	c := newCrowd(rows)
	for n := range rows {
		j.Add(&c.message(n).Record)
	}
	j.Close()
	s := &Shipper{Host: h, Journal: path, Keep: 2 * span}
	copied := int64(0)
	start := processorTime(b)
	for b.Loop() {
		s.state = nil
		if err := os.RemoveAll(filepath.Join(h.Store.State, stateDir, shipName)); err != nil {
			b.Fatal(err)
		}
		server.Run(database, "DELETE FROM sp_message")
		for s.Ship(b.Context()) {
		}
		copied += s.state.Shipped
	}
	b.ReportMetric(float64((processorTime(b)-start).Microseconds())/float64(copied), "us/message")
	start = processorTime(b)
	const idle = 50
	for range idle {
		s.Ship(b.Context())
	}
	b.ReportMetric(float64((processorTime(b)-start).Microseconds())/idle, "us/idle")
}
