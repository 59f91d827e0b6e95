package testcli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The owner of the state directory, and the user who runs the program.
const (
	ownerID  = 1 // daemon
	ownerIs  = "daemon"
	callerID = 65534 // nobody
)

// Denied runs commands of a program as a user who may not read the journal and the keys of another user. With keysMode 0700, the user may
// not read the keys directory. With 0755, the user may read the keys directory, except its subdirectory example.com. TestMain must pass the
// program to testscript.Main. In a command, DIR is replaced by the state directory, and CONFIG by a configuration file with this directory.
func Denied(t *testing.T, program string, keysMode os.FileMode, commands ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("running a program as another user needs root")
	}
	dir := t.TempDir()
	state, config := filepath.Join(dir, "state"), filepath.Join(dir, "c.toml")
	err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Mkdir(state, 0o755), os.Chown(state, ownerID, ownerID),
		os.WriteFile(config, []byte("state_dir = \""+state+"\"\n"), 0o644), copyProgram(filepath.Join(dir, program)))
	for _, name := range []string{"journal", "keys", "keys/example.com"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(state, name), 0o700), os.Chown(filepath.Join(state, name), ownerID, ownerID))
	}
	err = errors.Join(err, os.Chmod(filepath.Join(state, "keys"), keysMode))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range commands {
		args := strings.Fields(strings.NewReplacer("DIR", state, "CONFIG", config).Replace(line))
		c := exec.CommandContext(t.Context(), filepath.Join(dir, program), args...)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: callerID, Gid: callerID}}
		c.Dir, c.Env = dir, []string{"GORACE=atexit_sleep_ms=0"}
		var errs bytes.Buffer
		c.Stderr = &errs
		err := c.Run()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%s: %v", line, err)
		}
		if got := errs.String(); !strings.Contains(got, ": permission denied\n") || !strings.Contains(got, "hint: run it as user "+ownerIs+" or as root\n") {
			t.Errorf("%s: %s", line, got)
		}
	}
}

// copyProgram copies the program of the test to a file that all users may run.
func copyProgram(to string) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	return errors.Join(err, out.Close())
}
