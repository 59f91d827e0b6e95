package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// status uses colors on a terminal, but not with NO_COLOR or in a file.
func TestStatusColours(t *testing.T) {
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	h.must("add", "example.org")
	h.days(3)
	terminal := func() string {
		t.Helper()
		master, slave := pty(t)
		if code := h.env.execute(t.Context(), []string{"-c", h.config, "status"}, slave, slave); code != 0 {
			t.Errorf("exit code %d", code)
		}
		slave.Close()
		out, _ := io.ReadAll(master) // EIO marks the end of the output
		return string(out)
	}
	if out := terminal(); !strings.Contains(out, "\x1b[32mexample.org") || !strings.Contains(out, "\x1b[33mexample.org") {
		t.Errorf("no green for the key that signs, or no yellow for the standby: %q", out)
	}
	t.Setenv("NO_COLOR", "1")
	if out := terminal(); strings.Contains(out, "\x1b") {
		t.Errorf("colors although NO_COLOR is set: %q", out)
	}
	t.Setenv("NO_COLOR", "")
	if out := h.must("status"); strings.Contains(out, "\x1b") {
		t.Errorf("colors in a file: %q", out)
	}
}

// pty opens a terminal.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	return master, slave
}
