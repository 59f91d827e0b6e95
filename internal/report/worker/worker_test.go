package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
	"signpost/internal/testdns"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// site is a worker with a clock that tests set.
type site struct {
	*Worker
	dir   string
	clock time.Time
	log   bytes.Buffer
	n     int // messages
}

func newSite(t testing.TB, zone string) *site {
	t.Helper()
	return openSite(t, t.TempDir(), zone)
}

func openSite(t testing.TB, dir, zone string) *site {
	t.Helper()
	s := &site{dir: dir, clock: time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)}
	server, err := testdns.Start(zone)
	ok(t, err)
	t.Cleanup(server.Stop)
	o := dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: 200 * time.Millisecond, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	now := func() time.Time { return s.clock }
	store, err := received.Open(t.Context(), filepath.Join(dir, "reports", "received.db"), true, now)
	ok(t, err)
	t.Cleanup(store.Close)
	s.Worker = &Worker{Store: store, Spool: filepath.Join(dir, "reports", "in"), Unread: filepath.Join(dir, "reports", "unread"), Parse: parse, Retention: 400 * 24 * time.Hour,
		Site:     Site{Hosted: map[string]bool{"example.org": true}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28")}, Keys: map[string]map[string]bool{"example.org": {"s1": true}}},
		Resolver: dns.New(o).View(netip.Addr{}), Now: now, Log: slog.New(slog.NewTextHandler(&s.log, nil))}
	for _, d := range []string{s.Spool, s.Unread} {
		ok(t, os.MkdirAll(d, 0o700))
	}
	return s
}

// parse reads the JSON of a report, or the cause of an error, instead of a message.
func parse(r io.Reader) (*read.Report, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var report read.Report
	if json.Unmarshal(text, &report) != nil {
		return nil, &read.Error{Cause: read.Cause(text)}
	}
	return &report, nil
}

// spool adds a message. The report may be a *read.Report or a read.Cause.
func (s *site) spool(t testing.TB, a read.Arrived, report any) {
	t.Helper()
	s.n++
	if a.QueueID == "" {
		a.QueueID = fmt.Sprintf("4fXy%04d", s.n)
	}
	a.Received = s.clock
	head, err := json.Marshal(a)
	ok(t, err)
	body, isText := report.(read.Cause)
	text := []byte(body)
	if !isText {
		text, err = json.Marshal(report)
		ok(t, err)
	}
	ok(t, os.WriteFile(filepath.Join(s.Spool, fmt.Sprintf("%s-%04d.eml", s.clock.Format("20060102T150405"), s.n)), append(append(head, "   \n"...), text...), 0o600))
}

// about returns a report about yesterday.
func (s *site) about(id string, rows ...read.Row) *read.Report {
	begin := day(s.clock).AddDate(0, 0, -1)
	return &read.Report{Kind: read.Aggregate, ID: id, Domain: "example.org", Begin: begin, End: begin.Add(24*time.Hour - time.Second), Policy: read.Policy{P: "reject"}, Rows: rows}
}

// run runs the worker, without an error.
func (s *site) run(t testing.TB, previous status.Received) (status.Received, Summary) {
	t.Helper()
	result, summary, err := s.Run(t.Context(), previous)
	ok(t, err)
	if !result.OK || result.Waiting != 0 {
		t.Errorf("%+v", result)
	}
	return result, summary
}

// Each message leaves the spool with one result. Only what was verified is stored. A message that cannot be read is kept, unless it is no report.
func TestResults(t *testing.T) {
	s := newSite(t, "")
	row := read.Row{Source: netip.MustParseAddr("192.0.2.1"), Count: 3, DKIM: true, HeaderFrom: "example.org"}
	dmarc := read.Arrived{Reporter: "a.example"}
	tls := &read.Report{Kind: read.TLS, ID: "1", Domain: "example.org", Begin: s.clock.Add(-48 * time.Hour), End: s.clock.Add(-24 * time.Hour), Policies: []read.TLSPolicy{{Type: "sts", Domain: "example.org", Successful: 5}}}
	future, old := s.about("future", row), s.about("old", row)
	future.End = future.End.AddDate(0, 1, 0)
	old.Begin, old.End = old.Begin.AddDate(-2, 0, 0), old.End.AddDate(-2, 0, 0)
	s.spool(t, dmarc, s.about("1", row))
	s.spool(t, dmarc, s.about("1", row))
	s.spool(t, read.Arrived{TLSReporter: "a.example"}, s.about("2", row))
	s.spool(t, read.Arrived{Reporter: "a.example"}, tls)
	s.spool(t, read.Arrived{TLSReporter: "b.example"}, tls)
	s.spool(t, dmarc, &read.Report{Kind: read.Failure})
	s.spool(t, dmarc, read.NotReport)
	s.spool(t, read.Arrived{Reporter: "a.example", QueueID: "4fXyBAD"}, read.Malformed)
	s.spool(t, dmarc, future)
	s.spool(t, dmarc, old)
	ok(t, os.WriteFile(filepath.Join(s.Spool, "3-other.eml"), []byte("no JSON\n"), 0o600))
	ok(t, os.WriteFile(filepath.Join(s.Spool, "4-draft.eml~AAAA"), []byte("{"), 0o600))
	result, summary := s.run(t, status.Received{})
	for r, n := range map[status.Result]int{status.Stored: 2, status.Duplicate: 1, status.Unverified: 2, status.Failure: 1, status.Unreadable: 3, status.Outdated: 2} {
		if summary[r] != n || result.Read[r] != int64(n) {
			t.Errorf("%s: %d in this run, %d in all; want %d", r, summary[r], result.Read[r], n)
		}
	}
	if result.Stored["aggregate"] != 1 || result.Stored["tls"] != 1 {
		t.Errorf("stored: %v", result.Stored)
	}
	kept, err := os.ReadDir(s.Unread)
	if ok(t, err); len(kept) != 2 {
		t.Errorf("kept: %v; want the malformed message, and the file without a first line", kept)
	}
	for _, line := range []string{`msg="a received report cannot be read" queue_id=4fXyBAD reporter=a.example error=malformed`, `result=outdated error="its range is from 2024-11-30 to 2024-11-30"`, "result=unverified"} {
		if !strings.Contains(s.log.String(), line) {
			t.Errorf("the log has no %s:\n%s", line, &s.log)
		}
	}
}

// The messages that cannot be read do not fill the disk.
func TestUnreadIsBounded(t *testing.T) {
	s := newSite(t, "")
	for range maxUnread + 5 {
		s.spool(t, read.Arrived{Reporter: "a.example"}, read.Doctype)
	}
	s.run(t, status.Received{})
	kept, err := os.ReadDir(s.Unread)
	if ok(t, err); len(kept) != maxUnread || !strings.HasSuffix(kept[maxUnread-1].Name(), fmt.Sprintf("%04d.eml", s.n)) {
		t.Errorf("%d messages are kept, want the newest %d", len(kept), maxUnread)
	}
}

// A file that cannot be opened is an error, and does not keep the run from reading the others.
func TestBrokenFile(t *testing.T) {
	s := newSite(t, "")
	ok(t, os.Mkdir(filepath.Join(s.Spool, "0.eml"), 0o700))
	s.spool(t, read.Arrived{Reporter: "a.example"}, s.about("1"))
	result, summary, err := s.Run(t.Context(), status.Received{})
	if err == nil || result.OK || result.Error == "" || summary[status.Stored] != 1 || result.Waiting != 1 {
		t.Errorf("%+v, %v, %v", result, summary, err)
	}
}

// A reporter counts after five earlier days, if our mail goes to its mail exchangers; a stranger's reports never count. With trusted_reporters, a
// reporter counts from the first day.
func TestTrust(t *testing.T) {
	zone := `customer.test. IN MX 10 mx1.big.test.
mail.test. IN MX 10 mx.mail.test.`
	s := newSite(t, zone)
	s.Trusted = []string{"friend.test"}
	yes := func(ctx string, want string) {
		t.Helper()
		trusted, _, err := s.trust(t.Context())
		ok(t, err)
		if got := strings.Join(trusted, " "); got != want {
			t.Errorf("%s: trusted: %q, want %q", ctx, got, want)
		}
	}
	s.Journal = openJournal(t, s, "x@customer.test", "y@mail.test", "z@gmail.com")
	for n := range trustDays + 1 {
		if n == trustDays-1 {
			yes("after four days", "dmarc.friend.test")
		}
		for _, reporter := range []string{"dmarc.big.test", "mail.test", "stranger.test", "dmarc.friend.test", "gmail.com"} {
			s.spool(t, read.Arrived{Reporter: reporter}, s.about(fmt.Sprint(n)))
		}
		s.run(t, status.Received{})
		if n < trustDays {
			s.clock = s.clock.AddDate(0, 0, 1)
		}
	}
	// dmarc.big.test has no record of its own or of big.test, so its Organizational Domain is dmarc.big.test.
	yes("after five days", "dmarc.friend.test mail.test")
	_, err := s.Store.SetLookup(t.Context(), received.LookupOrganization, "dmarc.big.test", "big.test")
	ok(t, err)
	yes("with an organization", "dmarc.big.test dmarc.friend.test mail.test")
	s.Journal = nil
	yes("without recipients in the journal", "dmarc.friend.test")
	if month, err := s.Store.Recipients(t.Context(), day(s.clock).AddDate(0, 0, -30), 10); err != nil || month["customer.test"] != 1 || len(month) != 3 {
		t.Errorf("mail: %v, %v", month, err)
	}
}

// Without recipients in the journal, the large receivers count.
func TestTrustWithoutRecipients(t *testing.T) {
	s := newSite(t, "")
	_, err := s.Store.SetLookup(t.Context(), received.LookupOrganization, "google.com", "google.com")
	ok(t, err)
	for n := range trustDays + 1 {
		for _, reporter := range []string{"google.com", "stranger.test", "gmail.com"} {
			s.spool(t, read.Arrived{Reporter: reporter}, s.about(fmt.Sprint(n)))
		}
		s.run(t, status.Received{})
		s.clock = s.clock.AddDate(0, 0, 1)
	}
	if trusted, err := s.Store.Trusted(t.Context()); err != nil || strings.Join(trusted, " ") != "google.com" {
		t.Errorf("trusted: %v, %v", trusted, err)
	}
}
