package soak

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// insideVar is set in the process that runs in the namespaces.
const insideVar = "SIGNPOST_SOAK_INSIDE"

// TestMain runs the tests in a network and a mount namespace of their own: the name servers have port 53, and mounts disappear with the test.
func TestMain(m *testing.M) {
	if os.Getenv("SIGNPOST_SOAK") == "" {
		os.Exit(m.Run()) // TestSoak is skipped
	}
	if os.Getenv(insideVar) == "" {
		os.Exit(outside())
	}
	if err := isolate(); err != nil {
		fmt.Fprintln(os.Stderr, "making the namespaces:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// outside runs this program again, in new namespaces.
func outside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// isolate activates loopback with the addresses of the name servers, because BIND listens only at addresses of an interface.
func isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, args := range [][]string{{"link", "set", "lo", "up"}, {"addr", "add", primaryAddr + "/8", "dev", "lo"}, {"addr", "add", secondaryAddr + "/8", "dev", "lo"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %q: %w: %s", args, err, out)
		}
	}
	return nil
}
