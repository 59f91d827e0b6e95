package postfix_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/doctor/postfix"
	"signpost/internal/testmilter"
	"signpost/milter"
)

// An entry is correct if Postfix connects to the address on which the daemon listens. The same port on another loopback address is another
// socket. After the Fix, Postfix connects to the daemon.
func TestSocketNames(t *testing.T) {
	hosts := map[string]string{"localhost": "127.0.0.1 ::1", "four.example.org": "192.0.2.7", "milter.example.org": "198.51.100.1"}
	for _, c := range []struct {
		listen, name string
		main         string
		fix          string // the new value of smtpd_milters, or the line for signpost.toml; empty: the entry is correct
		missing      bool   // the entry is not one of our sockets: the check smtpd-milters reports it
	}{
		{listen: "inet:127.0.0.1:8891", name: "inet:127.0.0.1:8891"},
		{listen: "inet:127.0.0.1:8891", name: "inet:localhost:8891"},
		{listen: "inet:[::1]:8891", name: "inet:localhost:8891"},
		{listen: "inet:localhost:8891", name: "inet:127.0.0.1:8891"},
		{listen: "inet:0.0.0.0:8891", name: "inet:127.0.0.2:8891"},
		{listen: "inet:0.0.0.0:8891", name: "inet:192.0.2.7:8891"},
		{listen: "inet:[::]:8891", name: "inet:127.0.0.1:8891"},
		{listen: "inet:192.0.2.7:8891", name: "inet:four.example.org:8891"},
		{listen: "inet:127.0.0.1:25", name: "inet:127.0.0.1:smtp"},
		{listen: "inet:milter.example.org:8891", name: "inet:milter.example.org:8891"},
		{listen: "inet:none.example.org:8891", name: "inet:none.example.org:8891"},
		{listen: "inet:127.0.0.1:8891", name: "{ inet:127.0.0.1:8891, connect_timeout=10s }"},
		{listen: "inet:127.0.0.1:8891", name: "{inet:127.0.0.1:8891 {connect_timeout = 10s}}"},

		{listen: "inet:127.0.0.1:8891", name: "inet:[::1]:8891", fix: "inet:127.0.0.1:8891"},
		{listen: "inet:[::1]:8891", name: "inet:127.0.0.1:8891", fix: "inet:[::1]:8891"},
		{listen: "inet:127.0.0.1:8891", name: "inet:127.0.0.2:8891", fix: "inet:127.0.0.1:8891"},
		{listen: "inet:127.0.0.2:8891", name: "inet:127.0.0.1:8891", fix: "inet:127.0.0.2:8891"},
		{listen: "inet:127.0.0.2:8891", name: "inet:localhost:8891", fix: "inet:127.0.0.2:8891"},
		{listen: "inet:localhost:8891", name: "inet:[::1]:8891", fix: "inet:localhost:8891"},
		{listen: "inet:127.0.0.1:8891", name: "inet:192.0.2.7:8891", fix: "inet:127.0.0.1:8891"},
		{listen: "inet:0.0.0.0:8891", name: "inet:[::1]:8891", fix: "inet:127.0.0.1:8891"},
		{listen: "inet:[::1]:8891", name: "inet:localhost:8891", main: "inet_protocols = ipv4\n", fix: `listen = ["inet:127.0.0.1:8891"]`},
		{listen: "inet:127.0.0.1:8891", name: "inet:signpost.example.org:8891", fix: "inet:127.0.0.1:8891"},
		{listen: "inet:127.0.0.1:8891", name: "{ inet:[::1]:8891, connect_timeout=10s }", fix: "{ inet:127.0.0.1:8891, connect_timeout=10s }"},
		{listen: "inet:127.0.0.1:8891", name: `"inet:127.0.0.1:8891"`, fix: "inet:127.0.0.1:8891"},
		{listen: "inet:127.0.0.1:8891", name: `'inet:[::1]:8891'`, fix: "inet:127.0.0.1:8891"},
		{listen: "inet:127.0.0.1:8891", name: `"inet:192.0.2.8:11332, inet:127.0.0.1:8891"`, fix: "inet:192.0.2.8:11332, inet:127.0.0.1:8891"},
		{listen: "inet:127.0.0.1:8891", name: `"{ inet:127.0.0.1:8891, connect_timeout=10s }"`, fix: "{ inet:127.0.0.1:8891, connect_timeout=10s }"},
		{listen: "inet:127.0.0.1:8891", name: `{ "inet:127.0.0.1:8891", connect_timeout=10s }`, fix: "{ inet:127.0.0.1:8891, connect_timeout=10s }"},
		{listen: "inet:127.0.0.1:8891", name: "{ inet:127.0.0.1:8891, connect_timeout = 10s, protocol= 6 }", fix: "{ inet:127.0.0.1:8891, connect_timeout=10s, protocol=6 }"},
		{listen: "inet:127.0.0.1:8891", name: "{ inet:127.0.0.1:8891, timeout=10s }", fix: "inet:127.0.0.1:8891"},
		{listen: "inet:127.0.0.1:8891", name: "INET:127.0.0.1:8891", fix: "inet:127.0.0.1:8891"},
		{listen: "unix:/var/spool/postfix/signpost/milter.sock", name: `"unix:signpost/milter.sock"`, fix: "unix:signpost/milter.sock"},

		{listen: "inet:127.0.0.1:8891", name: "inet:192.0.2.8:8891", missing: true},
		{listen: "inet:127.0.0.1:8891", name: "inet:milter.example.org:8891", missing: true},
		{listen: "inet:127.0.0.1:8891", name: "inet:127.0.0.1:8892", missing: true},
	} {
		t.Run(c.listen+" "+c.name+" "+c.main, func(t *testing.T) {
			t.Parallel()
			p := postfixCase{main: c.main + "smtpd_milters = " + c.name + "\n-- signpost.toml --\nlisten = [\"" + c.listen + "\"]\n"}.site(t)
			find := func() []doctor.Finding {
				facts := p.facts()
				facts.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.7")}
				facts.Lookup = func(_ context.Context, host string) (all []netip.Addr, err error) {
					for a := range strings.FieldsSeq(hosts[host]) {
						all = append(all, netip.MustParseAddr(a))
					}
					if len(all) == 0 {
						err = errors.New("no such host")
					}
					return all, err
				}
				list := slices.DeleteFunc(postfix.Checks(facts), func(c doctor.Check) bool {
					return !slices.Contains([]string{"postfix", "smtpd-milters", "non-smtpd-milters", "socket-path"}, c.Name)
				})
				return slices.DeleteFunc(doctor.Run(t.Context(), list), func(f doctor.Finding) bool { return f.Level == doctor.Green })
			}
			old(t, p)
			found := find()
			check := "socket-path"
			switch {
			case c.missing:
				check = "smtpd-milters non-smtpd-milters"
				c.fix = c.name + ", " + c.listen
			case c.fix == "":
				if len(found) > 0 {
					t.Errorf("the entry is correct: %+v", found)
				}
				return
			}
			want := "postconf -c '" + p.Dir + "' -e 'smtpd_milters = " + c.fix + "'"
			if strings.HasPrefix(c.fix, "listen") {
				want = c.fix
			}
			if checks(found) != check || found[0].Level != doctor.Red || found[0].Fix != want {
				t.Fatalf("got %+v, want %s with the fix %s", found, check, want)
			}
			if want == c.fix {
				var err error
				if p.Config, err = config.Parse(file, []byte(want)); err != nil {
					t.Fatal(err)
				}
			} else {
				shell(t, want)
			}
			if found := find(); len(found) > 0 {
				t.Errorf("after the fix: %+v", found)
			}
		})
	}
}

// answers returns the findings of socket-answers for a Postfix with the given smtpd_milters.
func answers(t *testing.T, listen, milters string) []doctor.Finding {
	t.Helper()
	p := postfixCase{main: "smtpd_milters = " + milters + "\n-- signpost.toml --\nlisten = [\"" + listen + "\"]\n"}.site(t)
	old(t, p)
	facts := p.facts()
	facts.Wait = 10 * time.Second
	list := slices.DeleteFunc(postfix.Checks(facts), func(c doctor.Check) bool { return c.Name != "postfix" && c.Name != "socket-answers" })
	return doctor.Run(t.Context(), list)[1:]
}

// listening returns the address of a listener that serve handles.
func listening(t *testing.T, address string, serve func(net.Listener)) string {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { ln.Close() })
	go serve(ln)
	return ln.Addr().String()
}

func signpost(t *testing.T) func(net.Listener) {
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	server := milter.NewServer(milter.Options{Log: slog.New(slog.DiscardHandler)})
	return func(ln net.Listener) { _ = server.Serve(ctx, ln) }
}

func another(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write(testmilter.Packet('O', "\x00\x00\x00\x06\x00\x00\x01\x3f\x00\x00\x00\x00"))
		go func() { defer c.Close(); _, _ = io.Copy(io.Discard, c) }()
	}
}

// The check connects to the address that Postfix uses, because another program may listen there.
func TestSocketAnswersAtPostfixsName(t *testing.T) {
	at := listening(t, "127.0.0.1:0", signpost(t))
	_, port, _ := net.SplitHostPort(at)
	green := func(listen, milters string) {
		t.Helper()
		found := answers(t, listen, milters)
		name := strings.Trim(strings.TrimSuffix(milters, ", connect_timeout=10s }"), "{ ")
		if len(found) != 1 || found[0].Level != doctor.Green || found[0].What != "Signpost answers at "+name {
			t.Errorf("%s: %+v", milters, found)
		}
	}
	red := func(listen, milters, what, where string) {
		t.Helper()
		found := answers(t, listen, milters)
		if len(found) != 1 || found[0].Level != doctor.Red || !strings.Contains(found[0].What, what) || !strings.Contains(found[0].Where, where) || found[0].Fix == "" {
			t.Errorf("%s: got %+v, want %q", milters, found, what)
		}
	}
	green("inet:"+at, "inet:"+at)
	green("inet:"+at, "inet:localhost:"+port)
	green("inet:"+at, "{ inet:localhost:"+port+", connect_timeout=10s }")
	listening(t, "127.0.0.2:"+port, another)
	red("inet:0.0.0.0:"+port, "inet:127.0.0.2:"+port, "another milter answers at 127.0.0.2:"+port, "inet:127.0.0.2:"+port)

	closed := listening(t, "127.0.0.1:0", func(ln net.Listener) { ln.Close() })
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); {
		c, err := net.Dial("tcp", closed)
		if err != nil {
			break
		}
		c.Close()
	}
	red("inet:"+closed, "inet:"+closed, "connection refused at "+closed, "connection refused")
	red("inet:"+at, "inet:"+closed+", inet:"+at, "nothing listens at inet:"+closed+", a milter in smtpd_milters of smtp/inet", "main.cf: smtpd_milters")
}

// A daemon that was not restarted after a change of listen still listens on the old address. The daemon is already running, so the Fix
// restarts it.
func TestListenChanged(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	free := ln.Addr().String()
	ln.Close()
	found := answers(t, "inet:"+free, "inet:"+free)
	if len(found) != 1 || !strings.Contains(found[0].What, "was not restarted after a change of listen") || !strings.Contains(found[0].Fix, "restart") && !strings.HasPrefix(found[0].Fix, "pkill -x signpost; ") {
		t.Errorf("%+v", found)
	}
}

// If a milter in Postfix's list is not running, Postfix applies milter_default_action to all mail. The list in the Fix contains Signpost,
// even if Postfix's list does not.
func TestDeadMilterFix(t *testing.T) {
	dead := "unix:" + filepath.Join(t.TempDir(), "none")
	at := listening(t, "127.0.0.1:0", signpost(t))
	found := answers(t, "inet:"+at, strings.Replace(dead, "unix:", "unix:../../..", 1))
	if len(found) != 1 || !strings.Contains(found[0].Fix, " -e 'smtpd_milters = inet:"+at+"' # or start this milter") {
		t.Errorf("got %+v", found)
	}
	found = answers(t, "inet:"+at, "{ "+dead+", default_action=accept }, inet:"+at)
	if len(found) != 1 || found[0].Level != doctor.Yellow {
		t.Errorf("a dead milter with default_action=accept: %+v", found)
	}
}

// old sets an old modification time of main.cf. Postfix does not read a file that was changed less than two seconds ago, because the file
// may still be incomplete.
func old(t *testing.T, p site) {
	t.Helper()
	before := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(p.Dir, "main.cf"), before, before); err != nil {
		t.Fatal(err)
	}
}
