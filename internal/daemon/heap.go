package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How much the heap may grow between two collections: docs/decisions/garbage-collection.md.
const (
	heapRoom   = 8 << 20 // bytes
	maxPercent = 200     // of a tiny heap
	minPercent = 25      // of a large heap
	minChange  = 10      // percent; setting GOGC stops the world, and a smaller change is not worth that
)

// gcPercent returns GOGC for a heap with live bytes in use.
func gcPercent(live uint64) int {
	return int(min(max(100*heapRoom/max(live, 1), minPercent), maxPercent))
}

// tuneCollection keeps the room for garbage constant, however many bytes are in use, until ctx ends. It adjusts GOGC after each
// collection: a flood fills the DNS cache within a second, and the GOGC of a small heap would allow several times the room.
func tuneCollection(ctx context.Context) {
	collected := make(chan struct{}, 1)
	notifyCollected(ctx, collected)
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	last := maxPercent
	debug.SetGCPercent(last)
	for {
		select {
		case <-ctx.Done():
			return
		case <-collected:
		}
		metrics.Read(sample)
		percent := gcPercent(sample[0].Value.Uint64())
		if change := percent - last; 100*max(change, -change) >= minChange*last {
			debug.SetGCPercent(percent)
			last = percent
		}
	}
}

// notifyCollected sends to collected after each garbage collection until ctx ends. Each collection runs the cleanup of an
// unreferenced object.
func notifyCollected(ctx context.Context, collected chan<- struct{}) {
	type unreferenced struct{ _ *int } // with a pointer, so that it has a block of memory of its own
	runtime.AddCleanup(new(unreferenced), func(ctx context.Context) {
		if ctx.Err() != nil {
			return
		}
		select {
		case collected <- struct{}{}:
		default:
		}
		notifyCollected(ctx, collected)
	}, ctx)
}
