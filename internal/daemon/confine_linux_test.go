package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"signpost/internal/config"
)

// confinedAttempts returns operations that must fail in a confined daemon, and operations that must succeed.
func confinedAttempts(dir string) (refused, allowed map[string]func() error) {
	read := func(path string) func() error {
		return func() error { _, err := os.ReadFile(path); return err }
	}
	write := func(path string) func() error {
		return func() error { return os.WriteFile(path, []byte("x"), 0o600) }
	}
	in := func(path string) string { return filepath.Join(dir, path) }
	refused = map[string]func() error{
		"reading /etc/shadow":           read("/etc/shadow"),
		"reading keys of others":        read(in("other/key.pem")),
		"writing to /tmp":               write("/tmp/signpost-was-not-confined"),
		"writing its configuration":     write(in("etc/signpost.toml")),
		"writing a key":                 write(in("state/keys/example.org/key.pem")),
		"making a key":                  write(in("state/keys/example.org/new.pem")),
		"deleting a key":                func() error { return os.Remove(in("state/keys/example.org/key.pem")) },
		"renaming a key":                func() error { return os.Rename(in("state/keys/example.org/key.pem"), in("state/hosted/key.pem")) },
		"reading reports":               read(in("state/reports/reports.db")),
		"writing the key of bounces":    write(in("state/reports/key/bounce.key")),
		"listing /":                     func() error { _, err := os.ReadDir("/"); return err },
		"running a program":             func() error { return exec.Command("/bin/true").Run() },
		"making a socket":               func() error { return unix.Mknod(in("state/hosted/socket"), unix.S_IFSOCK|0o600, 0) },
		"making a link to what it lost": func() error { return os.Symlink("/etc/shadow", in("state/hosted/link")) },
	}
	allowed = map[string]func() error{
		"reading its configuration":  read(in("etc/signpost.toml")),
		"reading a key":              read(in("state/keys/example.org/key.pem")),
		"reading the key of bounces": read(in("state/reports/key/bounce.key")),
		"recording":                  write(in("state/hosted/example.org")),
	}
	return refused, allowed
}

// TestConfineHelper runs in the second process of TestConfine. Its attempts run in threads that were started before the process was
// confined.
func TestConfineHelper(t *testing.T) {
	dir, ok := os.LookupEnv("SIGNPOST_CONFINE")
	if !ok {
		return
	}
	conf, err := config.Load(filepath.Join(dir, "etc", "signpost.toml"))
	if err != nil {
		t.Fatal(err)
	}
	d := &service{Options: Options{Config: conf, File: filepath.Join(dir, "etc", "signpost.toml")}, log: slog.New(slog.NewTextHandler(os.Stdout, nil))}
	refused, allowed := confinedAttempts(dir)
	const threads = 8
	begin, done := make(chan struct{}), make(chan struct{})
	for range threads {
		go func() {
			runtime.LockOSThread()
			defer func() { done <- struct{}{} }()
			done <- struct{}{}
			<-begin
			for what, try := range refused {
				if err := try(); !errors.Is(err, fs.ErrPermission) {
					t.Errorf("%s: %v", what, err)
				}
			}
			for what, try := range allowed {
				if err := try(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		}()
	}
	for range threads {
		<-done
	}
	d.confine()
	close(begin)
	for range threads {
		<-done
	}
}

// The confinement applies to all threads, even in a process of root. No thread can read or write files that the daemon does not need,
// run a program, or change a key.
func TestConfine(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"etc/signpost.toml": fmt.Sprintf("state_dir = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\n", filepath.Join(dir, "state")),
		"state/keys/example.org/key.pem": "x", "other/key.pem": "x", "state/reports/reports.db": "x", "state/reports/key/bounce.key": "x"}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	refused, _ := confinedAttempts(dir)
	if err := refused["reading keys of others"](); err != nil {
		t.Fatalf("not confined: %v", err)
	}
	c := exec.Command("/proc/self/exe", "-test.run=^TestConfineHelper$", "-test.v")
	c.Env = append(os.Environ(), "SIGNPOST_CONFINE="+dir)
	out, err := c.CombinedOutput()
	// The exit code of the process has no meaning, because the process cannot delete its temporary directory.
	if !strings.Contains(string(out), "--- PASS: TestConfineHelper") || !strings.Contains(string(out), "msg=confined landlock_abi=") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A confined daemon warns of a table server that it cannot reach until it is restarted.
func TestUnreachableTableServer(t *testing.T) {
	dir := t.TempDir()
	conf := config.Default()
	conf.StateDir = filepath.Join(dir, "state")
	conf.Domains.Server = config.Listener{Network: "unix", Address: filepath.Join(dir, "later", "socket")}
	var log strings.Builder
	d := &service{Options: Options{Config: conf}, log: slog.New(slog.NewTextHandler(&log, nil))}
	expect := func(want ...string) {
		t.Helper()
		log.Reset()
		d.warnUnreachable(conf)
		for _, path := range want {
			if !strings.Contains(log.String(), "socket="+path) {
				t.Errorf("no warning of %s: %s", path, &log)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != len(want) {
			t.Errorf("%d warnings, want %d: %s", n, len(want), &log)
		}
	}
	conf.Domains.Tables = []string{"static:x"}
	expect() // not confined
	d.granted = d.grants()
	expect(conf.Domains.Server.Address)
	if err := os.Mkdir(filepath.Join(dir, "later"), 0o700); err != nil {
		t.Fatal(err)
	}
	expect(conf.Domains.Server.Address)
	d.granted = d.grants()
	expect()
	conf.Domains.Tables = append(conf.Domains.Tables, "socketmap:unix:"+dir+"/s:a")
	expect(dir + "/s")
}
