package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/cli"
	"signpost/internal/cluster/control"
	"signpost/internal/decision"
	"signpost/internal/journal"
	"signpost/keys"
	"signpost/milter"
)

// site is an installation in a temporary directory: a milter server, a key of example.org that signs, a run of rotate and a journal.
type site struct {
	*testing.T
	Source
	store  keys.Store
	dir    string
	now    time.Time
	socket string
	closed func() // stops the server
}

func newSite(t *testing.T) *site {
	dir, err := os.MkdirTemp("", "monitor")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A check that has timed out may still create files beside the journal.
		for deadline := time.Now().Add(10 * time.Second); os.RemoveAll(dir) != nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s cannot be removed", dir)
				return
			}
		}
	})
	s := &site{T: t, dir: dir, now: time.Now(), socket: filepath.Join(dir, "s")}
	clock := func() time.Time { return s.now }
	s.store = keys.Store{State: dir, Dir: filepath.Join(dir, "keys"), Now: clock}
	s.must(s.store.Make())
	file := filepath.Join(dir, "journal.db")
	s.Source = Source{
		Sockets: []Socket{{"unix", s.socket}},
		Keys:    func() (*keys.Set, error) { return s.store.Load(nil) }, Hosted: s.store.Hosted, LastRun: s.store.LastRun,
		Rules:         func(string) keys.Rules { return keys.Rules{Algorithms: []string{"ed25519"}, Method: "rfc2136"} },
		Journal:       &Journal{File: file, MaxSize: 64 << 20, Open: func() (*journal.Reader, error) { return journal.OpenReader(file) }},
		RotateWarning: 26 * time.Hour, RotateCritical: 72 * time.Hour, Timeout: 10 * time.Second, Now: clock,
	}
	s.serve()
	s.key("s1", true)
	s.ran(keys.LastRun{At: s.now})
	s.message(file)
	return s
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) serve() {
	ln, err := net.Listen("unix", s.socket)
	s.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	server := milter.NewServer(milter.Options{Log: slog.New(slog.DiscardHandler)})
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	s.closed = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
		server.Drain(ctx)
	})
	s.Cleanup(s.closed)
}

// key creates a key of example.org. If active is true, the key signs, and its record was seen.
func (s *site) key(selector string, active bool) {
	_, err := s.store.Create(keys.Options{Domain: "example.org", Selector: selector, Algorithm: "ed25519", Publish: "rfc2136"})
	s.must(err)
	if !active {
		return
	}
	m, err := s.store.Activate("example.org", selector)
	s.must(err)
	m.Seen = m.Activated
	text, err := json.Marshal(m)
	s.must(err)
	s.must(os.WriteFile(s.file("keys/example.org/"+selector+".json"), text, 0o600))
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

func (s *site) ran(last keys.LastRun) {
	text, err := json.Marshal(last)
	s.must(err)
	s.must(s.store.WriteState("rotate.json", text))
}

func (s *site) message(file string) {
	j := journal.Open(journal.Options{Path: file, Limits: journal.Limits{Keep: 24 * time.Hour, MaxSize: 64 << 20}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	j.Add(&decision.Record{})
	j.Close()
}

// metrics serves a text as the daemon's metrics.
func (s *site) metrics(text string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }))
	s.Cleanup(server.Close)
	s.Metrics = strings.TrimPrefix(server.URL, "http://")
}

// line returns the text of the check and its performance data. Values that differ between runs are replaced by N.
func (s *site) line() (text, data string) {
	line := strings.ReplaceAll(Check(s.Context(), s.Source).String(), s.dir, "DIR")
	text, data, _ = strings.Cut(line, " | ")
	data = regexp.MustCompile(`(answer|journal_size)=[0-9.]+`).ReplaceAllString(data, "$1=N")
	return text, data
}

const lostMetrics = "# TYPE signpost_journal_lost_total counter\nsignpost_journal_lost_total{cause=\"queue_full\"} 3\n" +
	"# TYPE signpost_journal_lost_timestamp_seconds gauge\nsignpost_journal_lost_timestamp_seconds %d\n"

// Each fault is in the line. The worst state is the state of the report, and its problem comes first.
func TestStates(t *testing.T) {
	hour := time.Hour
	for _, c := range []struct {
		name  string
		state cli.PluginState
		fault func(s *site)
		want  string
	}{
		{"good", cli.OK, func(*site) {}, "the daemon answers; signing keys 1 for hosted domains 1; dkimkey rotate succeeded 0 s ago; journal 0 MiB, last message 0 s ago"},
		{"observe mode", cli.OK, func(s *site) { s.Observe = true }, "the daemon answers; signing keys 1 for hosted domains 1; dkimkey rotate succeeded 0 s ago; journal 0 MiB, last message 0 s ago; observe mode"},
		{"without keys", cli.OK, func(s *site) {
			s.must(os.RemoveAll(s.file("keys/example.org")))
			s.must(os.RemoveAll(s.file("hosted")))
		},
			"the daemon answers; no domain has a signing key; journal 0 MiB, last message 0 s ago"},
		{"cluster", cli.OK, func(s *site) { s.cluster(control.Status{At: s.now}) }, "the daemon answers; signing keys 1 for hosted domains 1; dkimkey rotate succeeded 0 s ago; journal 0 MiB, last message 0 s ago; 2 hosts in the cluster"},
		{"cluster stopped", cli.Warning, func(s *site) {
			s.cluster(control.Status{At: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC).AddDate(-1, 0, 0)})
		},
			"signpost-cluster is not running: it last wrote its state at 2025-12-01T00:00:00Z"},
		{"cluster never ran", cli.Warning, func(s *site) { s.Source.Cluster = s.file("none") }, "signpost-cluster has never run on this host"},
		{"journal disabled", cli.OK, func(s *site) { s.Journal = nil }, "the daemon answers; signing keys 1 for hosted domains 1; dkimkey rotate succeeded 0 s ago; journal disabled"},
		{"no daemon", cli.Critical, func(s *site) {
			s.closed()
			s.serve()
			s.Sockets = []Socket{{"unix", s.socket}, {"unix", s.file("none")}}
		},
			"the daemon does not answer at DIR/none: no such file or directory"},
		{"another milter", cli.Critical, func(s *site) { s.Sockets = append(s.Sockets, Socket{"unix", s.other()}) }, "another milter answers at DIR/other"},
		{"no keys directory", cli.Critical, func(s *site) { s.must(os.RemoveAll(s.file("keys"))) },
			"keys: the keys directory DIR/keys does not exist; `dkimkey add DOMAIN` creates it"},
		{"key lost", cli.Critical, func(s *site) { s.must(os.RemoveAll(s.file("keys/example.org"))) },
			"example.org: no active key for a hosted domain: dkimkey add example.org"},
		{"key damaged", cli.Critical, func(s *site) { s.must(os.WriteFile(s.file("keys/example.org/s1.pem"), []byte("x"), 0o600)) },
			"example.org: no active key for a hosted domain: correct the key above; example.org s1: cannot be used: DIR/keys/example.org/s1.pem: no PEM block found; expected a private key in PKCS#8 or PKCS#1 format, as openssl genpkey writes it"},
		{"record not published", cli.Warning, func(s *site) { s.key("s2", false); s.later(30 * hour); s.ran(keys.LastRun{At: s.now}) },
			"example.org s2: its record has been unpublished since DATE: dkimkey rotate example.org prints the reason"},
		{"misplaced", cli.Warning, func(s *site) { s.must(os.WriteFile(s.file("keys/a|b.pem"), []byte("x"), 0o600)) },
			"DIR/keys/a/b.pem: key file is outside of a domain's directory and is not used"},
		{"rotate is late", cli.Warning, func(s *site) { s.later(27 * hour) }, "dkimkey rotate succeeded 27 h ago: check dkimkey-rotate.timer, or run dkimkey rotate to see the cause"},
		{"rotate is late, as configured", cli.OK, func(s *site) { s.later(27 * hour); s.RotateWarning = 0 }, "the daemon answers; signing keys 1 for hosted domains 1; dkimkey rotate succeeded 27 h ago; journal 0 MiB, last message 27 h ago"},
		{"rotate is very late", cli.Critical, func(s *site) { s.later(80 * hour) }, "dkimkey rotate succeeded 3 days ago: check dkimkey-rotate.timer, or run dkimkey rotate to see the cause"},
		{"rotate fails", cli.Critical, func(s *site) {
			s.later(80 * hour)
			s.ran(keys.LastRun{At: s.now.Add(-hour), Success: s.now.Add(-80 * hour), Failed: true})
		},
			"dkimkey rotate succeeded 3 days ago, and failed 60 min ago: check dkimkey-rotate.timer, or run dkimkey rotate to see the cause"},
		{"rotate never ran", cli.Warning, func(s *site) { s.later(30 * hour); s.must(os.Remove(s.file("rotate.json"))) },
			"dkimkey rotate has not succeeded yet, and the oldest key is 30 h old: check dkimkey-rotate.timer, or run dkimkey rotate to see the cause"},
		{"rotate in the future", cli.Warning, func(s *site) { s.ran(keys.LastRun{At: s.now.Add(48 * hour)}) }, "the last dkimkey rotate is in the future: check the clock"},
		{"rotate.json damaged", cli.Warning, func(s *site) { s.must(s.store.WriteState("rotate.json", []byte("x"))) }, "rotate: DIR/rotate.json is damaged; the next dkimkey rotate writes it again"},
		{"no journal", cli.Warning, func(s *site) { s.must(os.Remove(s.file("journal.db"))) }, "journal: DIR/journal.db: there is no journal here yet; signpost serve creates it"},
		{"journal renamed", cli.Warning, func(s *site) { s.must(os.WriteFile(s.file("journal.db.broken"), nil, 0o600)) },
			"journal: it was damaged and a new one was created; delete DIR/journal.db.broken when you do not need it"},
		{"messages lost", cli.Warning, func(s *site) { s.metrics(fmt.Sprintf(lostMetrics, s.now.Unix()-600)) }, "journal: 3 messages lost since the daemon started, the last one 10 min ago"},
		{"messages lost before", cli.OK, func(s *site) { s.metrics(fmt.Sprintf(lostMetrics, s.now.Unix()-7200)) },
			"the daemon answers; signing keys 1 for hosted domains 1; dkimkey rotate succeeded 0 s ago; journal 0 MiB, last message 0 s ago"},
		{"no metrics", cli.Warning, func(s *site) { s.Metrics = "127.0.0.1:1" }, "no metrics at 127.0.0.1:1 (metrics.listen), so it is not known whether the journal lost messages"},
		{"two faults", cli.Critical, func(s *site) { s.later(27 * hour); s.must(os.RemoveAll(s.file("keys/example.org/s1.pem"))) },
			"example.org: no active key for a hosted domain: correct the key above; example.org s1: cannot be used: cannot open DIR/keys/example.org/s1.pem: no such file or directory; " +
				"dkimkey rotate succeeded 27 h ago: check dkimkey-rotate.timer, or run dkimkey rotate to see the cause"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c.fault(s)
			text, _ := s.line()
			text = regexp.MustCompile(`\b20\d\d-\d\d-\d\d\b`).ReplaceAllString(text, "DATE")
			text = regexp.MustCompile(`last message [0-9]+ s`).ReplaceAllString(text, "last message 0 s")
			if want := "SIGNPOST " + c.state.String() + " - " + c.want; text != want {
				t.Errorf("\n%s\nwant\n%s", text, want)
			}
		})
	}
}

// cluster writes the state of a cluster of two hosts.
func (s *site) cluster(state control.Status) {
	state.Leader, state.Database = "a", control.Database{Reachable: true}
	state.Hosts = []control.Host{{Name: "a"}, {Name: "b"}}
	data, err := json.Marshal(state)
	s.must(err)
	s.Source.Cluster = s.file("status.json")
	s.must(os.WriteFile(s.Source.Cluster, data, 0o600))
}

func (s *site) later(d time.Duration) { s.now = s.now.Add(d) }

// other starts a milter that requests no actions.
func (s *site) other() string {
	path := s.file("other")
	ln, err := net.Listen("unix", path)
	s.must(err)
	s.Cleanup(func() { ln.Close() })
	go func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			_, _ = c.Write([]byte("\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00"))
			_, _ = c.Read(make([]byte, 1024))
			c.Close()
		}
	}()
	return path
}

// The performance data have the form label=value[UOM];warn;crit;min;max, also if there is a problem.
func TestData(t *testing.T) {
	s := newSite(t)
	s.metrics(fmt.Sprintf(lostMetrics, 0))
	s.later(27 * time.Hour)
	_, data := s.line()
	want := "answer=Ns;;;0;10 journal_lost=3c;;;0 signing_keys=1;;;0 keys_action_needed=0;;;0 hosted_domains=1;;;0 unsigned_domains=0;;;0 " +
		"rotate_age=97200s;93600;259200;0 journal_size=NB;;;0;67108864 last_message_age=97200s;;;0"
	if data != want {
		t.Errorf("\n%s\nwant\n%s", data, want)
	}
}

// The line names a few problems and the number of the others. It is short enough for NRPE.
func TestManyProblems(t *testing.T) {
	s := newSite(t)
	for i := range 300 {
		s.must(s.store.Host(fmt.Sprintf("d%d.%s.example", i, strings.Repeat("a", 50))))
	}
	text, data := s.line()
	if !strings.HasPrefix(text, "SIGNPOST CRITICAL - d0.aaa") || !strings.HasSuffix(text, "...") && !strings.HasSuffix(text, "; 294 more") || len(text)+len(data) > 1020 {
		t.Errorf("%d bytes: %s", len(text)+len(data), text)
	}
}

// A daemon that accepts connections and does not answer is found within the timeout. A part that hangs is UNKNOWN.
func TestTimeout(t *testing.T) {
	s := newSite(t)
	s.closed()
	ln, err := net.Listen("unix", s.socket)
	s.must(err)
	defer ln.Close()
	s.Timeout = time.Second
	start := time.Now()
	if text, _ := s.line(); text != "SIGNPOST CRITICAL - the daemon does not answer at DIR/s: timeout after 900ms" {
		t.Error(text)
	}
	release := make(chan struct{})
	defer close(release)
	s.Hosted = func() (map[string]bool, error) { <-release; return nil, nil }
	if text, _ := s.line(); !strings.Contains(text, "keys: timeout") {
		t.Error(text)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}
