package keys

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// Guard looks, while the daemon runs, whether the keys that sign are still in DNS. It never stops mail: where a key is gone
// from every name server, the newest other one that still verifies signs in its place; where there is none, the key goes
// on signing and the log says so.
type Guard struct {
	Watcher *Watcher
	Checker *Checker
	Now     func() time.Time
	Log     *slog.Logger

	watches map[string]*watch // by domain and selector
	wrong   atomic.Pointer[map[string]int]
}

// Wrong is how many keys of each domain that sign were, when they were last looked at, not in DNS as they should be at
// every name server. It may be called while the guard runs.
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
	wrong   bool   // its record was gone or another one somewhere, the last time that anybody could say
}

const (
	// guardEvery is how often a key is looked at that was well the last time.
	guardEvery = time.Hour
	// guardAgain is when it is looked at once more before anything is made of what was seen.
	guardAgain = 10 * time.Minute
	// guardTick is how often the guard thinks about what is due.
	guardTick = time.Minute
)

// Run looks until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	t := time.NewTicker(guardTick)
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

// Check looks at the keys that are due.
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
			w.next = g.Now().Add(awaitEvery)
			if sight, _ := g.sight(ctx, k); ctx.Err() == nil { // what went wrong stands in it
				g.await(k, sight)
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
	sight, err := g.sight(ctx, k)
	gone, shown := lost(sight)
	switch {
	case err != nil || !gone && !shown:
		w.next = g.Now().Add(guardAgain) // nobody could say: that changes nothing
		return
	case shown:
		if w.instead != "" {
			g.Watcher.Instead(k.Domain, k.Algorithm, "")
			g.Log.Info("the record of a key is in DNS again, it signs again", attrs...)
		}
		*w = watch{key: k, next: g.Now().Add(guardEvery), wrong: sight.Outcome().Differs}
		return
	}
	w.wrong = true
	w.strikes++
	w.next = g.Now().Add(guardAgain)
	attrs = append(attrs, "seen", sight.Outcome().Words)
	if w.strikes == 1 {
		g.Log.Warn("no name server shows the record of a key that signs; looking again in 10 minutes", attrs...)
		return
	}
	if w.instead != "" {
		return
	}
	if heir := g.heir(ctx, set, k); heir != "" {
		w.instead = heir
		g.Watcher.Instead(k.Domain, k.Algorithm, heir)
		g.Log.Error("no name server shows the record of a key that signs; another one signs in its place", append(attrs, "instead", heir)...)
		return
	}
	if w.strikes == 2 || w.strikes%6 == 0 { // once an hour
		g.Log.Error("no name server shows the record of a key that signs, and no other key verifies: mail is signed and fails everywhere; dkimkey check", attrs...)
	}
}

func (g *Guard) sight(ctx context.Context, k *Key) (Sight, error) {
	life, err := lifeOf(k, "")
	if err != nil {
		return Sight{}, err
	}
	s := g.Checker.Look(ctx, life, k.Signer)
	return s, s.Err
}

// lost says whether every name server shows that a record is gone or another one, and whether at least one still shows it.
func lost(s Sight) (gone, shown bool) {
	gone = len(s.Servers) > 0
	for _, v := range s.Servers {
		gone = gone && (v.View == Nothing || v.View == Other)
		shown = shown || v.View == Same
	}
	return gone, shown
}

// canReplace reports whether a key may sign in the place of one whose record is gone.
func (k *Key) canReplace() bool {
	return (k.State == Active || k.State == Retiring || k.State == Verified) && (k.Life == nil || !k.Life.Compromised)
}

// heir is the newest other key of the same algorithm whose record every name server shows.
func (g *Guard) heir(ctx context.Context, set *Set, k *Key) string {
	others := slices.Clone(set.Of(k.Domain))
	slices.SortFunc(others, func(a, b *Key) int { return b.Since.Compare(a.Since) })
	for _, o := range others {
		if o == k || o.Signer == nil || o.Algorithm != k.Algorithm || !o.canReplace() {
			continue
		}
		if s, err := g.sight(ctx, o); err == nil && s.Outcome().Ready {
			return o.Selector
		}
	}
	return ""
}
