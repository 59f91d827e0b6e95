package daemon

import "testing"

// Whatever the limit on open files is, the files of all milter connections and DNS lookups together stay within the limit.
func TestLimits(t *testing.T) {
	for _, c := range []struct{ files, connections, slots int }{
		{0, 8, 4}, {64, 8, 4}, {108, 8, 4}, {256, 107, 53}, {1024, 619, 309}, {4096, 2000, 1000}, {1 << 20, 2000, 1000},
	} {
		got := limitsFor(c.files)
		if got.connections != c.connections || got.slots != c.slots {
			t.Errorf("%d files: %d connections and %d lookups, want %d and %d", c.files, got.connections, got.slots, c.connections, c.slots)
		}
	}
	for files := 108; files < 5000; files++ {
		if got := limitsFor(files); got.connections+got.slots+ownFiles > files {
			t.Errorf("%d files: %+v", files, got)
		}
	}
}
