package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// If state_dir is read-only, as after an error of the file system, the daemon starts, signs and verifies, and logs that the journal is not
// written. dkimkey changes nothing and states the cause. Afterwards, the journal continues without a restart.
func TestReadOnlyState(t *testing.T) {
	w := newWorld(t, setup{zone: zone()})
	w.stop()
	state := filepath.Join(w.dir, "state")
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
		if err := unix.Mount(state, state, "", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	defer unix.Unmount(state, unix.MNT_DETACH)
	w.start("signpost")
	w.swaks(w.SMTP, letter("ann@example.org")...)
	w.signed(w.mail(1), "example.org")
	w.refused(w.swaks(w.SMTP, args(stranger(), written("ann@good.example"))...), "550 5.7.1")
	w.logged("the journal cannot be written; mail continues without it", "read-only file system")
	for _, command := range [][]string{{"add", "example.com"}, {"rotate"}} {
		out, err := exec.Command(filepath.Join(programs, "plain", "dkimkey"), append([]string{"-c", w.config}, command...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "read-only file system") {
			t.Errorf("%q: %v\n%s", command, err, out)
		}
	}
	if err := unix.Mount(state, state, "", unix.MS_BIND|unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	w.until("the journal has a message", func() bool {
		w.refused(w.swaks(w.SMTP, args(stranger(), written("ann@good.example"))...), "550 5.7.1")
		out, err := exec.Command(filepath.Join(programs, "signpost"), "log", "-c", w.config).CombinedOutput()
		return err == nil && strings.Contains(string(out), "good.example")
	})
}
