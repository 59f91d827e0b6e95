package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// On a full disk, lost messages are counted, and stored messages remain. When space is freed, the journal continues.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a full disk is a tmpfs, and mounting one needs root")
	}
	d := newFixture(t)
	dir := filepath.Dir(d.Path)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=640k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	d.keep(t, 0, 2000)
	lost := d.lost.Load()
	if n := d.count(t); lost == 0 || n+int(lost) != 2000 {
		t.Errorf("%d kept, %d lost of 2000", n, lost)
	}
	if log := d.log.String(); !strings.Contains(log, "disk is full") {
		t.Errorf("the log: %s", log)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	d.keep(t, 2000, 2100)
	if n := d.count(t); d.lost.Load() != lost || n+int(lost) != 2100 {
		t.Errorf("after space was freed: %d kept, %d lost of 2100", n, d.lost.Load())
	}
}
