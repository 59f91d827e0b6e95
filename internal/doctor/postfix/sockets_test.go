package postfix_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/doctor/postfix"
	"signpost/internal/setup"
	"signpost/internal/testmilter"
	"signpost/milter"
)

// queue is a queue directory with a socket, with the same permissions as in the package. The socket belongs to user "daemon", because that
// user exists on every system.
type queue struct {
	root, dir, socket string
	etc               string // of Postfix
	config            *config.Config
	wait              time.Duration
}

func newQueue(t *testing.T) *queue {
	if testing.Short() {
		t.Skip("runs postconf")
	}
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("files of other owners need root")
	}
	root, err := os.MkdirTemp("", "doctor") // other users cannot search the directory of t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	q := &queue{root: root, dir: root + "/spool", socket: root + "/spool/signpost/milter.sock", etc: root + "/etc", config: config.Default()}
	q.config.Listen = []config.Listener{{Network: "unix", Address: q.socket}}
	q.sh(t, "chmod 755 . && mkdir -m 755 etc spool && mkdir -m 2710 spool/signpost && chown daemon:postfix spool/signpost && chmod 2710 spool/signpost")
	q.postfix(t, "unix:signpost/milter.sock", "y")
	return q
}

func (q *queue) postfix(t *testing.T, address, chroot string) {
	t.Helper()
	for name, text := range map[string]string{
		"main.cf":   "compatibility_level = 3.6\nmyhostname = mx.example.org\nqueue_directory = " + q.dir + "\nsmtpd_milters = " + address + "\n",
		"master.cf": "smtp inet n - " + chroot + " - - smtpd\ncleanup unix n - " + chroot + " - 0 cleanup\n",
	} {
		file := filepath.Join(q.etc, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		// Postfix waits up to two seconds before it reads a file that has just been written.
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}

// listen creates the socket as the daemon does, with owner daemon.
func (q *queue) listen(t *testing.T) net.Listener {
	t.Helper()
	mode, group := q.config.Rights(q.config.Listen[0])
	ln, err := milter.Listen("unix", q.socket, mode, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	q.sh(t, "chown daemon spool/signpost/milter.sock")
	return ln
}

func (q *queue) sh(t *testing.T, line string) {
	t.Helper()
	c := exec.Command("sh", "-ec", line)
	c.Dir = q.root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// find returns the findings of a check that are not green.
func (q *queue) find(t *testing.T, check string) (all []doctor.Finding) {
	t.Helper()
	wait := cmp.Or(q.wait, 20*time.Second)
	if check != "socket-answers" {
		wait = time.Millisecond // this check needs no answer
	}
	facts := setup.PostfixFacts(q.config, file, q.etc)
	facts.User, facts.Wait = "daemon", wait
	list := slices.DeleteFunc(postfix.Checks(facts), func(c doctor.Check) bool { return c.Name != "postfix" && c.Name != check })
	for _, f := range doctor.Run(t.Context(), list) {
		if f.Check == check && f.Level != doctor.Green {
			all = append(all, f)
		}
	}
	return all
}

// connects reports whether Postfix's user can connect to a socket. Like chroot_uid() of Postfix, it first changes to the queue directory,
// or calls chroot(2) with it.
func (q *queue) connects(t *testing.T, address string, chroot bool) bool {
	t.Helper()
	c := exec.Command("/proc/self/exe", "-test.run=^TestConnectAsPostfix$")
	c.Env = append(os.Environ(), "CONNECT_DIR="+q.dir, "CONNECT_TO="+address, fmt.Sprint("CONNECT_CHROOT=", chroot))
	out, err := c.CombinedOutput()
	switch {
	case err == nil && strings.Contains(string(out), "connected"):
		return true
	case err == nil && strings.Contains(string(out), "permission denied"):
		return false
	}
	t.Fatalf("%v\n%s", err, out)
	return false
}

// TestConnectAsPostfix is the child process of connects.
func TestConnectAsPostfix(t *testing.T) {
	dir := os.Getenv("CONNECT_DIR")
	if dir == "" {
		return // the other tests run this test
	}
	who, err := doctor.LookupAccount("postfix")
	if err != nil {
		t.Fatal(err)
	}
	groups := make([]int, len(who.GIDs))
	for i, g := range who.GIDs {
		groups[i] = int(g)
	}
	if os.Getenv("CONNECT_CHROOT") == "true" {
		if err := syscall.Chroot(dir); err != nil {
			t.Fatal(err)
		}
		dir = "/"
	}
	for _, err := range []error{os.Chdir(dir), syscall.Setgroups(groups), syscall.Setgid(groups[0]), syscall.Setuid(int(who.UID))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := net.Dial("unix", os.Getenv("CONNECT_TO"))
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Close()
	fmt.Println("connected")
}

// For each mode and owner, the check has the same result as connect(2). It names the file or directory that denies access, and its Fix
// allows access.
func TestSocketAccess(t *testing.T) {
	const socket, dir = "spool/signpost/milter.sock", "spool/signpost"
	for _, c := range []struct {
		name, sh string
		absolute bool   // Postfix has no chroot and uses the absolute path
		place    string // the file or directory that denies access; empty: none
	}{
		{name: "as the package makes it"},
		{name: "the socket of another group", sh: "chgrp root " + socket, place: socket},
		{name: "the socket for its owner alone", sh: "chmod 0600 " + socket, place: socket},
		{name: "the socket for all users", sh: "chown root:root " + socket + "; chmod 0666 " + socket},
		{name: "the socket for all but its group", sh: "chmod 0606 " + socket, place: socket},
		{name: "the socket readable alone", sh: "chmod 0640 " + socket, place: socket},
		{name: "the socket is Postfix's and only others may", sh: "chown postfix:root " + socket + "; chmod 0066 " + socket, place: socket},
		{name: "the directory of another group", sh: "chgrp root " + dir, place: dir},
		{name: "the directory for its owner alone", sh: "chmod 0700 " + dir, place: dir},
		{name: "the directory listable and no more", sh: "chmod 2740 " + dir, place: dir},
		{name: "the directory for all but its group", sh: "chmod 0701 " + dir, place: dir},
		{name: "the directory for all users", sh: "chown root:root " + dir + "; chmod 0711 " + dir},
		{name: "the queue directory closed", sh: "chmod 0700 spool", place: "spool"},
		{name: "a directory above the chroot closed", sh: "chmod 0700 ."},
		{name: "a directory above, without a chroot", sh: "chmod 0700 .", absolute: true, place: "."},
		{name: "without a chroot", absolute: true},
		{name: "a link on the way to a closed directory", sh: "mkdir -m 700 shut; mv spool/signpost shut/; ln -s ../shut/signpost spool/signpost", absolute: true, place: "shut"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.listen(t)
			address := "signpost/milter.sock"
			if c.absolute {
				address = q.socket
				q.postfix(t, "unix:"+address, "n")
			}
			q.sh(t, cmp.Or(c.sh, ":"))
			if open := q.connects(t, address, !c.absolute); open != (c.place == "") {
				t.Fatalf("Postfix can connect: %v", open)
			}
			found := q.find(t, "socket-access")
			if c.place == "" {
				if len(found) > 0 && found[0].Level == doctor.Red {
					t.Errorf("a finding although Postfix can connect: %+v", found)
				}
				return
			}
			place := filepath.Join(q.root, c.place)
			if len(found) != 1 || found[0].Level != doctor.Red || !strings.HasPrefix(found[0].Where, place+": owner ") || !strings.Contains(found[0].Fix, "'"+place+"'") {
				t.Fatalf("got %+v, want one finding about %s", found, place)
			}
			q.sh(t, found[0].Fix)
			if !q.connects(t, address, !c.absolute) {
				t.Errorf("Postfix still cannot connect after %s", found[0].Fix)
			}
			if found := q.find(t, "socket-access"); len(found) > 0 {
				t.Errorf("after the fix: %+v", found)
			}
		})
	}
}

// If signpost.toml sets the permissions, a chmod would last only until the next start. The Fix is therefore a line for signpost.toml.
func TestSocketRightsInTheConfiguration(t *testing.T) {
	for _, c := range []struct{ name, toml, fix string }{
		{"group", "socket_group = \"root\"", "socket_group = \"postfix\" # then: "},
		{"mode", "socket_mode = \"0600\"", "socket_mode = \"0660\" # then: "},
		{"both", "socket_mode = \"0600\"\nsocket_group = \"root\"", "socket_group = \"postfix\"\nsocket_mode = \"0660\" # then: "},
		{"its own", "listen = [{ socket = \"unix:SOCKET\", mode = \"0600\" }]", "{ socket = \"unix:SOCKET\", mode = \"0660\", group = \"postfix\" } # then: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			toml := func(text string) {
				t.Helper()
				if !strings.HasPrefix(text, "listen") {
					text += "\nlisten = [\"unix:SOCKET\"]"
				}
				conf, err := config.Parse("signpost.toml", []byte(strings.ReplaceAll(text, "SOCKET", q.socket)))
				if err != nil {
					t.Fatal(err)
				}
				q.config = conf
			}
			toml(c.toml)
			ln := q.listen(t)
			want := strings.ReplaceAll(c.fix, "SOCKET", q.socket)
			found := q.find(t, "socket-access")
			if len(found) != 1 || found[0].Level != doctor.Red || !strings.HasPrefix(found[0].Fix, want) {
				t.Fatalf("got %+v, want the fix %s", found, want)
			}
			q.sh(t, "chgrp postfix spool/signpost/milter.sock; chmod 0660 spool/signpost/milter.sock")
			if found := q.find(t, "socket-access"); len(found) != 1 || found[0].Level != doctor.Yellow || !strings.HasPrefix(found[0].Fix, want) {
				t.Errorf("after chmod, which lasts until the next start: %+v", found)
			}
			ln.Close()
			line, _, _ := strings.Cut(want, " # ")
			if strings.HasPrefix(line, "{") {
				line = "listen = [" + line + "]"
			}
			toml(line)
			q.listen(t)
			if found := q.find(t, "socket-access"); len(found) > 0 {
				t.Errorf("after the fix: %+v", found)
			}
		})
	}
}

// A daemon that cannot set the group of its socket does not start. Its user must be a member of the group, or the directory must set the
// group.
func TestSocketGroupThatCannotBeGiven(t *testing.T) {
	for _, c := range []struct{ name, group, sh, want, fix string }{
		{"set by the directory", "postfix", ":", "", ""},
		{"a group that the daemon is not in", "users", ":", "cannot change the group of the socket ", "socket_group = \"postfix\" # then: "},
		{"a directory that does not set the group", "postfix", "chown daemon:daemon spool/signpost; chmod 0711 spool/signpost", "cannot change the group of the socket ", "chgrp postfix '"},
		{"a group of the daemon's own", "daemon", ":", "user postfix will not be able to write", "socket_group = \"postfix\" # then: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.config.SocketGroup = c.group
			q.sh(t, c.sh)
			found := q.find(t, "socket-access")
			if c.want == "" {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Level != doctor.Red || !strings.Contains(found[0].What, c.want) || !strings.HasPrefix(found[0].Fix, c.fix) {
				t.Errorf("got %+v, want %q with the fix %s", found, c.want, c.fix)
			}
		})
	}
}

// The daemon can follow a link that leads out of the chroot, but Postfix cannot.
func TestSocketBehindALink(t *testing.T) {
	q := newQueue(t)
	q.sh(t, "mv spool/signpost run; ln -s "+q.root+"/run spool/signpost")
	q.listen(t)
	found := q.find(t, "socket-access")
	if len(found) != 1 || found[0].Level != doctor.Red || !strings.Contains(found[0].What, "out of Postfix's chroot") || !strings.Contains(found[0].Where, q.root+"/run") {
		t.Errorf("%+v", found)
	}
}

// A socket that is not in Postfix's lists may deny access to Postfix.
func TestSocketOfOthers(t *testing.T) {
	q := newQueue(t)
	q.listen(t)
	q.config.Listen = append(q.config.Listen, config.Listener{Network: "unix", Address: q.root + "/shut/relay.sock"})
	q.sh(t, "mkdir -m 700 shut")
	if found := q.find(t, "socket-access"); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}

func TestSocketAnswers(t *testing.T) {
	const start = "signpost"
	serve := func(t *testing.T, q *queue, said string) {
		ln := q.listen(t)
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_, _ = io.WriteString(c, said)
					_, _ = io.Copy(io.Discard, c)
				}()
			}
		}()
	}
	for _, c := range []struct {
		name, what, fix string
		prepare         func(t *testing.T, q *queue)
	}{
		{"it runs", "", "", func(t *testing.T, q *queue) {
			ctx, stop := context.WithCancel(context.Background())
			t.Cleanup(stop)
			server := milter.NewServer(milter.Options{Log: slog.New(slog.DiscardHandler)})
			ln := q.listen(t)
			go func() { _ = server.Serve(ctx, ln) }()
		}},
		{"no socket", "does not exist: the daemon is not running", start, func(*testing.T, *queue) {}},
		{"no directory", "does not exist: the daemon is not running", start, func(t *testing.T, q *queue) { q.sh(t, "rmdir spool/signpost") }},
		{"killed", "the daemon is not running: connection refused", start, func(t *testing.T, q *queue) {
			ln := q.listen(t)
			ln.(*net.UnixListener).SetUnlinkOnClose(false)
			ln.Close()
		}},
		{"a file", "is not a socket", "mv ", func(t *testing.T, q *queue) { q.sh(t, "echo >spool/signpost/milter.sock") }},
		{"another milter", "another milter answers", "ss -lxp src ", func(t *testing.T, q *queue) {
			serve(t, q, string(testmilter.Packet('O', "\x00\x00\x00\x06\x00\x00\x01\x3f\x00\x00\x00\x00")))
		}},
		{"no milter", "is not a milter", "ss -lxp src ", func(t *testing.T, q *queue) { serve(t, q, "220 mx.example.org ESMTP\r\n") }},
		{"it hangs", "timeout: no answer", start, func(t *testing.T, q *queue) {
			q.wait = 50 * time.Millisecond
			serve(t, q, "")
		}},
		{"nothing on a port", "connection refused at 127.0.0.1:", start, func(t *testing.T, q *queue) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			q.config.Listen = []config.Listener{{Network: "tcp", Address: ln.Addr().String()}}
			ln.Close()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			c.prepare(t, q)
			found := q.find(t, "socket-answers")
			if c.what == "" {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Level != doctor.Red || !strings.Contains(found[0].What, c.what) || !strings.Contains(found[0].Fix, c.fix) {
				t.Errorf("got %+v, want %q and a fix with %q", found, c.what, c.fix)
			}
		})
	}
}
