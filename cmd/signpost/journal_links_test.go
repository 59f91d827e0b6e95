package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"signpost/internal/config"
)

const nobody = 65534

// snapshot describes all files below a directory: names, modes, owners, times and contents.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		s := fi.Sys().(*syscall.Stat_t)
		fmt.Fprintln(&all, path, fi.Mode(), s.Uid, s.Gid, fi.ModTime())
		if fi.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			fmt.Fprintf(&all, "%x\n", data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// estate is a state_dir with a journal, which belongs to user nobody. A directory of root is next to it.
type estate struct {
	t                        *testing.T
	program                  string
	etc, state, file, accept string
}

// newEstate requires a program that was built without the race detector. In "make test", SQLite is built without the race detector and
// shares generic code with the program. The detector then misses the locks of sync.Map in a new process.
func newEstate(t *testing.T, program string) *estate {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("giving a directory to another user needs root")
	}
	dir, err := os.MkdirTemp("", "signpost-links")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e := &estate{t: t, program: program, etc: filepath.Join(dir, "etc"), state: filepath.Join(dir, "state"), file: filepath.Join(dir, "signpost.toml"), accept: "lists.example.org"}
	e.try(os.Chmod(dir, 0o755), os.Mkdir(e.etc, 0o755), os.MkdirAll(filepath.Join(e.state, "keys"), 0o755), os.Mkdir(filepath.Join(e.state, "hosted"), 0o755))
	conf := config.Default()
	conf.StateDir = e.state
	keepMails(t, conf, twoMonths())
	data, err := os.ReadFile(conf.JournalFile())
	e.try(err, os.WriteFile(filepath.Join(e.etc, "journal.db"), data, 0o644), os.WriteFile(filepath.Join(e.etc, "secret"), nil, 0o600),
		os.WriteFile(filepath.Join(e.etc, "forwarders.toml"), []byte("# root's\n"), 0o644))
	e.configure("forwarders.toml")
	e.try(filepath.Walk(e.state, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	}))
	return e
}

// configure writes the configuration, with a file of accepted forwarders below state_dir or at an absolute path.
func (e *estate) configure(forwarders string) {
	if !filepath.IsAbs(forwarders) {
		forwarders = filepath.Join(e.state, forwarders)
	}
	e.try(os.WriteFile(e.file, fmt.Appendf(nil, "state_dir = %q\n[dmarc]\nforwarders_file = %q\n", e.state, forwarders), 0o644))
}

func (e *estate) try(errs ...error) {
	e.t.Helper()
	for _, err := range errs {
		if err != nil {
			e.t.Fatal(err)
		}
	}
}

// run runs a command as root in a separate process, because the effective user of that process changes.
func (e *estate) run(args ...string) (out string, err error) {
	e.t.Helper()
	b, err := exec.CommandContext(e.t.Context(), e.program, append(args, "-c", e.file)...).CombinedOutput()
	return string(b), err
}

// readers are the commands that read the journal.
func readers() [][]string {
	return [][]string{{"log"}, {"explain", "none"}, {"what-if", "--since", "90d"}, {"top"}, {"forwarders"}, {"doctor", "--postfix", "/nonexistent"}}
}

// Root can read the journal in a directory that another user owns. Afterwards, that user can still use all files there.
func TestRootReadsJournal(t *testing.T) {
	t.Parallel()
	e := newEstate(t, built(t))
	for _, args := range readers() {
		out, err := e.run(args...)
		if strings.Contains(out, "denied") || err != nil && args[0] != "doctor" && args[0] != "explain" {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	e.try(filepath.Walk(e.state, func(path string, fi os.FileInfo, err error) error {
		if err == nil && fi.Sys().(*syscall.Stat_t).Uid != nobody {
			err = fmt.Errorf("%s: has another owner", path)
		}
		return err
	}))
}

// Root starts the web page. The process of the page acts as the owner of the journal from the start. The user must not change while
// requests are served.
func TestRootServesPage(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the user of a process is read from /proc")
	}
	e := newEstate(t, built(t))
	cmd := exec.CommandContext(t.Context(), e.program, "web", "--listen", "127.0.0.1:0", "-c", e.file)
	messages, err := cmd.StderrPipe()
	e.try(err, cmd.Start())
	line, err := bufio.NewReader(messages).ReadString('\n')
	if err != nil || !strings.Contains(line, "the page is at") {
		t.Errorf("%q %v", line, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil || !strings.Contains(string(status), fmt.Sprintf("\nUid:\t0\t%d\t", nobody)) {
		t.Errorf("%v\n%s", err, status)
	}
	e.try(cmd.Process.Signal(os.Interrupt))
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Links in a state_dir of another user do not lead root out of that directory. No command that reads the journal creates or changes a
// file elsewhere, or changes its owner.
func TestJournalLinks(t *testing.T) {
	t.Parallel()
	program := built(t)
	for name, c := range map[string]struct{ link, to string }{
		"database":       {"journal/journal.db", "journal.db"},
		"directory":      {"journal", "."},
		"log":            {"journal/journal.db-wal", "secret"},
		"new log":        {"journal/journal.db-wal", "new"},
		"shared memory":  {"journal/journal.db-shm", "secret"},
		"new memory":     {"journal/journal.db-shm", "new"},
		"no database":    {"journal/journal.db", "new"},
		"a named pipe":   {"journal/journal.db", ""},
		"hosted domains": {"hosted", "."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t, program)
			link := filepath.Join(e.state, c.link)
			e.try(os.RemoveAll(link))
			if c.to == "" {
				e.try(syscall.Mkfifo(link, 0o600))
			} else {
				e.try(os.Symlink(filepath.Join(e.etc, c.to), link))
			}
			e.try(os.Lchown(link, nobody, nobody))
			before := snapshot(t, e.etc)
			for _, args := range readers() {
				out, err := e.run(args...)
				if after := snapshot(t, e.etc); after != before {
					t.Fatalf("%q: root's files were\n%s\nand are\n%s", args, before, after)
				}
				if c.to == "" && (err == nil || args[0] == "log" && !strings.Contains(out, "journal.db: is not a regular file")) {
					t.Errorf("%q: %s", args, out)
				}
			}
		})
	}
}

// Root reads the journal as another user. Root can then accept a forwarder into a file that root owns, or into a file in state_dir.
// Links in state_dir are not followed.
func TestAcceptLinks(t *testing.T) {
	t.Parallel()
	e := newEstate(t, built(t))
	accepted := func(path string, owner uint32) {
		t.Helper()
		e.configure(path)
		if out, err := e.run("forwarders", "--accept", e.accept); err != nil {
			t.Errorf("%v %s", err, out)
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(e.state, path)
		}
		fi, err := os.Lstat(path)
		e.try(err)
		if data, err := os.ReadFile(path); err != nil || !strings.Contains(string(data), "[[forwarder]]") || fi.Sys().(*syscall.Stat_t).Uid != owner {
			t.Errorf("%v %+v\n%s", err, fi.Sys(), data)
		}
	}
	accepted(filepath.Join(filepath.Dir(e.file), "forwarders.toml"), 0)
	accepted("forwarders.toml", nobody)
	e.try(os.Symlink(filepath.Join(e.etc, "forwarders.toml"), filepath.Join(e.state, "link.toml")), os.Symlink(e.etc, filepath.Join(e.state, "link")))
	before := snapshot(t, e.etc)
	for _, path := range []string{"link.toml", "link/forwarders.toml", "link/new.toml"} {
		e.configure(path)
		if out, err := e.run("forwarders", "--accept", e.accept); err == nil || !strings.Contains(out, "permission denied") {
			t.Errorf("%s: %v %s", path, err, out)
		}
	}
	if after := snapshot(t, e.etc); after != before {
		t.Errorf("root's files were\n%s\nand are\n%s", before, after)
	}
}
