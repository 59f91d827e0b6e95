// Package worker reads the reports that others sent about our domains, decides which reporters count, and evaluates alarms. It is the work of
// signpost reports read.
//
//	w := worker.Worker{Store: store, Spool: dir, Now: time.Now, Log: log, ...}
//	result, err := w.Run(ctx, previous)
package worker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
)

// Resolver does the lookups of a run.
type Resolver interface {
	dmarc.Resolver
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
}

// Worker has what one run needs. Only one Worker may run at a time: the caller holds a lock.
type Worker struct {
	Store  *received.Store
	Spool  string // the directory of received messages
	Unread string // the directory of the newest messages that cannot be read
	Parse  func(io.Reader) (*read.Report, error)

	Retention time.Duration
	Site      Site
	// Journal counts our outbound mail by the domain of the recipients. nil: there is no journal, or it has no recipients.
	Journal  *journal.Reader
	Resolver Resolver
	Trusted  []string // reports.receive.trusted_reporters
	// Selectors returns the alarms about keys of ours. nil: none.
	Selectors func(ctx context.Context, trusted []string) ([]status.Alarm, error)

	Now func() time.Time
	Log *slog.Logger
}

// Site is what is ours.
type Site struct {
	Hosted   map[string]bool
	Networks []netip.Prefix // from which we send mail
	Known    []netip.Prefix // of others that send mail in our name
	// Keys has the selectors, in lower case, that we have or had for each domain.
	Keys map[string]map[string]bool
}

// sends reports whether an address is ours or known.
func (s Site) sends(a netip.Addr) bool {
	for _, p := range s.Networks {
		if p.Contains(a) {
			return true
		}
	}
	for _, p := range s.Known {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// about returns a function that reports whether a Policy Domain concerns a hosted domain: it is one, or is above or below one. Others may ask
// for reports to our address, too.
func (s Site) about() func(name string) bool {
	above := map[string]bool{}
	for name := range s.Hosted {
		for parent := range parents(name) {
			above[parent] = true
		}
	}
	return func(name string) bool {
		if s.Hosted[name] || above[name] {
			return true
		}
		for parent := range parents(name) {
			if s.Hosted[parent] {
				return true
			}
		}
		return false
	}
}

// evaluateInterval is the longest time between two evaluations of trust and alarms. They are also evaluated after each run that stored a report.
const evaluateInterval = time.Hour

// Run reads the spool, deletes what has expired, and evaluates alarms. previous is the result of the last run. It returns the content of
// received.json in any case.
func (w *Worker) Run(ctx context.Context, previous status.Received) (result status.Received, summary Summary, err error) {
	result = previous
	summary, err = w.readSpool(ctx)
	err = errors.Join(err, w.Store.Expire(ctx, w.Now().Add(-w.Retention)))
	if since := w.Now().Sub(previous.Evaluated); summary[status.Stored] > 0 || since < 0 || since >= evaluateInterval {
		err = errors.Join(err, w.evaluate(ctx, &result))
	}
	ctx = context.WithoutCancel(ctx)
	numbers, problem := w.Store.Numbers(ctx)
	err = errors.Join(err, problem)
	waiting, problem := w.waiting()
	err = errors.Join(err, problem)
	result.LastRun, result.OK, result.Error = w.Now().UTC(), err == nil, ""
	if err != nil {
		result.Error = err.Error()
	}
	result.Read, result.Stored, result.Bytes, result.Waiting = numbers.Read, numbers.Stored, numbers.Bytes, waiting
	return result, summary, err
}

// complete is the age of a UTC day whose reports have arrived, with few exceptions.
const complete = 2

// evaluate decides which reporters count, and then evaluates the numbers and alarms.
func (w *Worker) evaluate(ctx context.Context, result *status.Received) error {
	trusted, mail, err := w.trust(ctx)
	if err != nil {
		return err
	}
	if err := w.Store.SetTrusted(ctx, trusted); err != nil {
		return err
	}
	result.Trusted = len(trusted)
	about := w.Site.about()
	result.Day = day(w.Now()).AddDate(0, 0, -complete)
	all, passed, err := w.Store.MessagesOf(ctx, result.Day)
	if err != nil {
		return err
	}
	result.Passed, result.Failed = 0, 0
	for name, n := range all {
		if about(name) {
			result.Passed, result.Failed = result.Passed+passed[name], result.Failed+n-passed[name]
		}
	}
	found, unknown, err := w.alarms(ctx, about, trusted, mail)
	if err != nil {
		return err
	}
	begun, ended, err := w.Store.SetAlarms(ctx, found, unknown...)
	if err != nil {
		return err
	}
	w.logAlarms(begun, ended)
	current, err := w.Store.Alarms(ctx)
	if err != nil {
		return err
	}
	result.SetAlarms(current)
	result.Evaluated = w.Now().UTC()
	return nil
}

// day returns the first second of the UTC day that contains t.
func day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// parents yields the domains above a name, without the TLD.
func parents(name string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for {
			_, name, _ = strings.Cut(name, ".")
			if !strings.Contains(name, ".") || !yield(name) {
				return
			}
		}
	}
}
