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

// Snapshot holds the keys and the hosted domains at one point in time. It is immutable. Each message uses one Snapshot.
type Snapshot struct {
	Set    *Set
	Hosted map[string]bool
}

// Watcher holds the current Snapshot and replaces it when the keys change, so that the daemon uses a new key without a restart. It keeps
// the Snapshot if the keys directory disappears or cannot be read.
type Watcher struct {
	store Store
	log   *slog.Logger
	now   atomic.Pointer[Snapshot]

	mu    sync.Mutex // one reload at a time
	fault string     // the last error that was logged, so that each error is logged once
	last  pass       // the last reload
	// This map becomes the instead field of each Set. It is replaced, never changed.
	instead map[string]string
}

// Open returns a Watcher with the current keys. It returns an error if the keys directory is missing or cannot be read: a daemon without
// its keys would send mail unsigned.
func Open(store Store, log *slog.Logger) (*Watcher, error) {
	w := &Watcher{store: store, log: log}
	begin, seen := time.Now(), store.directories()
	snap, err := w.load(nil)
	if err != nil {
		return nil, err
	}
	w.last = pass{time.Now(), time.Since(begin), seen}
	w.now.Store(snap)
	w.announce(&Snapshot{Set: &Set{}}, snap)
	return w, nil
}

// Current returns the newest Snapshot.
func (w *Watcher) Current() *Snapshot { return w.now.Load() }

// Fault returns the error of the last reload, or "" if it succeeded.
func (w *Watcher) Fault() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

// Run checks for changes until ctx is done.
func (w *Watcher) Run(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if w.due() {
				w.Reload()
			}
		}
	}
}

// Instead makes the key with the given selector sign in place of the domain's newest key of an algorithm. If selector is "", the newest key
// signs again.
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

// Reload replaces the Snapshot if the keys or the hosted domains have changed.
func (w *Watcher) Reload() {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.now.Load()
	begin, seen := time.Now(), w.store.directories()
	snap, err := w.load(old)
	w.last = pass{time.Now(), time.Since(begin), seen}
	if err != nil {
		if w.fault != err.Error() {
			w.fault = err.Error()
			w.log.Error("keys not reloaded, the previous keys stay in use", "error", err)
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

// same reports whether two Snapshots are from the same files, and all keys could be read.
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
	// The hosted domains are read before the keys. If a domain is removed between the two reads, it is hosted without a key until the next
	// reload, and sign.on_missing_key applies to its mail.
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

// adopt marks a domain as hosted if it has an active key and is not marked yet. This can happen after a partial restore from a backup. The
// lock ensures that dkimkey is not removing the domain. If another process holds the lock, the next reload tries again.
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
			w.log.Warn("unmanaged key does not sign until its record is visible in DNS", append(attrs, "record", RecordName(k.Domain, k.Selector))...)
		case k.Metadata == nil:
			w.log.Info("unmanaged key signs, its record is visible in DNS", attrs...)
		case k.State == Active && k.Metadata.Unsafe:
			w.log.Warn("key signs, although its record was never found in DNS (--unsafe-activate)", attrs...)
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
			w.log.Info("key no longer exists", "domain", k.Domain, "selector", k.Selector)
		}
	}
	for d := range new.Hosted {
		if len(new.Set.Signing(d)) == 0 && (len(old.Set.Signing(d)) > 0 || !old.Hosted[d]) {
			w.log.Error("no usable key for a hosted domain: its mail is not signed (sign.on_missing_key)", "domain", d)
		}
	}
}
