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

// STATE_DIR/observed/DOMAIN/SELECTOR.json is what the daemon has seen of an unmanaged key, in the form of a key's metadata: the daemon
// does not write to the keys directory. It is about one key, not about a name: another key under the same selector has not been
// seen.

func (s Store) observedDir(domain string) string { return filepath.Join(s.State, "observed", domain) }

func (s Store) observedPath(domain, selector string) string {
	return filepath.Join(s.observedDir(domain), selector+".json")
}

// observed returns what has been seen of a key, nil if nothing has been.
func (s Store) observed(k *Key) *Metadata {
	path := s.observedPath(k.Domain, k.Selector)
	data, err := s.tree().Read(path)
	if err != nil {
		return nil // it is checked again
	}
	l, err := parseMetadata(path, data, k.Domain, k.Selector)
	if err != nil {
		return nil
	}
	if k.Signer == nil {
		if !l.Created.Equal(k.Since) { // the time of the file: metadataOf
			return nil
		}
		return l
	}
	if now, err := metadataOf(k, ""); err != nil || l.Record != now.Record {
		return nil
	}
	return l
}

// awaited reports whether k is an unmanaged key that does not sign because its record has not been seen.
func (k *Key) awaited() bool { return k.Metadata == nil && k.usable() && k.State == Published }

// observe records what has been seen of a key. The key signs if that is enough, and its domain is recorded as hosted just before.
func (w *Watcher) observe(ctx context.Context, l *Metadata) error {
	unlock, err := w.store.Lock(ctx, l.Domain)
	if err != nil {
		return err
	}
	defer unlock()
	if !w.store.tree().Exists(w.store.pemPath(l.Domain, l.Selector)) {
		return nil // removed meanwhile
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

// await checks the record of an unmanaged key. The key signs as soon as every name server and the resolver show the record and a
// probe verifies. It does not wait for caches, because it is unknown since when the record has been in DNS. A server that does
// not answer delays the key by a day, as in Rotator.check.
func (g *Guard) await(ctx context.Context, k *Key, s Observation) {
	attrs := []any{"domain", k.Domain, "selector", k.Selector}
	l := k.Observed
	if l == nil {
		var err error
		if l, err = metadataOf(k, ""); err != nil {
			return // it is being replaced
		}
	} else {
		l = new(*l) // the Snapshot does not change
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
		g.Log.Warn("a key put there by hand signs although not every name server has answered for a day", append(attrs, "seen", o.Words)...)
	}
	if l.Activated == nil && l.Finding == before.Finding && (l.Silent == nil) == (before.Silent == nil) {
		return
	}
	if l.Activated == nil {
		g.Log.Warn("a key put there by hand waits for its record", append(attrs, "record", RecordName(k.Domain, k.Selector), "seen", o.Words)...)
	}
	err := g.Watcher.observe(ctx, l)
	if busy := (*Busy)(nil); err != nil && !errors.As(err, &busy) { // a command that works on the domain ends soon
		g.Log.Error("what was seen of a key put there by hand cannot be recorded, so it does not sign", append(attrs, "error", err)...)
	}
}

// forget deletes what was seen of a domain's keys.
func (s Store) forget(domain string) error {
	err := s.tree().In(s.observedDir(domain), func(dir *os.Root, name string) error { return dir.RemoveAll(name) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting what was seen of the keys of %s: %w", domain, err)
	}
	return nil
}

// awaitInterval is the time between checks of the record of an unmanaged key that does not sign yet.
const awaitInterval = time.Minute
