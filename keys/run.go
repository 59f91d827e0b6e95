package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"signpost/internal/durable"
)

// LastRun is STATE_DIR/rotate.json: the times of the last runs of rotate.
type LastRun struct {
	At      time.Time `json:"last_run"`
	Success time.Time `json:"last_success,omitzero"` // the last run of all domains without an error; zero: none, or not known
	Failed  bool      `json:"failed,omitempty"`      // the last run had an error
}

// Succeeded returns the time of the last run of all domains without an error, or the zero time. If this time is not recorded, because an
// earlier version of the program wrote the file, Succeeded returns the time of the last run.
func (l LastRun) Succeeded() time.Time {
	if l.Success.IsZero() && !l.Failed {
		return l.At
	}
	return l.Success
}

// LastRun returns the times of the last runs. The error wraps fs.ErrNotExist if there was no run.
func (s Store) LastRun() (last LastRun, err error) {
	path := filepath.Join(s.State, lastRunFile)
	data, err := s.ReadState(lastRunFile)
	if err != nil {
		return last, durable.PathError(path, err)
	}
	if json.Unmarshal(data, &last) != nil || last.At.IsZero() {
		return LastRun{}, fmt.Errorf("%s is damaged; the next dkimkey rotate writes it again", path)
	}
	return last, nil
}

const lastRunFile = "rotate.json"

const (
	// maxBack and maxForward limit the time since the last run. A larger difference counts as a jump of the clock.
	maxBack    = 24 * time.Hour
	maxForward = 7 * 24 * time.Hour
	// maxWorkers is the number of domains that run concurrently, so that slow name servers of one domain do not delay the others. The
	// resolver has its own limit.
	maxWorkers = 8
)

// checkClock compares the clock with the time of the last run. After a jump, it sets Frozen.
func (r *Rotator) checkClock(now time.Time) {
	last, err := r.Store.LastRun()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		// The user signpost can write the file, but must not be able to stop root.
		r.Frozen = true
		r.Warn(fmt.Sprintf("cannot read %s, so the time of the last run is unknown: this run revokes only compromised keys and removes no record", filepath.Join(r.Store.State, lastRunFile)))
		return
	}
	switch gap := now.Sub(last.At); {
	case gap < -maxBack:
		r.Frozen = true
		r.Warn(fmt.Sprintf("the clock went back: it is %s, and the last run was at %s; this run revokes only compromised keys and removes no record", now.UTC().Format(time.RFC3339), last.At.Format(time.RFC3339)))
	case gap > maxForward:
		r.Frozen = true
		r.Warn(fmt.Sprintf("the last run was %d days ago, at %s; the clock may have jumped, so this run revokes only compromised keys and removes no record", int(gap.Hours()/24), last.At.Format(time.RFC3339)))
	}
}

// recordRun records a run. all reports that the run was for all domains.
func (r *Rotator) recordRun(now time.Time, all, failed bool) error {
	before, _ := r.Store.LastRun() // after an error, its times are zero
	last := LastRun{At: now.UTC(), Success: before.Succeeded(), Failed: failed}
	if all && !failed {
		last.Success = last.At
	}
	data, err := json.Marshal(last)
	if err != nil {
		return err
	}
	return r.Store.WriteState(lastRunFile, append(data, '\n'))
}

// RecordElsewhere records a run that changes nothing, because another host of the cluster rotates the keys. A later run on this host then does
// not treat the time in between as a jump of the clock.
func (r *Rotator) RecordElsewhere() error { return r.recordRun(r.Store.Now(), true, false) }

// RunAll calls Run for several domains concurrently. It calls the function begin before each domain, and the function failed for each
// error. These calls may come from several goroutines at the same time.
func (r *Rotator) RunAll(ctx context.Context, domains []string, begin func(n int), failed func(error)) {
	now := r.Store.Now()
	r.checkClock(now)
	var anyFailed atomic.Bool
	run := func(n int) {
		begin(n)
		one := *r // it holds the lock of its domain
		one.Store.Lease = new(Lease)
		if err := one.Run(ctx, domains[n]); err != nil {
			anyFailed.Store(true)
			failed(err)
		}
	}
	var workers errgroup.Group
	workers.SetLimit(maxWorkers)
	for n := range domains {
		if len(domains) == 1 {
			run(n)
			break
		}
		workers.Go(func() error {
			run(n)
			return nil
		})
	}
	_ = workers.Wait() // each error was passed to failed
	known, err := r.Store.Known()
	ran := map[string]bool{}
	for _, d := range domains {
		ran[d] = true
	}
	all := err == nil && !slices.ContainsFunc(known, func(d string) bool { return !ran[d] })
	if err := r.recordRun(now, all, anyFailed.Load()); err != nil {
		failed(err)
	}
}

// RequestRotation calls RotateNow under the lock of the domain. If no rotation was started, the result note states the reason.
func (r *Rotator) RequestRotation(ctx context.Context, domain string) (note string, err error) {
	unlock, err := r.Store.Lock(ctx, domain)
	if err != nil {
		return "", err
	}
	defer unlock()
	set, err := r.Store.LoadDomain(domain, nil)
	if err != nil {
		return "", err
	}
	started, err := r.RotateNow(domain, set.Of(domain), false)
	switch {
	case err != nil || started:
		return "", err
	case len(set.Signing(domain)) > 0:
		return "a rotation is already in progress", nil
	}
	return "there is no active key to replace", nil
}

// PlanOf returns the steps of a domain. If rotateNow is true, it returns the steps that would follow from a call of RequestRotation.
func (r *Rotator) PlanOf(domain string, rotateNow bool) ([]Step, error) {
	set, err := r.Store.LoadDomain(domain, nil)
	if err != nil {
		return nil, err
	}
	if rotateNow {
		if _, err := r.RotateNow(domain, set.Of(domain), true); err != nil {
			return nil, fmt.Errorf("%s: %w", domain, err)
		}
	}
	return Plan(set.Of(domain), r.Rules(domain), r.Store.Now()), nil
}

// NeedSelectors calls Needs if a requested rotation cannot continue because a ring has no free selector.
func (r *Rotator) NeedSelectors(domain string) error {
	set, err := r.Store.LoadDomain(domain, nil)
	if err != nil {
		return err
	}
	of := set.Of(domain)
	withPast, err := r.Store.WithPast(domain, of)
	if err != nil {
		return err
	}
	rules, now := r.Rules(domain), r.Store.Now()
	for algorithm, ring := range rules.Ring {
		k := NewestActive(of, algorithm)
		requested := k != nil && k.requested() && NewestPending(of, algorithm, "") == nil
		if requested && len(ring) > 0 && rules.FreeSelector(withPast, algorithm, now) == "" {
			r.Needs(domain, fmt.Sprintf("cannot create a successor yet: each selector of keys.selectors %v is in use; dkimkey status shows until when", ring), nil)
		}
	}
	return nil
}

// Waiting returns a text that states what must happen before the next key of a domain signs. It returns "" if no key waits.
func (r *Rotator) Waiting(ctx context.Context, domain string) (string, error) {
	set, err := r.Store.LoadDomain(domain, nil)
	if err != nil {
		return "", err
	}
	var last *Key
	var until time.Time
	for _, k := range Awaited(set.Of(domain), r.Rules(domain), r.Store.Now()) {
		if k.State != Verified || k.Metadata.Silent != nil {
			return fmt.Sprintf("%s: waiting for the record of key %s: %s", domain, k.Selector, k.Metadata.Finding), nil
		}
		if may := k.Metadata.Seen.Add(time.Duration(k.Metadata.Wait)); last == nil || may.After(until) {
			last, until = k, may
		}
	}
	if last == nil {
		return "", nil
	}
	if r.Hosts != nil && !until.After(r.Store.Now()) {
		behind, err := r.Hosts.Behind(ctx, domain, last.Selector, false)
		if err != nil || len(behind) > 0 {
			return fmt.Sprintf("%s: waiting until other hosts have key %s: %s", domain, last.Selector, strings.Join(behind, ", ")), err
		}
	}
	return fmt.Sprintf("%s: the record of key %s is visible in DNS; waiting until %s for caches to expire", domain, last.Selector, until.UTC().Format(timeFormat)), nil
}
