package main

import (
	"log/slog"
	"time"

	"signpost/internal/config"
	"signpost/internal/journal"
	"signpost/internal/metrics"
)

// openJournal begins to keep what is decided.
func openJournal(conf *config.Config, m *metrics.Metrics, log *slog.Logger) *journal.Journal {
	return journal.Open(journal.Options{Path: conf.JournalFile(), Limits: journalLimits(conf), Now: time.Now, Log: log, Lost: m.JournalLost})
}

func journalLimits(conf *config.Config) journal.Limits {
	c := conf.Journal
	return journal.Limits{Keep: c.Keep, MaxSize: c.MaxSize, Addresses: journal.Addresses(c.Addresses)}
}
