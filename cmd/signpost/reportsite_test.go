package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
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

// polls has the signpost-cluster of a host synchronize until stop is called.
func (s *reportSite) polls(h *reportHost, after time.Duration) (stop func()) {
	s.clock.Store(s.day.Add(after).UnixNano())
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	var polls sync.WaitGroup
	polls.Go(func() {
		for ctx.Err() == nil {
			_ = h.host.Sync(ctx)
			time.Sleep(50 * time.Millisecond)
		}
	})
	return func() { cancel(); polls.Wait() }
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
