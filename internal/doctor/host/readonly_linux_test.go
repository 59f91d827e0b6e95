package host_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A state directory that is mounted read-only is red.
func TestReadOnly(t *testing.T) {
	h := newMachine(t)
	state := h.root + "/state"
	if err := unix.Mount(state, state, "", unix.MS_BIND, ""); err != nil {
		t.Skip(err)
	}
	defer unix.Unmount(state, unix.MNT_DETACH)
	if err := unix.Mount("", state, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Skip(err)
	}
	if found := h.find(); len(found) != 1 || found[0].Check != "state-dir" || !strings.Contains(found[0].What, "mounted read-only") {
		t.Errorf("%+v", found)
	}
}
