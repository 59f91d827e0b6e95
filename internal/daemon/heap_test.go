package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// A larger heap gets a smaller percentage of garbage, because a full DNS cache must not double the memory of the daemon.
func TestHeapRoom(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 200}, {2 << 20, 200}, {6 << 20, 100}, {12 << 20, 50}, {1 << 30, 25}} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%d bytes in use: %d percent, want %d", c.live, got, c.want)
		}
	}
}

// GOGC is adjusted after each collection, not only at intervals.
func TestHeapIsTuned(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	done := make(chan struct{})
	go func() {
		tuneCollection(ctx)
		close(done)
	}()
	live := make([]byte, 64<<20)
	percent := 0
	for deadline := time.Now().Add(20 * time.Second); percent != minPercent && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		runtime.GC()
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		percent = int(sample[0].Value.Uint64())
	}
	if percent != minPercent {
		t.Errorf("GOGC is %d with %d bytes in use, want %d", percent, len(live), minPercent)
	}
	runtime.KeepAlive(live)
	cancel()
	<-done
}
