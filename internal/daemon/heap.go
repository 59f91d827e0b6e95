package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// These constants limit the growth of the heap between two garbage collections: docs/decisions/garbage-collection.md.
const (
	heapRoom   = 6 << 20 // bytes
	maxPercent = 200     // GOGC for a very small heap
	minPercent = 25      // GOGC for a large heap
	minChange  = 10      // percent; changing GOGC stops the world, which is not worth it for a smaller change
)

// gcPercent returns GOGC for a heap with live bytes in use.
func gcPercent(live uint64) int {
	return int(min(max(100*heapRoom/max(live, 1), minPercent), maxPercent))
}

// tuneCollection keeps the room for garbage at heapRoom, independent of the size of the heap, until ctx ends. It adjusts GOGC after
// each collection. Without this, a flood that fills the DNS cache within a second would allow several times as much garbage.
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

// notifyCollected sends to the channel collected after each garbage collection, until ctx ends. It detects a collection by the cleanup
// of an unreferenced object.
func notifyCollected(ctx context.Context, collected chan<- struct{}) {
	type unreferenced struct{ _ *int } // the pointer makes Go allocate the object separately
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
