package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// On a terminal, the output has colors unless NO_COLOR is set, and a progress message names the current check.
func TestDoctorOnATerminal(t *testing.T) {
	file, _ := doctorHost(t, "")
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	_, out := onTerminal(t, "doctor", "-c", file, "example.org")
	if !strings.Contains(out, "checking the DNS records of \"example.org\" ...") || !strings.Contains(out, "\x1b[32mgreen \x1b[0m spf: ") {
		t.Errorf("%q", out)
	}
	t.Setenv("NO_COLOR", "1")
	if _, out := onTerminal(t, "doctor", "-c", file, "example.org"); strings.Contains(out, "\x1b") || !strings.Contains(out, "green  spf: ") {
		t.Errorf("NO_COLOR: %q", out)
	}
}

// onTerminal runs a command on a pseudo-terminal and returns its output.
func onTerminal(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		all, _ := io.ReadAll(master) // ends with EIO when the terminal is closed
		read <- string(all)
	}()
	code = run(t.Context(), args, terminal, terminal)
	terminal.Close()
	return code, <-read
}
