package keys

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Snapshot has the keys and the hosted domains of one moment. Each message is signed by one Snapshot. It does not change.
type Snapshot struct {
	Set    *Set
	Hosted map[string]bool
}

// Watcher holds the current Snapshot and renews it when the keys change, so that the daemon sees a new key without a restart. If the
// keys directory disappears or cannot be read, the Snapshot stays as it is.
type Watcher struct {
	store Store
	log   *slog.Logger
	now   atomic.Pointer[Snapshot]

	mu    sync.Mutex // one reload at a time
	fault string     // what was last logged as wrong, so that it is logged once
	// instead is that of each Set; it is replaced, never changed.
	instead map[string]string
}

// Open reads the keys for the first time. A keys directory that is missing or unreadable is an error: a daemon that starts
// without its keys would let mail leave unsigned.
func Open(store Store, log *slog.Logger) (*Watcher, error) {
	w := &Watcher{store: store, log: log}
	snap, err := w.load(nil)
	if err != nil {
		return nil, err
	}
	w.now.Store(snap)
	w.announce(&Snapshot{Set: &Set{}}, snap)
	return w, nil
}

// Current returns the newest Snapshot.
func (w *Watcher) Current() *Snapshot { return w.now.Load() }

// Fault returns why the keys could not be read the last time, or "" if they could.
func (w *Watcher) Fault() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

// Run checks for changes until ctx ends.
func (w *Watcher) Run(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			w.Reload()
		}
	}
}

// Instead makes another key sign in place of a domain's newest one of an algorithm; "" undoes that.
func (w *Watcher) Instead(domain, algorithm, selector string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	instead := maps.Clone(w.instead)
	if instead == nil {
		instead = map[string]string{}
	}
	instead[domain+" "+algorithm] = selector
	w.instead = instead
	old := w.now.Load()
	set := *old.Set
	set.instead = instead
	w.now.Store(&Snapshot{Set: &set, Hosted: old.Hosted})
}

// Reload renews the Snapshot if anything changed since the last time.
func (w *Watcher) Reload() {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.now.Load()
	snap, err := w.load(old)
	if err != nil {
		if w.fault != err.Error() {
			w.fault = err.Error()
			w.log.Error("keys not reloaded, the old ones stay in use", "error", err)
		}
		return
	}
	if w.fault != "" {
		w.fault = ""
		w.log.Info("keys can be read again")
	}
	if snap.same(old) {
		return
	}
	w.now.Store(snap)
	w.announce(old, snap)
}

// same reports whether two Snapshots were read from the same files, all of which could be read.
func (s *Snapshot) same(old *Snapshot) bool {
	if !maps.Equal(s.Hosted, old.Hosted) || !maps.Equal(s.Set.stamps, old.Set.stamps) || !slices.Equal(s.Set.misplaced, old.Set.misplaced) {
		return false
	}
	for domain, keys := range s.Set.keys {
		if !slices.Equal(keys, old.Set.keys[domain]) {
			return false
		}
	}
	return true
}

func (w *Watcher) load(old *Snapshot) (*Snapshot, error) {
	var before *Set
	if old != nil {
		before = old.Set
	}
	// Hosted first: a domain that is removed meanwhile is then hosted without a key, and its mail waits until the next reload.
	hosted, err := w.store.Hosted()
	if err != nil {
		return nil, err
	}
	set, err := w.store.Load(before)
	if err != nil {
		return nil, err
	}
	for _, d := range set.Domains() {
		if hosted[d] {
			continue
		}
		hosted[d] = true
		if err := w.adopt(d); err != nil {
			return nil, err
		}
	}
	set.instead = w.instead
	return &Snapshot{Set: set, Hosted: hosted}, nil
}

// adopt records a domain as hosted that has an active key and no such record, as after a backup was restored in part. Under the
// lock, dkimkey is not about to remove the domain. While another process holds it, the next reload tries again.
func (w *Watcher) adopt(domain string) error {
	unlock, err := w.store.TryLock(domain)
	if busy := (*Busy)(nil); errors.As(err, &busy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	set, err := w.store.LoadDomain(domain, nil)
	if err != nil || len(set.Domains()) == 0 {
		return err
	}
	return w.store.Host(domain)
}

// announce logs what changed.
func (w *Watcher) announce(old, new *Snapshot) {
	for _, k := range new.Set.All() {
		was := old.Set.find(k.Domain, k.Selector)
		if k.Err != nil {
			if was == nil || was.Err == nil || was.Err.Error() != k.Err.Error() {
				w.log.Error("key not usable", "domain", k.Domain, "selector", k.Selector, "error", k.Err, "old_key_kept", k.Signer != nil)
			}
			continue
		}
		if was != nil && was.State == k.State && was.Err == nil || was == nil && k.State == Removed {
			continue
		}
		attrs := []any{"domain", k.Domain, "selector", k.Selector, "algorithm", k.Algorithm, "bits", k.Bits, "state", k.State}
		switch {
		case k.awaited():
			w.log.Warn("key put there by hand signs once its record is seen in DNS", append(attrs, "record", RecordName(k.Domain, k.Selector))...)
		case k.Metadata == nil:
			w.log.Info("key put there by hand signs, its record has been seen", attrs...)
		case k.State == Active && k.Metadata.Unsafe:
			w.log.Warn("key signs without its record having been seen in DNS (--unsafe-activate)", attrs...)
		default:
			w.log.Info("key read", attrs...)
		}
	}
	for _, path := range new.Set.Misplaced() {
		if !slices.Contains(old.Set.Misplaced(), path) {
			w.log.Warn("key file not used: keys belong in a directory with the name of their domain", "file", path)
		}
	}
	for _, k := range old.Set.All() {
		if new.Set.find(k.Domain, k.Selector) == nil {
			w.log.Info("key gone", "domain", k.Domain, "selector", k.Selector)
		}
	}
	for d := range new.Hosted {
		if len(new.Set.Signing(d)) == 0 && (len(old.Set.Signing(d)) > 0 || !old.Hosted[d]) {
			w.log.Error("no usable key for a hosted domain: its mail is not signed (sign.on_missing_key)", "domain", d)
		}
	}
}
