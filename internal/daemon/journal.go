package daemon

import (
	"log/slog"
	"time"

	"signpost/internal/config"
	"signpost/internal/journal"
	"signpost/internal/metrics"
)

func openJournal(conf *config.Config, m *metrics.Metrics, log *slog.Logger) *journal.Journal {
	lost := func(cause journal.Cause, n int) { m.JournalLost(string(cause), n) }
	for _, cause := range journal.Causes() {
		lost(cause, 0) // so that the first loss is an increase
	}
	return journal.Open(journal.Options{Path: conf.JournalFile(), Limits: JournalLimits(conf), Now: time.Now, Log: log, Lost: lost})
}

// JournalLimits returns the limits of the journal that the configuration sets.
func JournalLimits(conf *config.Config) journal.Limits {
	c := conf.Journal
	return journal.Limits{Keep: c.Keep, MaxSize: c.MaxSize, Addresses: journal.Addresses(c.Addresses)}
}
