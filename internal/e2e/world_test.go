// Package e2e tests Signpost as its users run it: the built programs, a real Postfix, and real clients.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/dkim"
	"signpost/internal/testdns"
	"signpost/internal/testmta"
	"signpost/keys"
)

// programs is the directory of signpost, built with the race detector. Its subdirectory plain has all programs, built without it.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	// scripts/machine sets SIGNPOST_PROGRAMS, because it runs the tests on a system without Go. With -short, every test is skipped.
	if programs = os.Getenv("SIGNPOST_PROGRAMS"); programs != "" || testing.Short() {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "signpost-e2e")
	if err = errors.Join(err, os.Chmod(dir, 0o755)); err != nil {
		panic(err)
	}
	programs = dir
	// Without this setting, a program with the race detector sleeps for a second before it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	// Programs without the race detector have the flags of make build, so that compiled packages are reused.
	for args, cgo := range map[string]string{"-race -o " + dir + "/ signpost/cmd/signpost": "1", "-trimpath -o " + dir + "/plain/ signpost/cmd/...": "0"} {
		build := exec.Command("go", strings.Fields("build "+args)...)
		build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED="+cgo), os.Stderr
		if err := build.Run(); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// world is a daemon and its Postfix.
type world struct {
	*testmta.MTA
	t      *testing.T
	dir    string
	config string
	daemon *daemon
	dns    *testdns.Server
	env    []string // environment of the daemon, in addition to the test's environment

	accepted int // number of messages that were accepted in the method send
}

type daemon struct {
	cmd  *exec.Cmd
	log  *buffer
	done chan struct{}
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type setup struct {
	config  string // TOML text that follows the settings for sockets and directories
	keys    string // lines of arguments for dkimkey add; empty: an RSA key for example.org that signs
	mta     testmta.Options
	program string // in the directory programs; empty: signpost
	zone    string // the DNS records: see testdns.Start
	timeout string // dns.timeout; empty: 5s
	message string // dns.message_timeout; empty: the default
	alone   bool   // not in parallel with other tests, which would affect the measurement
	env     []string
	before  []string // milters that run before ours, in the syntax of smtpd_milters
	after   []string // milters that run after ours
}

const addDefault = "example.org --unsafe-activate"

func needRoot(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Postfix and the built programs")
	}
	if os.Geteuid() != 0 {
		t.Skip("Postfix's master needs root")
	}
}

// newWorld starts a daemon with keys and a Postfix that uses it. trusted_networks includes loopback, but not the documentation networks,
// which tests use with XCLIENT.
func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	if !s.alone {
		t.Parallel()
	}
	needRoot(t)
	dir, err := os.MkdirTemp("", "signpost-world")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, config: filepath.Join(dir, "signpost.toml"), env: s.env}
	if w.dns, err = testdns.Start(s.zone); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.dns.Stop)
	if s.timeout == "" {
		s.timeout = "5s"
	}
	top, tables := s.config, ""
	if i := strings.Index(s.config, "["); i >= 0 && (i == 0 || strings.Contains(s.config, "\n[")) {
		if i = strings.Index("\n"+s.config, "\n["); i >= 0 {
			top, tables = s.config[:i], s.config[i:]
		}
	}
	text := fmt.Sprintf("listen = [\"unix:%s/milter.sock\"]\nstate_dir = \"%s/state\"\nauthserv_id = \"mx.example.org\"\n%s\n%s\n[dns]\nservers = [%q]\ntimeout = %q\n",
		dir, dir, top, tables, w.dns.Addr(), s.timeout)
	if s.message != "" {
		text += fmt.Sprintf("message_timeout = %q\n", s.message)
	}
	if err := os.WriteFile(w.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "state", "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if s.keys == "" {
		s.keys = addDefault
	}
	if s.keys != "none" {
		for line := range strings.Lines(s.keys) {
			w.dkimkey(append([]string{"add"}, strings.Fields(line)...)...)
		}
	}
	if s.program == "" {
		s.program = "signpost"
	}
	w.start(s.program)
	t.Cleanup(w.stop)
	if s.mta.Domains == nil {
		s.mta.Domains = []string{"example.org", "example.net"}
	}
	s.mta.Milters = strings.Join(slices.Concat(s.before, []string{"unix:" + dir + "/milter.sock"}, s.after), " ")
	s.mta.NonSMTPDMilters = s.mta.Milters
	if w.MTA, err = testmta.Start(t.Context(), s.mta); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", w.daemon.log)
			t.Logf("Postfix's log:\n%s", tail(w.Log()))
		}
		if err := w.MTA.Stop(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func tail(s string) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// start runs the daemon and waits until it accepts connections.
func (w *world) start(program string) {
	w.t.Helper()
	d := &daemon{cmd: exec.Command(filepath.Join(programs, program), "serve", "-c", w.config), log: &buffer{}, done: make(chan struct{})}
	d.cmd.Stderr, d.cmd.Stdout = d.log, d.log
	d.cmd.Env = append(os.Environ(), w.env...)
	if err := d.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait()
		close(d.done)
	}()
	w.daemon = d
	w.until("the daemon accepts connections", func() bool {
		select {
		case <-d.done:
			w.t.Fatalf("the daemon ended:\n%s", d.log)
		default:
		}
		return strings.Contains(d.log.String(), "signpost started")
	})
}

// stop ends the daemon as systemd does, and checks that the log has no text that a daemon must never log.
func (w *world) stop() {
	_ = w.daemon.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.daemon.done:
	case <-time.After(45 * time.Second):
		w.t.Error("the daemon did not end on SIGTERM")
		_ = w.daemon.cmd.Process.Kill()
		<-w.daemon.done
	}
	for _, bad := range []string{"DATA RACE", "panic", "internal error", "goroutine "} {
		if strings.Contains(w.daemon.log.String(), bad) {
			w.t.Errorf("the daemon's log contains %q:\n%s", bad, w.daemon.log)
		}
	}
}

// until checks a condition repeatedly until a deadline.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not in time: %s\nthe daemon's log:\n%s", what, w.daemon.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) dkimkey(args ...string) string {
	w.t.Helper()
	var out, errs bytes.Buffer
	c := exec.Command(filepath.Join(programs, "plain", "dkimkey"), append([]string{"-c", w.config}, args...)...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		w.t.Fatalf("dkimkey %q: %v\n%s", args, err, errs.String())
	}
	return out.String()
}

func (w *world) context() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), 60*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

// swaks sends a message and returns the transcript.
func (w *world) swaks(server string, args ...string) string {
	w.t.Helper()
	out, _ := testmta.Swaks(w.context(), append([]string{"--server", server, "--to", "bob@example.net"}, args...)...)
	return out
}

// client returns swaks' arguments for an external client, with a login if login is not empty.
func client(login string) []string {
	xclient := "ADDR=203.0.113.9 NAME=mail.stranger.example"
	if login != "" {
		xclient += " LOGIN=" + login
	}
	return []string{"--xclient", xclient, "--helo", "mail.stranger.example"}
}

// mail waits for the n-th message and returns the newest.
func (w *world) mail(n int) string {
	w.t.Helper()
	all, err := w.WaitMail(w.context(), n)
	if err != nil {
		w.t.Fatal(err)
	}
	return all[n-1]
}

// records returns the key records that dkimkey printed, by their names.
func (w *world) records() map[string]string {
	w.t.Helper()
	set, err := keys.Store{State: filepath.Join(w.dir, "state"), Dir: filepath.Join(w.dir, "state", "keys")}.Load(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	records := map[string]string{}
	for _, k := range set.All() {
		if k.Metadata != nil {
			records[keys.RecordName(k.Domain, k.Selector)] = k.Metadata.Record
		}
	}
	return records
}

// signatures verifies all signatures of a message with go-msgauth and the records that dkimkey printed. It returns "selector algorithm" for
// each signature, top to bottom.
func (w *world) signatures(mail string) []string {
	w.t.Helper()
	records := w.records()
	wire := dkim.CRLF(mail)
	results, err := msgauth.VerifyWithOptions(strings.NewReader(wire), &msgauth.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if r, ok := records[name]; ok {
			return []string{r}, nil
		}
		return nil, fmt.Errorf("no record at %s", name)
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, r := range results {
		if r.Err != nil {
			w.t.Errorf("the signature of %s does not verify: %v\n%s", r.Domain, r.Err, mail)
		}
		all = append(all, r.Domain)
	}
	return all
}

// signed checks that the message has exactly one signature, of domain, and that it verifies.
func (w *world) signed(mail, domain string) {
	w.t.Helper()
	if got := w.signatures(mail); len(got) != 1 || got[0] != domain {
		w.t.Errorf("signed by %q, want %q:\n%s", got, domain, head(mail))
	}
}

func (w *world) unsigned(mail string) {
	w.t.Helper()
	if got := w.signatures(mail); len(got) != 0 {
		w.t.Errorf("signed by %q, want no signature:\n%s", got, head(mail))
	}
}

// logged checks that a line in the daemon's log contains all of parts.
func (w *world) logged(parts ...string) {
	w.t.Helper()
	w.until(fmt.Sprintf("a log line with %q", parts), func() bool { return w.lines(parts...) > 0 })
}

// lines returns how many lines of the daemon's log contain all of parts.
func (w *world) lines(parts ...string) (n int) {
	for line := range strings.Lines(w.daemon.log.String()) {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			n++
		}
	}
	return n
}

func (w *world) refused(transcript, code string) {
	w.t.Helper()
	if !strings.Contains(transcript, "<** "+code) {
		w.t.Errorf("not rejected with %q:\n%s", code, transcript)
	}
}

// queueID returns the queue ID at the end of the reply that rejects a message. It returns "(none)" if the reply has no queue ID.
func queueID(transcript string) string {
	if id := regexp.MustCompile(`(?m)^<\*\* [45].* (\w+)\)\r?$`).FindStringSubmatch(transcript); id != nil {
		return id[1]
	}
	return "(none)"
}

func head(mail string) string {
	h, _, _ := strings.Cut(mail, "\n\n")
	return h
}

// field returns the values of a header field, top to bottom, unfolded.
func field(mail, name string) []string {
	var values []string
	for line := range strings.SplitSeq(strings.NewReplacer("\n\t", " ", "\n ", " ").Replace(head(mail)), "\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}
