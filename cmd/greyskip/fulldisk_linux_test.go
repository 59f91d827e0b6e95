package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// If the disk is full, the file is not changed, and the message states the reason. When there is space again, the file is replaced.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("a full disk is a tmpfs, and mounting one needs root")
	}
	zone, domains := many()
	w := newWorld(t, zone, domains)
	disk := filepath.Join(w.dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A process that another test starts at this moment may still have an open file of the disk.
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w.list = filepath.Join(disk, "list")
	w.quiet(w.cron(0))
	filler := filepath.Join(disk, "filler")
	fill := func(leave int) {
		t.Helper()
		var fs unix.Statfs_t
		if err := unix.Statfs(disk, &fs); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filler, make([]byte, (int(fs.Bavail)-leave)*int(fs.Bsize)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.zone(strings.Replace(zone, "37.18.0.0/16", "37.18.0.0/16 ip4:38.0.0.0/16", 1))
	for free := range 2 { // no free block; one free block, enough for the new list but not for the state
		fill(free)
		w.same(func() {
			w.contains(w.cron(1, "--reload", "touch "+w.dir+"/reloaded"), "writing ", "no space left on device", w.list+" was not changed")
		})
		if left, _ := filepath.Glob(disk + "/.*new"); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(w.dir + "/reloaded"); err == nil {
		t.Error("reloaded although nothing changed")
	}
	w.quiet(w.cron(0))
	w.contains(w.entries(), "38.0.0.0/16")
}
