package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"signpost/internal/config"
	"signpost/internal/journal"
	"signpost/internal/metrics"
)

// openJournal starts the journal.
func openJournal(conf *config.Config, m *metrics.Metrics, log *slog.Logger) *journal.Journal {
	lost := func(cause journal.Cause, n int) { m.JournalLost(string(cause), n) }
	for _, cause := range journal.Causes() {
		lost(cause, 0) // so that the first loss is an increase
	}
	return journal.Open(journal.Options{Path: conf.JournalFile(), Limits: journalLimits(conf), Now: time.Now, Log: log, Lost: lost})
}

func journalLimits(conf *config.Config) journal.Limits {
	c := conf.Journal
	return journal.Limits{Keep: c.Keep, MaxSize: c.MaxSize, Addresses: journal.Addresses(c.Addresses)}
}

// readJournal opens what the daemon keeps, for a command.
func readJournal(conf *config.Config) (*journal.Reader, error) {
	f, err := os.Open(conf.JournalFile())
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: the journal is for root and user signpost alone", err)
	}
	if err == nil {
		f.Close()
	}
	r, err := journal.OpenReader(conf.JournalFile())
	if errors.Is(err, journal.ErrNone) && !conf.Journal.Enabled {
		err = fmt.Errorf("%w, and journal.enabled = false has it keep none", err)
	}
	return r, err
}
