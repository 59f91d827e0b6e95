package keys

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Snapshot is what a message is judged and signed by: one consistent moment. It does not change.
type Snapshot struct {
	Set    *Set
	Hosted map[string]bool
}

// Watcher holds the current Snapshot and renews it when the keys folder changes, so that the daemon sees a new key without
// a restart. A keys folder that goes away or cannot be read leaves the old Snapshot standing.
type Watcher struct {
	store  Store
	hosted Hosted
	log    *slog.Logger
	now    atomic.Pointer[Snapshot]

	mu    sync.Mutex // one reload at a time
	seen  string     // fingerprint of the folders at the last reload
	fault string     // what was last said to be wrong, so that it is said once
	// instead is what Set.instead is made of; it is replaced, never changed.
	instead map[string]string
}

// Open reads the keys for the first time. A keys folder that is missing or unreadable is an error: a daemon that starts
// without its keys would let mail leave unsigned.
func Open(store Store, hosted Hosted, log *slog.Logger) (*Watcher, error) {
	w := &Watcher{store: store, hosted: hosted, log: log}
	fingerprint := w.fingerprint()
	snap, err := w.load(nil)
	if err != nil {
		return nil, err
	}
	w.seen = fingerprint
	w.now.Store(snap)
	w.announce(&Snapshot{Set: &Set{}}, snap)
	return w, nil
}

// Current is the newest Snapshot.
func (w *Watcher) Current() *Snapshot { return w.now.Load() }

// Fault is why the keys could not be read the last time, "" where they could.
func (w *Watcher) Fault() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

// Run looks for changes until ctx ends.
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

// Instead has another key sign in the place of a domain's newest one of an algorithm; "" takes that back.
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
	w.now.Store(&Snapshot{Set: &Set{keys: old.Set.keys, instead: instead}, Hosted: old.Hosted})
}

// Reload renews the Snapshot if anything changed since the last time.
func (w *Watcher) Reload() {
	w.mu.Lock()
	defer w.mu.Unlock()
	fingerprint := w.fingerprint()
	if fingerprint == w.seen {
		return
	}
	old := w.now.Load()
	snap, err := w.load(old)
	if err != nil {
		if w.fault != err.Error() {
			w.fault = err.Error()
			w.log.Error("keys not read again, the old ones go on signing", "error", err)
		}
		return
	}
	if w.fault != "" {
		w.fault = ""
		w.log.Info("keys can be read again")
	}
	w.seen = fingerprint
	w.now.Store(snap)
	w.announce(old, snap)
}

func (w *Watcher) load(old *Snapshot) (*Snapshot, error) {
	var before *Set
	if old != nil {
		before = old.Set
	}
	set, err := w.store.Load(before)
	if err != nil {
		return nil, err
	}
	hosted, err := w.hosted.Read()
	if err != nil {
		return nil, err
	}
	for _, d := range set.Domains() {
		if hosted[d] {
			continue
		}
		// Recorded before the first signature: from here on a missing key fails closed, over restarts too.
		if err := w.hosted.Add(d); err != nil {
			return nil, err
		}
		hosted[d] = true
	}
	set.instead = w.instead
	return &Snapshot{Set: set, Hosted: hosted}, nil
}

// announce says in the log what is different.
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
		case k.byHandWaits():
			w.log.Warn("key put there by hand signs once its record is seen in DNS", append(attrs, "record", RecordName(k.Domain, k.Selector))...)
		case k.Life == nil:
			w.log.Info("key put there by hand signs, its record has been seen", attrs...)
		case k.State == Active && k.Life.Unsafe:
			w.log.Warn("key signs without its record having been seen in DNS (--unsafe-activate)", attrs...)
		default:
			w.log.Info("key read", attrs...)
		}
	}
	for _, k := range old.Set.All() {
		if new.Set.find(k.Domain, k.Selector) == nil {
			w.log.Info("key gone", "domain", k.Domain, "selector", k.Selector)
		}
	}
	for d := range maps.Keys(new.Hosted) {
		if len(new.Set.Signing(d)) == 0 && (len(old.Set.Signing(d)) > 0 || !old.Hosted[d]) {
			w.log.Error("no usable key for a hosted domain: its mail is not signed (sign.on_missing_key)", "domain", d)
		}
	}
}

// fingerprint changes when any file of interest does: name, inode, size, mode, owner or time.
func (w *Watcher) fingerprint() string {
	var b strings.Builder
	for _, root := range []string{w.store.Dir, w.hosted.Dir, w.store.Observed} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				fmt.Fprintln(&b, path, err)
				return nil
			}
			fi, err := e.Info()
			if err != nil {
				fmt.Fprintln(&b, path, err)
				return nil
			}
			st := fi.Sys().(*syscall.Stat_t)
			fmt.Fprintln(&b, path, st.Ino, fi.Size(), fi.Mode(), st.Uid, st.Gid, fi.ModTime().UnixNano())
			return nil
		})
		if err != nil {
			fmt.Fprintln(&b, root, err)
		}
	}
	return b.String()
}
