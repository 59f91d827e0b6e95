package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"signpost/internal/config"
	"signpost/internal/journal"
	"signpost/keys"
)

const (
	// window is what rates, results and DNS are about; backlog how many messages are read at a look. Where more came, they are
	// about a shorter time, which is said, and which grows.
	window  = 10 * time.Minute
	backlog = 2000
	// slow is a look-up that somebody may ask about.
	slow = time.Second
	// topSources is how many domains and clients are listed.
	topSources = 5
)

// seen is what is remembered of a message.
type seen struct {
	at      time.Time
	outcome journal.Outcome
	lookups []looked
}

// looked is a question to DNS that was not in the cache.
type looked struct {
	name         string
	took         time.Duration
	failed, slow bool
}

// watch is what top knows.
type watch struct {
	conf    *config.Config
	last    int64 // number of the newest message that was read
	recent  []seen
	whole   time.Time // since when recent has every message; zero: for all of window
	sources time.Time // when the following were asked for
	domains []journal.Count
	clients []journal.Count
	newest  time.Time
	size    int64
	keys    []keys.Status
	noKeys  string // why there are none
	lost    string // by the journal
	trouble string // why the journal cannot be read
	silent  string // that the daemon does not answer
}

// span is the time that recent is about.
func (w *watch) span(now time.Time) time.Duration {
	return max(time.Second, min(window, now.Sub(w.whole)))
}

// look reads what is new.
func (w *watch) look(ctx context.Context, now time.Time) error {
	r, err := readJournal(w.conf)
	if err != nil {
		return err
	}
	defer r.Close()
	if w.size, w.newest, err = r.Size(ctx); err != nil {
		return reading(w.conf, err)
	}
	if w.newest.UnixMicro() < w.last {
		w.last = 0 // begun anew
	}
	ids, err := r.IDs(ctx, journal.Filter{Since: now.Add(-window), After: w.last}, backlog, false)
	if err != nil {
		return reading(w.conf, err)
	}
	all, err := r.Entries(ctx, ids)
	if err != nil {
		return reading(w.conf, err)
	}
	if len(ids) == backlog { // newest first: there may be some before the last of these
		w.whole, w.recent = time.UnixMicro(ids[backlog-1]), nil
	}
	for i := range all {
		w.last = max(w.last, all[i].ID)
		w.recent = append(w.recent, remember(&all[i]))
	}
	for i := 0; i < len(w.recent); i++ {
		if w.recent[i].at.Before(now.Add(-window)) {
			w.recent[i] = w.recent[len(w.recent)-1]
			w.recent = w.recent[:len(w.recent)-1]
			i--
		}
	}
	w.trouble = ""
	if now.Sub(w.sources) < sourcesEvery {
		return nil
	}
	w.sources = now
	failing := journal.Filter{Outcome: journal.Outcome.Failed, Since: now.Add(-time.Hour)}
	if w.domains, _, err = r.Top(ctx, failing, false, topSources); err != nil {
		return reading(w.conf, err)
	}
	if w.clients, _, err = r.Top(ctx, failing, true, topSources); err != nil {
		return reading(w.conf, err)
	}
	w.noKeys = ""
	if w.keys, err = keyStatus(w.conf, now); err != nil {
		w.noKeys = err.Error()
	}
	w.lost, w.silent = losses(ctx, w.conf.MetricsListen)
	return nil
}

func remember(e *journal.Entry) seen {
	s := seen{at: e.Time, outcome: e.Outcome()}
	for _, l := range e.Lookups {
		if !l.Cached {
			s.lookups = append(s.lookups, looked{name: l.Name, took: l.Took, failed: l.Failed(), slow: l.Took >= slow})
		}
	}
	return s
}

// losses asks the daemon how many messages could not be kept, which it alone knows. silent says that it does not answer.
func losses(ctx context.Context, metrics string) (lost, silent string) {
	if metrics == "" {
		return "not known: metrics.listen is empty", ""
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics+"/metrics", nil)
	if err != nil {
		return "not known: " + err.Error(), ""
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "not known", "the daemon does not answer at " + metrics + " (metrics.listen): does it run?"
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(http.MaxBytesReader(nil, answer.Body, 4<<20))
	var causes, total float64
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "signpost_journal_lost_total{") {
			continue
		}
		_, text, _ := strings.Cut(lines.Text(), "} ")
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			causes++
			total += n
		}
	}
	if causes > 0 {
		return fmt.Sprintf("%.0f since the daemon began", total), ""
	}
	return "not known: " + metrics + " does not say", ""
}
