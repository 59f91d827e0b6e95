package keys

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// What the daemon has seen of a key that was put there by hand is STATE_DIR/observed/DOMAIN/SELECTOR.json, in the words of
// a Life: the keys folder it only reads. It is about one key, not about a name: another key under the same selector has
// not been seen.

func (s Store) observedPath(domain, selector string) string {
	return filepath.Join(s.Observed, domain, selector+".json")
}

// observed gives what has been seen of a key, nil where that is nothing yet.
func (s Store) observed(k *Key) *Life {
	if s.Observed == "" {
		return nil
	}
	l, err := readLifeFile(s.observedPath(k.Domain, k.Selector), k.Domain, k.Selector)
	if err != nil {
		return nil // it is looked at again
	}
	if k.unread {
		if !l.Created.Equal(k.Since) { // the time of the file: lifeOf
			return nil
		}
		return l
	}
	if now, err := lifeOf(k, ""); err != nil || l.Record != now.Record {
		return nil
	}
	return l
}

// byHandWaits says that a key was put there by hand and that its record has not been seen: it does not sign.
func (k *Key) byHandWaits() bool { return k.Life == nil && k.usable() && k.State == Published }

// observe records what has been seen of a key, and has it sign if that is enough.
func (w *Watcher) observe(l *Life) error {
	if err := makeDir(filepath.Join(w.store.Observed, l.Domain)); err != nil {
		return err
	}
	if err := writeLifeFile(w.store.observedPath(l.Domain, l.Selector), l, w.store.Observed); err != nil {
		return err
	}
	w.Reload()
	return nil
}

// await looks for the record of a key that was put there by hand. It signs as soon as every name server and the resolver
// show it and a probe verifies; it does not wait for caches, since nothing says since when the record has been there. A
// server that does not answer holds it up for a day, as in Rotator.check.
func (g *Guard) await(k *Key, s Sight) {
	attrs := []any{"domain", k.Domain, "selector", k.Selector}
	l := k.Observed
	if l == nil {
		var err error
		if l, err = lifeOf(k, ""); err != nil {
			return // it is being replaced
		}
	} else {
		again := *l
		l = &again // the Snapshot does not change
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
	case o.Enough && now.Sub(*l.Silent) >= patience:
		l.Seen, l.Activated = &now, &now
		g.Log.Warn("a key put there by hand signs although not every name server has answered for a day", append(attrs, "seen", o.Words)...)
	}
	if l.Activated == nil && l.Finding == before.Finding && (l.Silent == nil) == (before.Silent == nil) {
		return
	}
	if l.Activated == nil {
		g.Log.Warn("a key put there by hand waits for its record", append(attrs, "record", RecordName(k.Domain, k.Selector), "seen", o.Words)...)
	}
	if err := g.Watcher.observe(l); err != nil {
		g.Log.Error("what was seen of a key put there by hand cannot be recorded, so it does not sign", append(attrs, "error", err)...)
	}
}

// forget removes what was seen of a domain's keys.
func (s Store) forget(domain string) error {
	if s.Observed == "" {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(s.Observed, domain)); err != nil {
		return fmt.Errorf("forgetting what was seen of the keys of %s: %w", domain, err)
	}
	return nil
}

// awaitEvery is how often the record of a key that was put there by hand is looked for: somebody is waiting.
const awaitEvery = time.Minute
