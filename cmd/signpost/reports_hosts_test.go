package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signpost/internal/cluster"
	"signpost/internal/cluster/control"
	"signpost/internal/config"
	"signpost/internal/report/status"
	"signpost/internal/testdns"
	"signpost/internal/testsql"
	"signpost/keys"
)

// reportSite is a site of several hosts that send reports, with one clock and a database.
type reportSite struct {
	*testing.T
	server *testsql.Server
	name   string // of the database
	key    string
	dns    string
	day    time.Time // of the reports
	clock  atomic.Int64
	hosts  []*reportHost
}

// reportHost is a host of the site.
type reportHost struct {
	*reporter
	site   *reportSite
	host   *cluster.Host
	name   string
	before func() // called before each request to signpost-cluster
	// A host whose requests fail is dead for the others. If it dies in a request, the request is carried out, but there is no reply.
	dead, dying bool
}

// lostReply loses the reply of a host that dies.
type lostReply struct {
	http.ResponseWriter
	host *reportHost
}

func (w *lostReply) Write(p []byte) (int, error) {
	if w.host.dying {
		w.host.dead = true
		return 0, io.ErrClosedPipe
	}
	return w.ResponseWriter.Write(p)
}

// onBoth runs a test with both databases.
func onBoth(t *testing.T, run func(t *testing.T, server *testsql.Server)) {
	for name, start := range map[string]func() *testsql.Server{"MariaDB": func() *testsql.Server { return testsql.MariaDB(t) }, "PostgreSQL": func() *testsql.Server { return testsql.PostgreSQL(t) }} {
		server := start()
		t.Run(name, func(t *testing.T) { run(t, server) })
	}
}

const hostsZone = daysZone + `_dmarc.c.example. TXT "v=DMARC1; p=none; rua=mailto:dmarc@c.example"
_dmarc.d.example. TXT "v=DMARC1; p=none; rua=mailto:dmarc@d.example"
_dmarc.example.org. TXT "v=DMARC1; p=none"
`

func newReportSite(t *testing.T, server *testsql.Server, names ...string) *reportSite {
	t.Helper()
	zone, err := testdns.Start(hostsZone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(zone.Stop)
	s := &reportSite{T: t, server: server, name: server.Database(), key: filepath.Join(t.TempDir(), "key"), dns: zone.Addr(), day: time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -6)}
	put(t, s.key, cluster.NewSiteKey())
	k, err := cluster.ReadSiteKeys(s.key)
	if err != nil {
		t.Fatal(err)
	}
	db := s.open()
	if _, err := db.Init(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		s.add(name)
	}
	return s
}

func (s *reportSite) open() *cluster.DB {
	s.Helper()
	db, err := cluster.Open(s.server.URL(s.name))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { db.Close() })
	return db
}

func (s *reportSite) now() time.Time { return time.Unix(0, s.clock.Load()).UTC() }

// add adds a host, with the control socket of its signpost-cluster.
func (s *reportSite) add(name string) *reportHost {
	s.Helper()
	h := &reportHost{reporter: newReporter(s.T, "a.example", s.dns), site: s, name: name}
	dir, err := os.MkdirTemp("", "signpost") // the path of a socket is short
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	text, err := os.ReadFile(h.file)
	if err != nil {
		s.Fatal(err)
	}
	put(s.T, h.file, fmt.Sprintf("%s\n[cluster]\ndatabase = \"mysql://a:b@127.0.0.1:1/x\"\nname = %q\nsocket = %q\nkey_file = %q\n", text, name, socket, s.key))
	if h.conf, err = config.Load(h.file); err != nil {
		s.Fatal(err)
	}
	store := keys.Store{State: h.dir, Dir: filepath.Join(h.dir, "keys"), Now: s.now}
	if err := os.MkdirAll(store.Dir, 0o700); err != nil {
		s.Fatal(err)
	}
	h.host = cluster.New(cluster.Options{DB: s.open(), KeyFile: s.key, Store: store, Name: name, Program: "test", Now: s.now, Log: slog.New(slog.DiscardHandler),
		Verify: func(context.Context, string, string) (bool, error) { return true, nil }})
	s.clock.Store(s.day.UnixNano())
	if _, err := h.host.Join(s.Context()); err != nil {
		s.Fatal(err)
	}
	keepReports(s.T, h.conf, s.day)
	ln, err := net.Listen("unix", socket)
	if err != nil {
		s.Fatal(err)
	}
	handler := control.Server{Lease: h.host.Lease, Lead: h.host.Lead, Status: h.host.Status, Items: h.host.Items()}.Handler()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.before != nil {
			h.before()
		}
		if !h.dead {
			handler.ServeHTTP(&lostReply{w, h}, r)
		} else {
			http.Error(w, "", http.StatusBadGateway)
		}
	})}
	go server.Serve(ln)
	s.Cleanup(func() { server.Close() })
	s.hosts = append(s.hosts, h)
	return h
}

// at runs signpost reports send on the hosts, one after the other, at a time after the beginning of the day.
func (s *reportSite) at(after time.Duration, hosts ...*reportHost) {
	s.Helper()
	for _, h := range hosts {
		if stderr, err := h.at(after); err != nil {
			s.Fatalf("host %s at %v: %v\n%s", h.name, after, err, stderr)
		}
	}
}

func (h *reportHost) at(after time.Duration) (stderr string, err error) {
	h.site.clock.Store(h.site.day.Add(after).UnixNano())
	_ = h.host.Sync(h.t.Context()) // it fails if the database is down
	var out, errs bytes.Buffer
	err = sendReports(context.WithoutCancel(h.t.Context()), h.conf, reportsSendOptions{}, clock{now: h.site.now}, &out, &errs)
	return errs.String(), err
}

// lead makes a host the leader: the lease of the others ends.
func (s *reportSite) lead(h *reportHost) {
	s.Helper()
	if s.server.Name == "MariaDB" || s.server.Name == "PostgreSQL" {
		s.server.Run(s.name, "UPDATE sp_lease SET until = 0")
	}
	if err := h.host.Sync(s.Context()); err != nil {
		s.Fatal(err)
	}
	if l, err := h.host.Lease(s.Context()); err != nil || !l.Mine {
		s.Fatalf("%+v %v", l, err)
	}
}

// rounds returns the number of rounds of reports about the day.
func (s *reportSite) rounds() int {
	n, err := strconv.Atoi(s.server.Run(s.name, "SELECT COUNT(*) FROM sp_report WHERE kind = 'round' AND day = '"+s.day.Format(time.DateOnly)+"'"))
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// mail stores messages of a domain in the journal of a host.
func (h *reportHost) mail(after time.Duration, domain string, n int) {
	h.t.Helper()
	for i := range n {
		keepReports(h.t, h.conf, h.site.day.Add(after+time.Duration(i)*time.Second), h.receive(letter{client: "192.0.2.2", from: "x@" + domain, to: "ann@a.example", text: "From: x@" + domain + "\n\ntext\n"}))
	}
}

// feedback is a report that was sent.
type feedback struct {
	ID      string `xml:"report_metadata>report_id"`
	Error   string `xml:"report_metadata>error"`
	Domain  string `xml:"policy_published>domain"`
	Records []struct {
		Count int `xml:"row>count"`
	} `xml:"record"`
}

func parseFeedback(t *testing.T, text string) (f feedback, name string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	_, boundary, _ := strings.Cut(m.Header.Get("Content-Type"), `boundary="`)
	parts := multipart.NewReader(m.Body, strings.TrimSuffix(boundary, `"`))
	for {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if part.FileName() == "" {
			continue
		}
		z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, part))
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(z)
		if err == nil {
			err = xml.Unmarshal(data, &f)
		}
		if err != nil {
			t.Fatal(err)
		}
		return f, part.FileName()
	}
}

// sent checks the reports that all hosts sent since the last call: for each destination, the number of messages in each report. A report that was
// sent twice must be the same, byte for byte. It returns the reports by ID.
func (s *reportSite) sent(seen map[string]string, want string) map[string]feedback {
	s.Helper()
	found := map[string]feedback{}
	var got []string
	for _, h := range s.hosts {
		h.mu.Lock()
		for _, l := range h.reporter.sent {
			f, _ := parseFeedback(s.T, l.text)
			if old, again := seen[f.ID+l.to]; again {
				if old != l.from+l.text {
					s.Errorf("report %s about %s was sent to %s twice, and differs", f.ID, f.Domain, l.to)
				}
				continue
			}
			seen[f.ID+l.to], found[f.ID] = l.from+l.text, f
			n := 0
			for _, r := range f.Records {
				n += r.Count
			}
			got = append(got, fmt.Sprintf("%s:%d", l.to, n))
		}
		h.reporter.sent = nil
		h.mu.Unlock()
	}
	slices.Sort(got)
	if text := strings.Join(got, " "); text != want {
		s.Errorf("sent %q, want %q", text, want)
	}
	return found
}

const (
	hour  = time.Hour
	night = 24 * hour
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
		s.at(5*night+9*hour, b, a)
		s.sent(seen, "")
	})
}

// A host that joins the cluster does not report again what it reported alone.
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
		s.sent(map[string]string{}, "dmarc@c.example:1")
	})
}

// The leader dies at each request with which it makes the reports, and at each report that it has sent. The next leader continues: all reports
// are sent, with the right counts, and a report that is sent twice is the same, byte for byte. So it is when the dead host returns.
func TestReportsLeaderDies(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		for _, at := range []string{"freezing", "sending"} {
			step := 1
			if server.Name == "PostgreSQL" {
				step = 4
			}
			for k, survived := 1, false; !survived && !t.Failed(); k += step {
				t.Run(fmt.Sprint(at, k), func(t *testing.T) { survived = leaderDies(t, server, at, k) })
			}
		}
	})
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
		step := 1
		if server.Name == "PostgreSQL" {
			step = 4
		}
		for k, survived := 1, false; !survived && !t.Failed(); k += step {
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

// If the leader sends no reports itself, a host that does takes the lease over.
func TestReportsLeaderWithoutReports(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b")
		a, b := s.hosts[0], s.hosts[1]
		a.mail(9*hour, "c.example", 2)
		s.at(10*hour, a)
		s.at(night+20*time.Minute, a)
		s.lead(b) // which never runs reports send
		s.clock.Store(s.day.Add(night + 8*hour).UnixNano())
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		var polls sync.WaitGroup
		polls.Go(func() {
			for ctx.Err() == nil {
				_ = b.host.Sync(ctx)
				time.Sleep(50 * time.Millisecond)
			}
		})
		s.at(night+8*hour, a)
		s.at(night+8*hour+20*time.Minute, a)
		stop()
		polls.Wait()
		s.sent(map[string]string{}, "dmarc@c.example:2")
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
		s.at(night+8*hour, a, b, c)
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
