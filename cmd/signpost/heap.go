package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What the heap may grow by between two collections: docs/decisions/garbage-collection.md.
const (
	heapRoom    = 8 << 20 // octets
	mostPercent = 200     // of a heap that is next to nothing
	leastRoom   = 25      // percent, of one that is large
	tuneEvery   = 10 * time.Second
)

// gcPercent is Go's GOGC for a heap of which so many octets are in use.
func gcPercent(live uint64) int {
	return int(min(max(100*heapRoom/max(live, 1), leastRoom), mostPercent))
}

// tuneCollection keeps the room for garbage the same, whatever is in use, until ctx ends.
func tuneCollection(ctx context.Context) {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	last := mostPercent
	debug.SetGCPercent(last)
	for tick := time.Tick(tuneEvery); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		metrics.Read(sample)
		if percent := gcPercent(sample[0].Value.Uint64()); percent != last {
			debug.SetGCPercent(percent)
			last = percent
		}
	}
}
