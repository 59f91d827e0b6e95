package main

import "testing"

// The more is in use, the less of it may be added as garbage: a full DNS cache must not double the daemon.
func TestHeapRoom(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 200}, {2 << 20, 200}, {8 << 20, 100}, {16 << 20, 50}, {1 << 30, 25}} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%d octets in use: %d percent, want %d", c.live, got, c.want)
		}
	}
}
