package keys

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// Guard checks in the daemon whether the records of the active keys are still in DNS. It never stops mail. If no name server has the
// record of a key, the newest other key with a correct record signs instead. If there is none, the key continues to sign and Guard
// logs an error.
type Guard struct {
	Watcher *Watcher
	Checker *Checker
	Now     func() time.Time
	Log     *slog.Logger

	watches map[string]*watch // by domain and selector
	wrong   atomic.Pointer[map[string]int]
}

// Wrong returns, for each domain, how many active keys had a wrong or missing record at the last check. One name server without the correct
// record is sufficient. It is safe for concurrent use.
func (g *Guard) Wrong() map[string]int {
	if wrong := g.wrong.Load(); wrong != nil {
		return *wrong
	}
	return nil
}

// watch is the state of the checks of one active key.
type watch struct {
	key     *Key
	next    time.Time
	strikes int
	instead string // the selector that signs instead
	wrong   bool   // at the last check with an answer, a server did not have the key's record
}

const (
	// recheckInterval is the time between checks of a key whose record was correct.
	recheckInterval = time.Hour
	// retryInterval is the time until the next check of a key whose record was missing or unknown. One check that finds no record has no
	// effect.
	retryInterval = 10 * time.Minute
	// guardInterval is how often Guard looks for keys that are due for a check.
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
			g.Log.Info("the record of a key is in DNS again, the key signs again", attrs...)
		}
		*w = watch{key: k, next: g.Now().Add(recheckInterval), wrong: observation.Outcome().Differs}
		return
	}
	w.wrong = true
	w.strikes++
	w.next = g.Now().Add(retryInterval)
	attrs = append(attrs, "seen", observation.Outcome().Words)
	if w.strikes == 1 {
		g.Log.Warn("no name server has the record of an active key; next check in 10 minutes", attrs...)
		return
	}
	if w.instead != "" {
		return
	}
	if successor := g.successor(ctx, set, k); successor != "" {
		w.instead = successor
		g.Watcher.Instead(k.Domain, k.Algorithm, successor)
		g.Log.Error("no name server has the record of an active key; another key signs instead", append(attrs, "instead", successor)...)
		return
	}
	if w.strikes == 2 || w.strikes%6 == 0 { // once an hour
		g.Log.Error("no name server has the record of an active key, and no other key verifies: signatures fail everywhere; see dkimkey check", attrs...)
	}
}

func (g *Guard) observe(ctx context.Context, k *Key) Observation {
	metadata, err := metadataOf(k, "")
	if err != nil {
		return Observation{Err: err}
	}
	return g.Checker.Look(ctx, metadata, k.Signer)
}

// lost returns gone = true if all name servers answer and none has the record. It returns shown = true if at least one has the record.
func lost(s Observation) (gone, shown bool) {
	gone = len(s.Servers) > 0
	for _, v := range s.Servers {
		gone = gone && (v.Status == Nothing || v.Status == Other)
		shown = shown || v.Status == Same
	}
	return gone, shown
}

// canReplace reports whether a key may replace a key whose record is missing.
func (k *Key) canReplace() bool {
	return (k.State == Active || k.State == Retiring || k.State == Verified) && (k.Metadata == nil || !k.Metadata.Compromised)
}

// successor returns the selector of another key of the same algorithm. It selects the newest key whose record is at every name server, and
// returns "" if there is none. A retired key is the last choice: its record is emptied keys.retire_after after its retirement, when mail that
// it signs now may still be in transit.
func (g *Guard) successor(ctx context.Context, set *Set, k *Key) string {
	others := slices.Clone(set.Of(k.Domain))
	slices.SortFunc(others, func(a, b *Key) int {
		if retired := a.State == Retiring; retired != (b.State == Retiring) {
			if retired {
				return 1
			}
			return -1
		}
		return b.Since.Compare(a.Since)
	})
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
