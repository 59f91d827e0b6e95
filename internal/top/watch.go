package top

import (
	"context"
	"fmt"
	"slices"
	"time"

	"signpost/internal/journal"
	"signpost/internal/metrics"
	"signpost/keys"
)

const (
	// window is the period of rates, results and DNS. The constant backlog is the maximum number of messages that are read at a time.
	// If there are more messages, the period is shorter at first. The display states the period.
	window  = 10 * time.Minute
	backlog = 2000
	// slow is the duration from which a lookup counts as slow.
	slow = time.Second
	// topSources is the number of domains and clients listed.
	topSources = 5
	// metricsTimeout limits the request to the daemon, which is on this host.
	metricsTimeout = time.Second
)

// seen is the part of a message that watch keeps.
type seen struct {
	at      time.Time
	outcome journal.Outcome
	lookups []looked
}

// looked is a DNS lookup that was not answered from the cache.
type looked struct {
	name         string
	took         time.Duration
	failed, slow bool
}

// watch is the state of the display.
type watch struct {
	Source
	last    int64 // number of the newest message read
	recent  []seen
	whole   time.Time // the list recent has all messages since this time; zero: since the start of window
	sources time.Time // when the following were read
	domains []journal.Count
	clients []journal.Count
	newest  time.Time
	size    int64
	keys    []keys.Status
	noKeys  string // why the keys cannot be read
	lost    string // messages that the journal lost
	trouble string // why the journal cannot be read
	silent  string // why the number of lost messages cannot be read
}

// span returns the time that recent covers.
func (w *watch) span(now time.Time) time.Duration {
	return max(time.Second, min(window, now.Sub(w.whole)))
}

// look reads the new messages and, less often, the sources of failing mail, the keys and the metrics.
func (w *watch) look(ctx context.Context, now time.Time) error {
	r, err := w.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if w.size, w.newest, err = r.Size(ctx); err != nil {
		return journal.Reading(w.File, err)
	}
	if w.newest.UnixMicro() < w.last {
		w.last = 0 // the journal was recreated
	}
	ids, err := r.IDs(ctx, journal.Filter{Since: now.Add(-window), After: w.last}, backlog, false)
	if err != nil {
		return journal.Reading(w.File, err)
	}
	all, err := r.Entries(ctx, ids)
	if err != nil {
		return journal.Reading(w.File, err)
	}
	if len(ids) == backlog { // the newest are first, so older ones may not have been read
		w.whole, w.recent = time.UnixMicro(ids[backlog-1]), nil
	}
	for i := range all {
		w.last = max(w.last, all[i].ID)
		w.recent = append(w.recent, remember(&all[i]))
	}
	w.recent = slices.DeleteFunc(w.recent, func(s seen) bool { return s.at.Before(now.Add(-window)) })
	w.trouble = ""
	if now.Sub(w.sources) < sourcesEvery {
		return nil
	}
	w.sources = now
	failing := journal.Filter{Outcome: journal.Outcome.Failed, Since: now.Add(-time.Hour)}
	if w.domains, _, err = r.Top(ctx, failing, false, topSources); err != nil {
		return journal.Reading(w.File, err)
	}
	if w.clients, _, err = r.Top(ctx, failing, true, topSources); err != nil {
		return journal.Reading(w.File, err)
	}
	w.noKeys = ""
	if w.keys, err = w.Source.Keys(now); err != nil {
		w.noKeys = err.Error()
	}
	w.lost, w.silent = losses(ctx, w.Metrics)
	return nil
}

func remember(e *journal.Entry) seen {
	s := seen{at: e.Time, outcome: e.Outcome()}
	for _, l := range e.Lookups {
		if !l.Cached {
			s.lookups = append(s.lookups, looked{name: l.Name, took: time.Duration(l.Took), failed: l.Failed(), slow: time.Duration(l.Took) >= slow})
		}
	}
	return s
}

// losses returns the number of messages that the journal lost, as text. Only the daemon knows the number. If the daemon does not
// answer, silent is not empty.
func losses(ctx context.Context, address string) (lost, silent string) {
	if address == "" {
		return "not known: metrics.listen is empty", ""
	}
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	values, err := metrics.Read(ctx, address)
	if err != nil {
		return "not known", "the daemon does not answer at " + address + " (metrics.listen): systemctl status signpost"
	}
	if total, ok := values.Sum(metrics.LostTotal); ok {
		return fmt.Sprintf("%.0f since the daemon started", total), ""
	}
	return "not known: " + address + " does not report it", ""
}
