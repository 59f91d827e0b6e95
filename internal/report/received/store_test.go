package received

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"signpost/internal/report/read"
	"signpost/internal/report/status"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// site is a store with a clock that tests set.
type site struct {
	*Store
	clock time.Time
}

func open(t testing.TB) *site {
	t.Helper()
	s := &site{clock: time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)}
	var err error
	s.Store, err = Open(t.Context(), filepath.Join(t.TempDir(), "reports", "received.db"), true, func() time.Time { return s.clock })
	ok(t, err)
	t.Cleanup(s.Close)
	return s
}

// about returns a report about example.org of a day that ended some days ago.
func (s *site) about(id string, daysAgo, rows int) *read.Report {
	begin := s.clock.Truncate(24*time.Hour).AddDate(0, 0, -daysAgo)
	r := &read.Report{Kind: read.Aggregate, ID: id, Domain: "example.org", Begin: begin, End: begin.Add(24*time.Hour - time.Second), Policy: read.Policy{P: "reject"}}
	for n := range rows {
		r.Rows = append(r.Rows, read.Row{Source: address(n / 2), Count: int64(n%3 + 1), DKIM: true, Disposition: "none",
			HeaderFrom: "example.org", EnvelopeFrom: fmt.Sprintf("bounce%d.example.org", n), Signatures: []read.Signature{{Domain: "example.org", Selector: "s1", Result: "pass"}}})
	}
	return r
}

func address(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{203, byte(n >> 16), byte(n >> 8), byte(n)})
}

func (s *site) from(reporter string) Origin {
	return Origin{Reporter: reporter, Verified: true, QueueID: "4fXy", Received: s.clock}
}

func (s *site) number(t testing.TB, query string) (n int64) {
	t.Helper()
	ok(t, s.db.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

// A report is stored once. The same ID of another reporter, or about another domain, is another report.
func TestDuplicates(t *testing.T) {
	s := open(t)
	ok(t, s.Add(t.Context(), s.about("1", 1, 2), s.from("a.example")))
	if err := s.Add(t.Context(), s.about("1", 1, 2), s.from("a.example")); !errors.Is(err, ErrDuplicate) {
		t.Errorf("the second copy: %v", err)
	}
	ok(t, s.Add(t.Context(), s.about("1", 1, 2), s.from("b.example")))
	other := s.about("1", 1, 2)
	other.Domain = "example.net"
	ok(t, s.Add(t.Context(), other, s.from("a.example")))
	if n, err := s.Numbers(t.Context()); err != nil || n.Read[status.Stored] != 3 || n.Stored["aggregate"] != 3 {
		t.Errorf("%+v, %v; want 3 reports", n, err)
	}
}

// Rows older than 90 days are added up by address and results: the sums stay, the names go. Reports older than the limit are deleted.
func TestExpire(t *testing.T) {
	s := open(t)
	for _, daysAgo := range []int{1, 85, 95, 399, 405} {
		ok(t, s.Add(t.Context(), s.about(fmt.Sprint(daysAgo), daysAgo, 100), s.from("a.example")))
	}
	const sums = "SELECT sum(count) FROM source JOIN report ON report.id = report WHERE report_id = '95'"
	before := s.number(t, sums)
	for range 2 {
		ok(t, s.Expire(t.Context(), s.clock.AddDate(0, 0, -400)))
		for query, want := range map[string]int64{
			"SELECT count(*) FROM report":                                               4,
			"SELECT count(*) FROM report WHERE report_id = '405'":                       0,
			"SELECT count(*) FROM source":                                               100 + 100 + 50 + 50,
			"SELECT count(*) FROM source WHERE envelope_from = '' AND header_from = ''": 100,
			sums: before,
			"SELECT count(*) FROM signature JOIN report ON report.id = report WHERE report_id = '95' AND address = x''": 1,
			"SELECT sum(count) FROM signature JOIN report ON report.id = report WHERE report_id = '95'":                 before,
			"SELECT rows FROM report WHERE report_id = '95'":                                                            51,
			"SELECT sum(folded) FROM report":                                                                            2,
		} {
			if got := s.number(t, query); got != want {
				t.Errorf("%s: %d, want %d", query, got, want)
			}
		}
	}
}

// The files never become larger than max_size. The reports of reporters that are not trusted go first, and then the oldest.
func TestMaxSize(t *testing.T) {
	s := open(t)
	s.MaxSize = 32 << 20
	ok(t, s.SetTrusted(t.Context(), []string{"trusted.example"}))
	for n := range 20 {
		ok(t, s.Add(t.Context(), s.about(fmt.Sprint(n), 300-n, 100), s.from("trusted.example")))
	}
	bound := func() {
		t.Helper()
		if size, err := s.Size(); err != nil || size > s.MaxSize {
			t.Fatalf("%d bytes, %v; want at most %d", size, err, s.MaxSize)
		}
	}
	for n := range 25 {
		ok(t, s.Add(t.Context(), s.about(fmt.Sprint(n), 1, 6000), s.from(fmt.Sprintf("flood%d.example", n))))
		bound()
	}
	if n := s.number(t, "SELECT count(*) FROM report WHERE reporter = 'trusted.example'"); n != 20 {
		t.Errorf("%d of the 20 reports of the trusted reporter are left", n)
	}
	for n := range 25 {
		ok(t, s.Add(t.Context(), s.about(fmt.Sprint("new", n), 60-n, 6000), s.from("trusted.example")))
		bound()
	}
	if old, last := s.number(t, "SELECT count(*) FROM report WHERE report_id = '0'"), s.number(t, "SELECT count(*) FROM report WHERE report_id = 'new24'"); old != 0 || last != 1 {
		t.Errorf("the oldest report: %d, the newest one: %d; want only the newest", old, last)
	}
	if err := s.Add(t.Context(), s.about("huge", 1, 90_000), s.from("trusted.example")); !errors.Is(err, ErrLarge) {
		t.Errorf("a report that would take most of the database: %v", err)
	}
	ok(t, s.Expire(t.Context(), s.clock))
	if size, err := s.Size(); err != nil || size > 16<<20 {
		t.Errorf("after all reports have expired: %d bytes, %v", size, err)
	}
}

// A stranger who sends more than a large provider does fills a day's quota, not the database. The next day has its own quota.
func TestQuota(t *testing.T) {
	s := open(t)
	ok(t, s.Add(t.Context(), s.about("1", 1, 1), s.from("a.example")))
	_, err := s.db.ExecContext(t.Context(), "UPDATE quota SET reports = ?", quotaReports)
	ok(t, err)
	if err := s.Add(t.Context(), s.about("2", 1, 1), s.from("a.example")); !errors.Is(err, ErrQuota) {
		t.Errorf("one report too many: %v", err)
	}
	ok(t, s.Add(t.Context(), s.about("2", 1, 1), s.from("b.example")))
	imported := s.from("a.example")
	imported.Verified = false
	ok(t, s.Add(t.Context(), s.about("3", 1, 1), imported))
	ok(t, s.SetTrusted(t.Context(), []string{"a.example"}))
	ok(t, s.Add(t.Context(), s.about("4", 1, 1), s.from("a.example")))
	ok(t, s.SetTrusted(t.Context(), nil))
	s.clock = s.clock.AddDate(0, 0, 1)
	ok(t, s.Add(t.Context(), s.about("5", 1, 1), s.from("a.example")))
}

// A report with absurd counts does not make later sums overflow.
func TestHugeCounts(t *testing.T) {
	s := open(t)
	r := s.about("1", 1, 3)
	for i := range r.Rows {
		r.Rows[i].Count = 1<<63 - 1
	}
	ok(t, s.Add(t.Context(), r, s.from("a.example")))
	if n := s.number(t, "SELECT messages FROM report"); n != 3*countLimit {
		t.Errorf("%d messages", n)
	}
	s.clock = s.clock.AddDate(0, 0, 100)
	ok(t, s.Expire(t.Context(), s.clock.AddDate(0, 0, -400)))
	if n := s.number(t, "SELECT sum(count) FROM source"); n != 3*countLimit {
		t.Errorf("%d messages after folding", n)
	}
}

// An alarm is new once and ends once. It keeps the day on which it began. If an alarm could not be computed, it continues.
func TestSetAlarms(t *testing.T) {
	s := open(t)
	day := func(n int) time.Time { return s.clock.Truncate(24*time.Hour).AddDate(0, 0, n) }
	tls := status.Alarm{Code: status.TLSFailure, Domain: "example.org", Failure: "certificate-expired", Since: day(-3), Last: day(-1)}
	silent := status.Alarm{Code: status.ReporterSilent, Reporters: []string{"a.example"}, Since: day(-8)}
	set := func(wantBegun, wantEnded int, found []status.Alarm, unknown ...status.Code) {
		t.Helper()
		begun, ended, err := s.SetAlarms(t.Context(), found, unknown...)
		if err != nil || len(begun) != wantBegun || len(ended) != wantEnded {
			t.Errorf("new: %v, ended: %v, %v", begun, ended, err)
		}
	}
	set(2, 0, []status.Alarm{tls, silent})
	later := tls
	later.Since, later.Last = day(-2), day(0)
	set(0, 1, []status.Alarm{later})
	if all, err := s.Alarms(t.Context()); err != nil || len(all) != 1 || !all[0].Since.Equal(tls.Since) || !all[0].Last.Equal(later.Last) {
		t.Errorf("%+v, %v", all, err)
	}
	set(0, 0, nil, status.TLSFailure)
	set(0, 1, nil)
	set(1, 0, []status.Alarm{tls})
}

// BenchmarkExpire measures the maintenance of a store with a million rows, of which a tenth is folded and a tenth deleted.
func BenchmarkExpire(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s := open(b)
		ok(b, s.SetTrusted(b.Context(), []string{"a.example"}))
		for n := range 100 {
			ok(b, s.Add(context.Background(), s.about(fmt.Sprint(n), 1+90*(n%10/8)+400*(n%10/9), 10_000), s.from("a.example")))
		}
		b.StartTimer()
		ok(b, s.Expire(context.Background(), s.clock.AddDate(0, 0, -400)))
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
}
