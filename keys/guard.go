package keys

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// Guard checks, while the daemon runs, whether the records of the keys that sign are still in DNS. It never stops mail: if a record is
// gone from every name server, the newest other key whose record is there signs in its place; if there is none, the key
// continues to sign and the log reports it.
type Guard struct {
	Watcher *Watcher
	Checker *Checker
	Now     func() time.Time
	Log     *slog.Logger

	watches map[string]*watch // by domain and selector
	wrong   atomic.Pointer[map[string]int]
}

// Wrong returns, by domain, the number of keys that sign and whose record was wrong or missing at a name server at the last check. It
// may be called while the guard runs.
func (g *Guard) Wrong() map[string]int {
	if wrong := g.wrong.Load(); wrong != nil {
		return *wrong
	}
	return nil
}

// watch is what is known about one key that signs.
type watch struct {
	key     *Key
	next    time.Time
	strikes int
	instead string // the selector that signs in its place
	wrong   bool   // at the last check that had an answer, a server did not show its record
}

const (
	// recheckInterval is the time between checks of a key whose record was correct.
	recheckInterval = time.Hour
	// retryInterval is the time until the next check of a key whose record was missing or unknown. One missing answer has no effect.
	retryInterval = 10 * time.Minute
	// guardInterval is how often the guard looks for keys that are due.
	guardInterval = time.Minute
)

// Run checks keys until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	t := time.NewTicker(guardInterval)
	defer t.Stop()
	for {
		g.Check(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Check checks the keys that are due.
func (g *Guard) Check(ctx context.Context) {
	if g.watches == nil {
		g.watches = map[string]*watch{}
	}
	set := g.Watcher.Current().Set
	known := map[string]bool{}
	for _, k := range set.All() {
		if k.Signer == nil || !k.awaited() && set.newestActive(k.Domain, k.Algorithm) != k {
			continue
		}
		id := k.Domain + " " + k.Selector
		known[id] = true
		w := g.watches[id]
		if w == nil {
			w = &watch{}
			g.watches[id] = w
		}
		w.key = k
		if g.Now().Before(w.next) || ctx.Err() != nil {
			continue
		}
		if k.awaited() {
			w.next = g.Now().Add(awaitInterval)
			if observation := g.observe(ctx, k); ctx.Err() == nil {
				g.await(ctx, k, observation)
			}
			continue
		}
		g.look(ctx, set, k, w)
	}
	for id, w := range g.watches {
		if known[id] {
			continue
		}
		if w.instead != "" {
			g.Watcher.Instead(w.key.Domain, w.key.Algorithm, "")
		}
		delete(g.watches, id)
	}
	wrong := map[string]int{}
	for _, w := range g.watches {
		if w.wrong {
			wrong[w.key.Domain]++
		}
	}
	g.wrong.Store(&wrong)
}

func (g *Guard) look(ctx context.Context, set *Set, k *Key, w *watch) {
	attrs := []any{"domain", k.Domain, "selector", k.Selector}
	observation := g.observe(ctx, k)
	gone, shown := lost(observation)
	switch {
	case observation.Err != nil || !gone && !shown:
		w.next = g.Now().Add(retryInterval) // unknown: nothing changes
		return
	case shown:
		if w.instead != "" {
			g.Watcher.Instead(k.Domain, k.Algorithm, "")
			g.Log.Info("the record of a key is in DNS again, it signs again", attrs...)
		}
		*w = watch{key: k, next: g.Now().Add(recheckInterval), wrong: observation.Outcome().Differs}
		return
	}
	w.wrong = true
	w.strikes++
	w.next = g.Now().Add(retryInterval)
	attrs = append(attrs, "seen", observation.Outcome().Words)
	if w.strikes == 1 {
		g.Log.Warn("no name server shows the record of a key that signs; looking again in 10 minutes", attrs...)
		return
	}
	if w.instead != "" {
		return
	}
	if successor := g.successor(ctx, set, k); successor != "" {
		w.instead = successor
		g.Watcher.Instead(k.Domain, k.Algorithm, successor)
		g.Log.Error("no name server shows the record of a key that signs; another one signs in its place", append(attrs, "instead", successor)...)
		return
	}
	if w.strikes == 2 || w.strikes%6 == 0 { // once an hour
		g.Log.Error("no name server shows the record of a key that signs, and no other key verifies: mail is signed and fails everywhere; dkimkey check", attrs...)
	}
}

func (g *Guard) observe(ctx context.Context, k *Key) Observation {
	metadata, err := metadataOf(k, "")
	if err != nil {
		return Observation{Err: err}
	}
	return g.Checker.Look(ctx, metadata, k.Signer)
}

// lost reports whether no name server shows a record and all of them answer, and whether at least one shows it.
func lost(s Observation) (gone, shown bool) {
	gone = len(s.Servers) > 0
	for _, v := range s.Servers {
		gone = gone && (v.Status == Nothing || v.Status == Other)
		shown = shown || v.Status == Same
	}
	return gone, shown
}

// canReplace reports whether a key may sign in the place of one whose record is gone.
func (k *Key) canReplace() bool {
	return (k.State == Active || k.State == Retiring || k.State == Verified) && (k.Metadata == nil || !k.Metadata.Compromised)
}

// successor returns the newest other key of the same algorithm whose record every name server shows.
func (g *Guard) successor(ctx context.Context, set *Set, k *Key) string {
	others := slices.Clone(set.Of(k.Domain))
	slices.SortFunc(others, func(a, b *Key) int { return b.Since.Compare(a.Since) })
	for _, o := range others {
		if o == k || o.Signer == nil || o.Algorithm != k.Algorithm || !o.canReplace() {
			continue
		}
		if g.observe(ctx, o).Outcome().Ready {
			return o.Selector
		}
	}
	return ""
}
