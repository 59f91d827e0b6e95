package send

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/report"
)

// site is a server that sends reports.
type site struct {
	*server
	Options
	t    *testing.T
	path string
	now  time.Time
	log  bytes.Buffer
}

// newSite returns a site on the morning of 1 December.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, server: newServer(t), now: time.Date(2026, 12, 1, 6, 0, 0, 0, time.UTC)}
	s.path = filepath.Join(t.TempDir(), "reports", "reports.db")
	s.Options = Options{Server: Server{Addr: s.ln.Addr().String(), Name: "mx.b.test"}, PerDay: 100, PerHour: 100,
		Now: func() time.Time { return s.now }, Ready: func(context.Context) error { return nil }, Log: slog.New(slog.NewTextHandler(&s.log, nil))}
	s.open()
	return s
}

// open opens the database, as a new process does.
func (s *site) open() {
	s.t.Helper()
	state, err := report.OpenState(s.t.Context(), s.path, true, func() time.Time { return s.now })
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(state.Close)
	s.State = state
}

// freeze adds a report about yesterday.
func (s *site) freeze(id, domain string, rows int, destinations ...string) {
	s.t.Helper()
	all := make([]report.Destination, len(destinations))
	for i, d := range destinations {
		all[i] = report.Destination{Address: d, Organization: "big.example", MAC: strings.ToLower(id) + strings.Repeat("a", 30) + string(rune('b'+i))}
	}
	f := report.Frozen{ID: id, File: id + ".xml.gz", Gzip: []byte(id), Day: report.Day(s.now).AddDate(0, 0, -1), Domain: domain, Rows: rows, Messages: rows, Created: s.now,
		SenderDomain: "reports.b.test", OrgName: "B", Email: "dmarc@reports.b.test"}
	if _, err := s.State.Freeze(s.t.Context(), f, all); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) send(want Summary) {
	s.t.Helper()
	got, err := Run(s.t.Context(), s.Options)
	if got != want {
		s.t.Errorf("%+v, want %+v: %v\n%s", got, want, err, s.log.String())
	}
}

func (s *site) recipients() (all []string) {
	for _, c := range s.heard() {
		if to, ok := strings.CutPrefix(c, "RCPT TO:<"); ok {
			to, _, _ = strings.Cut(to, ">")
			all = append(all, to)
		}
	}
	return all
}

// stages returns the stages of all deliveries, by destination.
func (s *site) stages() map[string]report.Stage {
	s.t.Helper()
	all, err := s.State.List(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	stages := map[string]report.Stage{}
	for _, d := range all {
		stages[d.Destination] = d.Stage
	}
	return stages
}

// Each address of each report gets one copy, once. Reports with most rows are first.
func TestRun(t *testing.T) {
	s := newSite(t)
	s.freeze("A", "a.test", 10, "one@a.test", "two@a.test")
	s.freeze("C", "c.test", 20, "d@c.test")
	s.send(Summary{Accepted: 3})
	if got := s.recipients(); !slices.Equal(got, []string{"d@c.test", "one@a.test", "two@a.test"}) {
		t.Errorf("sent to %q", got)
	}
	if !strings.HasPrefix(s.heard()[1], "MAIL FROM:<r-c") || !strings.Contains(s.heard()[1], "@reports.b.test> RET=HDRS") {
		t.Errorf("%q", s.heard()[1])
	}
	s.send(Summary{})
	if len(s.messages) != 3 {
		t.Errorf("%d messages", len(s.messages))
	}
}

// Nothing is sent before its time, unless the user requests it.
func TestNotDue(t *testing.T) {
	s := newSite(t)
	s.freeze("A", "a.test", 10, "one@a.test")
	s.now = Due("a.test", report.Day(s.now).AddDate(0, 0, -1)).Add(-time.Second)
	s.send(Summary{})
	s.now = s.now.Add(time.Second)
	s.send(Summary{Accepted: 1})
	s = newSite(t)
	s.now = report.Day(s.now)
	s.freeze("A", "a.test", 10, "one@a.test")
	s.freeze("C", "c.test", 10, "d@c.test")
	s.Early, s.Only = true, "c.test"
	s.send(Summary{Accepted: 1})
	if got := s.recipients(); !slices.Equal(got, []string{"d@c.test"}) {
		t.Errorf("%q", got)
	}
}

// If the process is killed after the server has accepted a copy, the copy is sent again, byte for byte the same.
func TestKilled(t *testing.T) {
	s := newSite(t)
	s.freeze("A", "a.test", 10, "one@a.test")
	s.mu.Lock()
	s.accepted = s.State.Close
	s.mu.Unlock()
	if _, err := Run(t.Context(), s.Options); err == nil {
		t.Fatal("the run was not interrupted")
	}
	s.mu.Lock()
	s.accepted = nil
	s.mu.Unlock()
	s.open()
	s.now = s.now.Add(time.Hour)
	s.send(Summary{Accepted: 1})
	if len(s.messages) != 2 || s.messages[0] != s.messages[1] {
		t.Errorf("the copies differ:\n%s", strings.Join(s.messages, "\n"))
	}
}

// If a run is stopped while the server accepts a report, the acceptance is recorded. The next run continues with the others.
func TestStopped(t *testing.T) {
	s := newSite(t)
	s.freeze("A", "a.test", 10, "one@a.test", "two@a.test")
	ctx, stop := context.WithCancel(t.Context())
	s.mu.Lock()
	s.accepted = stop
	s.mu.Unlock()
	if _, err := Run(ctx, s.Options); !errors.Is(err, context.Canceled) {
		t.Errorf("the run was not stopped: %v", err)
	}
	s.send(Summary{Accepted: 1})
	if got := s.recipients(); !slices.Equal(got, []string{"one@a.test", "two@a.test"}) {
		t.Errorf("sent to %q", got)
	}
}

// While the database cannot be written, nothing is sent: each run would send the same report again.
func TestDiskFull(t *testing.T) {
	s := newSite(t)
	s.freeze("A", "a.test", 10, "one@a.test")
	db, err := sql.Open("sqlite", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	execute := func(query string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	execute("CREATE TRIGGER full BEFORE UPDATE ON delivery BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END")
	for range 3 {
		if _, err := Run(t.Context(), s.Options); err == nil {
			t.Error("no error")
		}
	}
	if len(s.messages) > 0 {
		t.Errorf("%d messages", len(s.messages))
	}
	execute("DROP TRIGGER full")
	s.send(Summary{Accepted: 1})
}

// A report at which the server closes the connection does not delay the others, even if it has the most rows.
func TestServerClosesEachTime(t *testing.T) {
	s := newSite(t)
	s.freeze("A", "a.test", 30, "one@a.test")
	s.freeze("C", "c.test", 20, "d@c.test")
	s.refuse["RCPT TO:<one@a.test>"] = "421 4.3.2 closing"
	s.send(Summary{Waiting: 2})
	s.send(Summary{Accepted: 1, Waiting: 1})
	if got := s.stages(); got["d@c.test"] != report.StageAccepted || got["one@a.test"] != report.StageFrozen {
		t.Errorf("%v", got)
	}
}

// While the server is down, nothing is lost. After three days a report is given up, with one line in the log.
func TestServerDown(t *testing.T) {
	s := newSite(t)
	addr := s.Server.Addr
	s.freeze("A", "a.test", 10, "one@a.test", "two@a.test")
	s.Server.Addr = "127.0.0.1:1"
	s.send(Summary{Waiting: 2})
	s.now, s.Server.Addr = s.now.Add(24*time.Hour), addr
	s.send(Summary{Accepted: 2})
	s.freeze("C", "c.test", 10, "d@c.test")
	s.Server.Addr, s.now = "127.0.0.1:1", s.now.Add(73*time.Hour)
	s.send(Summary{GivenUp: 1})
	s.send(Summary{})
	if s.stages()["d@c.test"] != report.StageGivenUp || strings.Count(s.log.String(), "given up") != 1 {
		t.Errorf("%v %s", s.stages(), s.log.String())
	}
}

// A reply of the server concerns one delivery, not the others.
func TestReplies(t *testing.T) {
	s := newSite(t)
	s.freeze("A", "a.test", 30, "one@a.test", "two@a.test")
	s.freeze("C", "c.test", 20, "d@c.test")
	s.refuse["RCPT TO:<one@a.test>"] = "450 4.2.0 later"
	s.refuse["RCPT TO:<d@c.test>"] = "550 5.1.1 unknown"
	s.send(Summary{Accepted: 1, Refused: 1, Waiting: 1})
	s.mu.Lock()
	clear(s.refuse)
	s.mu.Unlock()
	s.send(Summary{Accepted: 1})
	if got := s.stages(); got["one@a.test"] != report.StageAccepted || got["two@a.test"] != report.StageAccepted || got["d@c.test"] != report.StageRefused {
		t.Errorf("%v", got)
	}
}

// After 421 the server closes the connection: the run ends, and the next run continues.
func TestServerCloses(t *testing.T) {
	s := newSite(t)
	s.freeze("A", "a.test", 30, "one@a.test", "two@a.test")
	s.refuse["RCPT TO:<one@a.test>"] = "421 4.3.2 shutting down"
	s.send(Summary{Waiting: 2})
	s.mu.Lock()
	clear(s.refuse)
	s.mu.Unlock()
	s.send(Summary{Accepted: 2})
}

// A bounce with the MAC of a delivery suppresses its address. Other messages do not.
func TestReturned(t *testing.T) {
	s := newSite(t)
	s.freeze("A", "a.test", 30, "one@a.test")
	s.send(Summary{Accepted: 1})
	all, err := s.State.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := spoolDir(t)
	address := report.EnvelopeSender(all[0].MAC, "reports.b.test")
	put := func(recipient, message string) {
		t.Helper()
		if err := dir.Add([]byte(recipient + "\n" + message)); err != nil {
			t.Fatal(err)
		}
	}
	returned := func(want int) {
		t.Helper()
		if n, err := Returned(t.Context(), s.State, dir, "reports.b.test", s.Log); n != want || err != nil {
			t.Errorf("%d %v, want %d", n, err, want)
		}
	}
	put(address, bounce("delayed", "4.4.1"))
	put(address, "Subject: Away\n\nI am away.\n")
	put("r-"+strings.Repeat("z", len(all[0].MAC))+"@reports.b.test", bounce("failed", "5.1.1"))
	put("dmarc@reports.b.test", bounce("failed", "5.1.1"))
	put("", "")
	returned(0)
	s.freeze("B", "b2.test", 30, "one@a.test")
	s.send(Summary{Accepted: 1})
	put(strings.ToUpper(address), bounce("failed", "5.1.1"))
	returned(1)
	s.freeze("C", "c.test", 30, "One@a.test", "two@a.test")
	s.send(Summary{Accepted: 1, Suppressed: 1})
	s.now = s.now.Add(31 * 24 * time.Hour)
	s.freeze("D", "d.test", 30, "one@a.test")
	s.send(Summary{Accepted: 1})
}

// The limits hold across runs, and for all subdomains of an organization together. What exceeds them is sent later.
func TestLimits(t *testing.T) {
	s := newSite(t)
	for i := range 6 {
		s.freeze(fmt.Sprint("I", i), fmt.Sprintf("d%d.test", i), 10, fmt.Sprintf("d@d%d.big.example", i))
	}
	s.PerHour, s.PerDay = 2, 5
	s.send(Summary{Accepted: 2, Waiting: 4})
	s.send(Summary{Waiting: 4})
	s.now = s.now.Add(61 * time.Minute)
	s.send(Summary{Accepted: 2, Waiting: 2})
	s.now = s.now.Add(61 * time.Minute)
	s.send(Summary{Accepted: 1, Waiting: 1})
	s.now = s.now.Add(24 * time.Hour)
	s.send(Summary{Accepted: 1})
}

// While a check is red, nothing is sent.
func TestNotReady(t *testing.T) {
	s := newSite(t)
	s.freeze("A", "a.test", 30, "one@a.test")
	red := errors.New("red")
	s.Ready = func(context.Context) error { return red }
	if _, err := Run(t.Context(), s.Options); !errors.Is(err, red) || len(s.heard()) > 0 || s.stages()["one@a.test"] != report.StageFrozen {
		t.Errorf("%v %q %v", err, s.heard(), s.stages())
	}
}
