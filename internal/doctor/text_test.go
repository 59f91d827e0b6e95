package doctor

import (
	"net"
	"os"
	"syscall"
	"testing"
)

// In a word of four letters or fewer, only one letter may differ.
func TestNearest(t *testing.T) {
	for word, want := range map[string]string{"foo": "", "lgo": "log", "lg": "log", "code": "", "doctr": "doctor", "verfiy": "verify", "expalni": "explain", "ver": "verify"} {
		if got := Nearest(word, "log", "role", "doctor", "verify", "explain"); got != want {
			t.Errorf("%s: %q", word, got)
		}
	}
}

// A "permission denied" error names the path or address, without Go's names of system calls.
func TestNotPermitted(t *testing.T) {
	for want, err := range map[string]error{
		"/x: permission denied": &os.PathError{Op: "stat", Path: "/x", Err: syscall.EACCES},
		"/s: permission denied": &net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Name: "/s"}, Err: os.NewSyscallError("connect", syscall.EACCES)},
	} {
		f := OrNotPermitted(err, Finding{Fix: "own"})
		if f.Where != want {
			t.Errorf("%+v", f)
		}
		if root := os.Geteuid() == 0; root != (f.Fix == "own") { // the advice to run doctor as root is omitted if root runs it
			t.Errorf("%+v", f)
		}
	}
}
