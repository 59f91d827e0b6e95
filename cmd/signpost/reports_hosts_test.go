package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/report/status"
	"signpost/internal/testsql"
)

// The messages of all hosts are in one report, which the leader sends between 03:00 and 08:00. All hosts show it, and which host sent it.
func TestReportsOfHosts(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b", "c")
		a, b, c := s.hosts[0], s.hosts[1], s.hosts[2]
		seen := map[string]string{}
		a.mail(9*hour, "b.example", 2)
		b.mail(9*hour, "b.example", 3)
		s.at(10*hour, a, b, c)
		b.mail(11*hour, "b.example", 1)
		c.mail(11*hour, "c.example", 4)
		s.at(10*hour+10*time.Minute, a, b, c) // less than an hour: nothing is shipped
		s.at(12*hour, a, b, c)
		c.mail(23*hour, "c.example", 1)
		if code, _, stderr := a.run("reports", "send", "--now", "--date", time.Now().AddDate(0, 0, 2).Format(time.DateOnly)); code != 2 || !strings.Contains(stderr, "must not be in the future") {
			t.Errorf("%d %s", code, stderr)
		}
		s.at(night+10*time.Minute, a, b, c)
		s.at(night+20*time.Minute, a, b, c)
		s.at(night+3*hour-time.Minute, a, b, c)
		s.sent(seen, "")
		s.at(night+8*hour, b, c, a)
		s.sent(seen, "dead@b.example:6 dmarc@b.example:6 dmarc@c.example:5")
		s.at(night+8*hour+10*time.Minute, a, b, c)
		s.lead(b)
		s.at(night+9*hour, b, a, c)
		s.sent(seen, "")
		for _, h := range s.hosts {
			_, out, _ := h.run("reports")
			if strings.Count(out, "accepted") != 3 || strings.Count(out, " a\n") != 3 {
				t.Errorf("host %s shows:\n%s", h.name, out)
			}
		}
		key := func(h *reportHost) string {
			text, err := os.ReadFile(filepath.Join(h.dir, "reports", "key", "bounce.key"))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		if key(a) != key(b) || key(a) != key(c) {
			t.Error("the hosts have different keys of bounce addresses")
		}
	})
}

// A host that is away at 03:00 delays no report. What it shipped before is in the report. The rest follows in a second report with another ID. No
// message is counted twice.
func TestReportsLateHost(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b")
		a, b := s.hosts[0], s.hosts[1]
		seen := map[string]string{}
		a.mail(9*hour, "c.example", 1)
		b.mail(9*hour, "c.example", 2)
		s.at(10*hour, a, b)
		b.mail(11*hour, "c.example", 3)
		b.mail(11*hour+time.Minute, "d.example", 1)
		s.at(night+20*time.Minute, a) // b is away
		s.at(night+8*hour, a)
		for _, f := range s.sent(seen, "dmarc@c.example:3") {
			if !strings.Contains(f.Error, "results of a server of this site are missing") {
				t.Errorf("error element: %q", f.Error)
			}
		}
		s.clock.Store(s.day.Add(night + 8*hour + 10*time.Minute).UnixNano())
		if err := a.host.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if status, err := a.host.Status(t.Context()); err != nil || status.Reports == nil || status.Reports.Made != 1 || !slices.Equal(status.Reports.Late, []string{"b"}) {
			t.Errorf("status: %+v %v", status.Reports, err)
		}
		a.mail(night+9*hour, "c.example", 5)
		s.at(2*night+20*time.Minute, a)
		s.at(2*night+9*hour, a) // the next day is reported as usual
		s.sent(seen, "dmarc@c.example:5")
		s.at(2*night+10*hour, b, a)
		for _, f := range s.sent(seen, "dmarc@c.example:3 dmarc@d.example:1") {
			if !strings.Contains(f.Error, "this report adds the results") {
				t.Errorf("error element: %q", f.Error)
			}
		}
		s.at(3*night+9*hour, a, b)
		s.at(5*night+9*hour, a, b)
		s.sent(seen, "")
	})
}

// A host that joins the cluster does not report again what it reported alone. The reports of the cluster about that day have other IDs.
func TestReportsJoin(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b")
		a, b := s.hosts[0], s.hosts[1]
		seen := map[string]string{}
		a.mail(9*hour, "c.example", 1)
		b.mail(9*hour, "c.example", 2)
		together := b.conf.Cluster.Database
		b.conf.Cluster.Database = ""
		s.at(night+7*hour, b)
		s.sent(seen, "dmarc@c.example:2")
		b.conf.Cluster.Database = together
		s.at(night+8*hour, b, a)
		s.at(night+8*hour+10*time.Minute, a, b)
		s.sent(seen, "dmarc@c.example:1")
	})
}

// The reports that a host made, but did not send before it joined, are sent by the host that leads.
func TestReportsJoinBeforeSending(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b")
		a, b := s.hosts[0], s.hosts[1]
		seen := map[string]string{}
		a.mail(9*hour, "c.example", 1)
		b.mail(9*hour, "c.example", 2)
		together := b.conf.Cluster.Database
		b.conf.Cluster.Database = ""
		s.at(night+11*time.Minute, b)
		s.sent(seen, "")
		b.conf.Cluster.Database = together
		s.at(night+8*hour, a, b)
		s.at(night+8*hour+30*time.Minute, a, b)
		s.sent(seen, "dmarc@c.example:1 dmarc@c.example:2")
	})
}

// The leader dies at each request with which it makes the reports, and at each report that it has sent. The next leader continues: all reports
// are sent, with the right counts, and a report that is sent twice is the same, byte for byte. So it is when the dead host returns.
func TestReportsLeaderDies(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		for _, at := range []string{"freezing", "sending"} {
			for k, survived := 1, false; !survived && !t.Failed(); k += stride(server) {
				t.Run(fmt.Sprint(at, k), func(t *testing.T) { survived = leaderDies(t, server, at, k) })
			}
		}
	})
}

// stride returns which requests of a leader are tested: each one in make matrix, which sets SIGNPOST_DATABASES.
func stride(server *testsql.Server) int {
	switch {
	case os.Getenv("SIGNPOST_DATABASES") != "":
		return 1
	case server.Name == "PostgreSQL":
		return 7
	}
	return 3
}

// leaderDies runs a leader until it sends its k-th request at a stage. It reports whether the leader completed, because it made fewer requests.
func leaderDies(t *testing.T, server *testsql.Server, at string, k int) (survived bool) {
	s := newReportSite(t, server, "a", "b")
	a, b := s.hosts[0], s.hosts[1]
	a.mail(9*hour, "b.example", 2)
	a.mail(10*hour, "c.example", 1)
	b.mail(9*hour, "c.example", 3)
	s.at(night+20*time.Minute, b)
	s.lead(a)
	if at == "sending" {
		s.at(night+30*time.Minute, a)
	}
	n := 0
	a.before = func() { n++; a.dying = n >= k }
	_, err := a.at(night + 8*hour)
	if survived = n < k; survived && err != nil {
		t.Fatal(err)
	}
	a.before = nil
	s.lead(b)
	s.at(night+8*hour+10*time.Minute, b)
	s.at(night+8*hour+30*time.Minute, b) // a may have died before it shipped its counts
	a.dying, a.dead = false, false
	s.lead(a)
	s.at(night+9*hour, a, b)
	s.at(night+9*hour+10*time.Minute, a)
	want := "dead@b.example:2 dmarc@b.example:2 dmarc@c.example:4"
	if s.rounds() > 1 { // a died before it shipped its counts
		want = "dead@b.example:2 dmarc@b.example:2 dmarc@c.example:1 dmarc@c.example:3"
	}
	s.sent(map[string]string{}, want)
	return survived
}

// Another host takes the lease over at each request with which the leader makes the reports, and makes them, too. Whichever of them is first
// decides, and both hosts have the same reports.
func TestReportsLeaderOvertaken(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		for k, survived := 1, false; !survived && !t.Failed(); k += stride(server) {
			t.Run(fmt.Sprint(k), func(t *testing.T) {
				s := newReportSite(t, server, "a", "b")
				a, b := s.hosts[0], s.hosts[1]
				a.mail(9*hour, "b.example", 2)
				b.mail(9*hour, "c.example", 3)
				s.at(night+20*time.Minute, a, b)
				s.lead(a)
				n := 0
				a.before = func() {
					if n++; n == k {
						s.lead(b)
						s.at(night+40*time.Minute, b)
					}
				}
				_, _ = a.at(night + 30*time.Minute)
				survived = n < k
				a.before = nil
				s.lead(a)
				s.at(night+8*hour, a, b)
				s.sent(map[string]string{}, "dead@b.example:2 dmarc@b.example:2 dmarc@c.example:3")
				_, onA, _ := a.run("reports", "--json")
				_, onB, _ := b.run("reports", "--json")
				if onA != onB || strings.Count(onA, "accepted") != 3 {
					t.Errorf("the hosts have different reports:\n%s\n%s", onA, onB)
				}
			})
		}
	})
}

// Without the database, nothing is sent. The counts are right afterwards.
func TestReportsDatabaseDown(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b")
		a, b := s.hosts[0], s.hosts[1]
		seen := map[string]string{}
		a.mail(9*hour, "c.example", 1)
		b.mail(9*hour, "c.example", 2)
		s.at(10*hour, a, b)
		server.Stop()
		b.mail(23*hour, "c.example", 3)
		a.mail(night+hour, "c.example", 1)
		for _, h := range s.hosts {
			for _, when := range []time.Duration{night - time.Minute, night + 20*time.Minute, night + 4*hour} {
				if stderr, err := h.at(when); err == nil {
					t.Errorf("host %s: no error while the database is down\n%s", h.name, stderr)
				}
			}
		}
		server.Start()
		s.sent(seen, "")
		s.at(night+8*hour, a, b)
		s.at(night+8*hour+10*time.Minute, a, b)
		s.sent(seen, "dmarc@c.example:6")
		s.at(2*night+8*hour, a, b)
		s.at(2*night+8*hour+10*time.Minute, a, b)
		s.sent(seen, "dmarc@c.example:1")
	})
}

// A bounce suppresses its destination, whichever host receives it, on all hosts. A user ends a suppression on any host.
func TestReportsSuppressedOnAllHosts(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b", "c")
		a, b, c := s.hosts[0], s.hosts[1], s.hosts[2]
		a.mail(9*hour, "b.example", 1)
		s.at(night+20*time.Minute, a, b, c)
		s.at(night+8*hour, a) // b gets the bounce before it knows the report
		for _, l := range a.reporter.sent {
			keepReports(t, b.conf, s.day.Add(night+9*hour), b.receive(answers(l, "b.example", "192.0.2.2")))
		}
		seen := map[string]string{}
		s.sent(seen, "dead@b.example:1 dmarc@b.example:1")
		s.at(night+10*hour, b, a, c)
		suppressed := func(want int) {
			t.Helper()
			for _, h := range s.hosts {
				_, out, _ := h.run("reports", "--state", "suppressed", "--json")
				var all []any
				if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != want {
					t.Errorf("host %s has %d suppressions, want %d: %v\n%s", h.name, len(all), want, err, out)
				}
			}
		}
		suppressed(1)
		c.mail(night+9*hour, "b.example", 1)
		s.at(2*night+20*time.Minute, c, b, a)
		s.at(2*night+8*hour, a, b, c)
		s.sent(seen, "dmarc@b.example:1")
		if code, _, stderr := c.run("reports", "retry", "dead@b.example"); code != 0 {
			t.Fatal(stderr)
		}
		s.at(2*night+9*hour, c, b, a)
		suppressed(0)
	})
}

// A report that one host receives is stored, shown and evaluated on all hosts. It is counted once. While the database is down, each host works
// alone.
func TestReportsReceivedByHosts(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b")
		a, b := s.hosts[0], s.hosts[1]
		for _, h := range s.hosts {
			text, err := os.ReadFile(h.file)
			if err != nil {
				t.Fatal(err)
			}
			put(t, h.file, string(text)+"[reports.receive]\naddresses = [\"rua@example.org\"]\nnetworks = [\"192.0.2.0/24\"]\ntrusted_reporters = [\"reporter.test\"]\n")
			for _, dir := range []string{"keys", "hosted", "reports/in"} {
				if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			put(t, filepath.Join(h.dir, "hosted", "example.org"), "")
		}
		s.lead(a)
		read := func(h *reportHost) (got readRun) {
			t.Helper()
			code, out, stderr := h.run("reports", "read", "--json")
			if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
				t.Fatalf("%d %s %v", code, stderr, err)
			}
			return got
		}
		shows := func(h *reportHost, id string, want bool) {
			t.Helper()
			_, out, _ := h.run("reports", "received", "--report", id)
			if strings.Contains(out, "reporter.test") != want {
				t.Errorf("host %s: report %s is shown: %v, want %v\n%s", h.name, id, !want, want, out)
			}
		}
		imported := filepath.Join(t.TempDir(), "old.xml")
		put(t, imported, aggregate("imported", "192.0.2.1"))
		if code, _, stderr := a.run("reports", "import", imported); code != 0 {
			t.Fatal(stderr)
		}
		read(a)
		read(b)
		a.arrives(1, "reporter.test", aggregate("one", "192.0.2.1"))
		b.arrives(2, "reporter.test", aggregate("two", "198.51.100.1"))
		b.arrives(3, "reporter.test", aggregate("one", "192.0.2.1"))
		first, second := read(a), read(b)
		if first.Read[status.Stored] != 1 || second.Read[status.Stored] != 1 || second.Read[status.Duplicate] != 1 {
			t.Errorf("counted: %v on a, %v on b", first.Read, second.Read)
		}
		read(a)
		for _, h := range s.hosts {
			shows(h, "one", true)
			shows(h, "two", true)
		}
		shows(b, "imported", false)
		if again := read(b); again.Read[status.Stored] != 1 || len(again.Alarms) != 1 {
			t.Errorf("%+v", again)
		}
		c := s.add("c") // its evaluation has the report that b received
		text, err := os.ReadFile(b.file)
		if err != nil {
			t.Fatal(err)
		}
		put(t, c.file, strings.NewReplacer(b.dir, c.dir, `name = "b"`, `name = "c"`, b.conf.Cluster.Socket, c.conf.Cluster.Socket).Replace(string(text)))
		for _, dir := range []string{"hosted", "reports/in"} {
			if err := os.MkdirAll(filepath.Join(c.dir, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		put(t, filepath.Join(c.dir, "hosted", "example.org"), "")
		if got := read(c); len(got.Alarms) != 1 || got.Read[status.Stored] != 0 {
			t.Errorf("a host that joins: %+v", got)
		}
		a.dead = true
		a.arrives(4, "reporter.test", aggregate("three", "192.0.2.1"))
		if got := read(a); got.Read[status.Stored] != 2 {
			t.Errorf("%+v", got)
		}
		a.dead = false
		read(a)
		read(b)
		shows(b, "three", true)
	})
}
