package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/setup"
	"signpost/keys"
)

// desk is what the commands that work on keys share: the store, and the way to DNS.
type desk struct {
	conf    *config.Config
	store   keys.Store
	rules   func(domain string) keys.Rules
	rotator *keys.Rotator
	mu      sync.Mutex // of what follows, and of the output
	needed  bool       // something needs a person
	looked  bool       // run has been through once
	waits   bool       // --wait: the next look tries again what a lock kept this one from
	busy    bool       // a lock kept the last run from a domain
	json    bool
	events  []event // what happened, for --json
}

// event is what was done, or has to be, in the output of --json.
type event struct {
	Domain      string `json:"domain"`
	What        string `json:"what"`
	NeedsPerson bool   `json:"needs_person"`
	Record      *added `json:"record,omitempty"`
}

// report prints what happened, where that was asked for as JSON.
func (d *desk) report(stdout io.Writer) error {
	if !d.json {
		return nil
	}
	slices.SortStableFunc(d.events, func(a, b event) int { return strings.Compare(a.Domain, b.Domain) })
	return printJSON(stdout, append([]event{}, d.events...))
}

func printJSON(stdout io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = stdout.Write(append(cli.PrintableJSON(text), '\n'))
	return err
}

func (e *env) desk(stdout, stderr io.Writer) (*desk, error) {
	conf, store, err := e.open()
	if err != nil {
		return nil, err
	}
	d := &desk{conf: conf, store: store, rules: setup.KeyRules(conf)}
	authority, err := setup.Authority(conf, nil, e.now, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	authority.Port = e.authorityPort
	d.rotator = &keys.Rotator{
		Store: store, Rules: d.rules, Random: e.random,
		Checker:   &keys.Checker{Authority: authority, Resolver: authority.Resolver},
		Publisher: func(domain string) (keys.Publisher, error) { return setup.Publisher(conf, domain, store, authority) },
		Done: func(domain, what string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.events = append(d.events, event{Domain: domain, What: what}); !d.json {
				fmt.Fprintf(stdout, "%s: %s\n", domain, what)
			}
		},
		Needs: func(domain, what string, l *keys.Life) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.needed = true
			fmt.Fprintf(stderr, "%s: %s\n", domain, what)
			e := event{Domain: domain, What: what, NeedsPerson: true}
			if l != nil && l.Retired == nil && (l.Activated == nil || l.Seen == nil) {
				e.Record = newAdded(l, conf.PublishFor(domain).TTL)
				if !d.json {
					fmt.Fprint(stdout, recordText(l, e.Record.ttl))
				}
			}
			d.events = append(d.events, e)
		},
	}
	return d, nil
}

// lastRun is STATE_DIR/rotate.json: the time of the last run.
type lastRun struct {
	At time.Time `json:"last_run"`
}

const lastRunFile = "rotate.json"

const (
	maxBack    = 24 * time.Hour
	maxForward = 7 * 24 * time.Hour
)

// clock compares the clock with that of the last run. After a jump, no record is revoked or removed.
func (d *desk) clock(stderr io.Writer, now time.Time) {
	data, err := d.store.ReadState(lastRunFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var last lastRun
	if err != nil || json.Unmarshal(data, &last) != nil || last.At.IsZero() {
		// User signpost can write the file, and must not be able to stop root.
		d.rotator.Frozen = true
		fmt.Fprintf(stderr, "dkimkey: %s cannot be read, so the time of the last run is unknown: only compromised keys are revoked in this run, and no record is removed\n", filepath.Join(d.conf.StateDir, lastRunFile))
		return
	}
	switch gap := now.Sub(last.At); {
	case gap < -maxBack:
		d.rotator.Frozen = true
		fmt.Fprintf(stderr, "dkimkey: the clock says %s, and the last run was at %s: it went back; nothing is revoked or removed in this run\n", now.UTC().Format(time.RFC3339), last.At.Format(time.RFC3339))
	case gap > maxForward:
		d.rotator.Frozen = true
		fmt.Fprintf(stderr, "dkimkey: the last run was %d days ago, at %s: should the clock have jumped, nothing is revoked or removed in this run\n", int(gap.Hours()/24), last.At.Format(time.RFC3339))
	}
}

func (d *desk) remember(now time.Time) error {
	data, err := json.Marshal(lastRun{now.UTC()})
	if err != nil {
		return err
	}
	return d.store.WriteState(lastRunFile, append(data, '\n'))
}

// run does what is due for domains. It reports whether anything failed, which it has printed.
func (d *desk) run(ctx context.Context, stderr io.Writer, domains []string) (failed bool) {
	now := d.store.Now()
	d.clock(stderr, now)
	d.busy = false
	work := func(domain string) {
		r := *d.rotator // it holds the lock of its domain
		r.Store.Lease = new(keys.Lease)
		if err := r.Run(ctx, domain); err != nil {
			d.print(func() {
				if busy := (*keys.Busy)(nil); d.waits && errors.As(err, &busy) {
					d.busy = true
				} else {
					failed = true
				}
				all := []error{err}
				if joined, ok := err.(interface{ Unwrap() []error }); ok {
					all = joined.Unwrap()
				}
				for _, err := range all {
					fmt.Fprintf(stderr, "dkimkey: %v\n", err)
				}
			})
		}
	}
	if len(domains) == 1 {
		work(domains[0])
	} else {
		var workers errgroup.Group
		workers.SetLimit(maxWorkers)
		for i, domain := range domains {
			workers.Go(func() error {
				if !d.looked { // --wait looks every half minute
					d.print(func() { cli.Progress(stderr, "%s: looking what is due (%d of %d)", domain, i+1, len(domains)) })
				}
				work(domain)
				return nil
			})
		}
		_ = workers.Wait() // each error has been printed
	}
	d.looked = true
	if err := d.remember(now); err != nil {
		failed = true
		fmt.Fprintf(stderr, "dkimkey: %v\n", err)
	}
	return failed
}

// maxWorkers is how many domains are worked on side by side, so that slow name servers of some do not hold up the others. The
// resolver limits its queries further.
const maxWorkers = 8

// print keeps the output of workers apart.
func (d *desk) print(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}
