package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// STATE_DIR/observed/DOMAIN/SELECTOR.json is the daemon's observation of an unmanaged key, in the format of a key's metadata. The daemon
// does not write to the keys directory. The observation is valid for one key: it is ignored if the selector gets another key.

func (s Store) observedDir(domain string) string { return filepath.Join(s.State, "observed", domain) }

func (s Store) observedPath(domain, selector string) string {
	return filepath.Join(s.observedDir(domain), selector+".json")
}

// observed returns the observation of a key, or nil if there is none.
func (s Store) observed(k *Key) *Metadata {
	path := s.observedPath(k.Domain, k.Selector)
	data, err := s.tree().Read(path)
	if err != nil {
		return nil // the key is checked again
	}
	l, err := parseMetadata(path, data, k.Domain, k.Selector)
	if err != nil {
		return nil
	}
	if k.Signer == nil {
		if !l.Created.Equal(k.Since) { // the modification time of the key file: see metadataOf
			return nil
		}
		return l
	}
	if now, err := metadataOf(k, ""); err != nil || l.Record != now.Record {
		return nil
	}
	return l
}

// awaited reports whether k is an unmanaged key that does not sign yet because its record was not found in DNS.
func (k *Key) awaited() bool { return k.Metadata == nil && k.usable() && k.State == Published }

// observe writes the observation of a key. If the key is activated, observe first records its domain as hosted.
func (w *Watcher) observe(ctx context.Context, l *Metadata) error {
	unlock, err := w.store.Lock(ctx, l.Domain)
	if err != nil {
		return err
	}
	defer unlock()
	if !w.store.tree().Exists(w.store.pemPath(l.Domain, l.Selector)) {
		return nil // removed in the meantime
	}
	if l.Activated != nil {
		if err := w.store.Host(l.Domain); err != nil {
			return err
		}
	}
	if err := w.store.tree().MakeDir(w.store.observedDir(l.Domain)); err != nil {
		return err
	}
	if err := w.store.writeJSON(w.store.observedPath(l.Domain, l.Selector), l, w.store.State); err != nil {
		return err
	}
	w.Reload()
	return nil
}

// await evaluates an observation of an unmanaged key. The key signs as soon as every name server and the resolver have the record and a
// probe verifies. await does not wait for caches to expire, because it does not know when the record was published. An unreachable server
// delays the key by unreachableGrace, as in Rotator.check.
func (g *Guard) await(ctx context.Context, k *Key, s Observation) {
	attrs := []any{"domain", k.Domain, "selector", k.Selector}
	l := k.Observed
	if l == nil {
		var err error
		if l, err = metadataOf(k, ""); err != nil {
			return // the file is being replaced
		}
	} else {
		l = new(*l) // a Snapshot must not change
	}
	now, o, before := g.Now().UTC(), s.Outcome(), *l
	l.Finding = o.Words
	switch {
	case o.Ready:
		l.Silent, l.Seen, l.Activated = nil, &now, &now
	case o.Differs:
		l.Silent = nil
	case l.Silent == nil:
		l.Silent = &now
	case o.Enough && now.Sub(*l.Silent) >= unreachableGrace:
		l.Seen, l.Activated = &now, &now
		g.Log.Warn("unmanaged key signs, although at least one name server has not answered for a day", append(attrs, "seen", o.Words)...)
	}
	if l.Activated == nil && l.Finding == before.Finding && (l.Silent == nil) == (before.Silent == nil) {
		return
	}
	if l.Activated == nil {
		g.Log.Warn("unmanaged key does not sign, its record is not visible in DNS", append(attrs, "record", RecordName(k.Domain, k.Selector), "seen", o.Words)...)
	}
	err := g.Watcher.observe(ctx, l)
	if busy := (*Busy)(nil); err != nil && !errors.As(err, &busy) { // a command has the lock; the next check tries again
		g.Log.Error("cannot record the check of an unmanaged key, so the key does not sign", append(attrs, "error", err)...)
	}
}

// forget deletes the observations of a domain's keys.
func (s Store) forget(domain string) error {
	err := s.tree().In(s.observedDir(domain), func(dir *os.Root, name string) error { return dir.RemoveAll(name) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting the observations of the keys of %s: %w", domain, err)
	}
	return nil
}

// awaitInterval is the time between two checks of an unmanaged key that does not sign yet.
const awaitInterval = time.Minute
