package hosts

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/journal"
	"signpost/internal/report"
	"signpost/internal/report/send"
	"signpost/internal/testdns"
)

// If domains of each day do not answer, all days together take MaxTime, and the reports of the last day are made. Otherwise, the run would be
// stopped before it sends a report.
func TestSlowDomainsOfAllDays(t *testing.T) {
	var items []control.Item
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for back := lateDays + 1; back > 0; back-- {
		day := report.Day(now).AddDate(0, 0, -back)
		names := []string{"zz.fast.test"}
		for i := range 40 {
			names = append(names, fmt.Sprintf("d%d.slow.test", i))
		}
		for _, name := range names {
			r := &report.Report{Day: day, Policy: report.Policy{Domain: name, P: dmarc.PolicyNone, SP: dmarc.PolicyNone, NP: dmarc.PolicyNone}, Messages: 1,
				Rows: []report.Row{{Source: netip.MustParseAddr("192.0.2.1"), Count: 1, Disposition: report.DispositionNone, HeaderFrom: name}}}
			items = append(items, control.Item{Kind: control.KindCount, Day: date(day), Name: name, Host: "a", Part: 1, Body: pack(count{Until: 2, Report: r})})
		}
		items = append(items, control.Item{Kind: control.KindShipped, Day: date(day), Name: control.NameComplete, Host: "a", Part: 1,
			Body: pack(mark{Until: 2, Reports: len(names), Complete: true, At: day})})
	}
	s := newSite(t, now, items)
	zone, err := testdns.Start(";fault *.slow.test TIMEOUT\n_dmarc.zz.fast.test TXT \"v=DMARC1; p=none; rua=mailto:d@zz.fast.test\"\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(zone.Stop)
	c := send.Collection{State: s.State, Key: report.Key(strings.Repeat("k", 32)), Sender: report.Sender{Domain: "reports.b.test", OrgName: "B", Email: "dmarc@reports.b.test"},
		Resolver: dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(zone.Addr())}, Timeout: time.Minute, Now: time.Now, Log: s.Log}),
		Now:      s.Now, MaxTime: 4 * time.Second, Log: s.Log}
	for attempt := 0; ; attempt++ {
		begin := time.Now()
		complete, err := s.Freeze(t.Context(), c)
		if took := time.Since(begin); complete || err != nil || took > 3*c.MaxTime {
			t.Fatalf("%v %v after %v, want at most %v", complete, err, took, c.MaxTime)
		}
		made := map[string]bool{}
		all, err := s.State.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			made[date(d.Report.Day)] = true
		}
		if made["2026-11-30"] {
			return
		}
		if attempt == 5 {
			t.Fatalf("the reports of the last day are not made: %v", made)
		}
	}
}

// If a row of one day is damaged, the error is returned, and the reports of the other days are made.
func TestDamagedDay(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	items := []control.Item{{Kind: control.KindRound, Day: "2026-11-28", Part: 1, Body: []byte("damaged")}}
	for _, day := range []string{"2026-11-27", "2026-11-28", "2026-11-29", "2026-11-30"} {
		of, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		r := &report.Report{Day: of, Policy: report.Policy{Domain: "a.test", P: dmarc.PolicyNone, SP: dmarc.PolicyNone, NP: dmarc.PolicyNone}, Messages: 1,
			Rows: []report.Row{{Source: netip.MustParseAddr("192.0.2.1"), Count: 1, Disposition: report.DispositionNone, HeaderFrom: "a.test"}}}
		items = append(items, control.Item{Kind: control.KindCount, Day: day, Name: "a", Host: "a", Part: 1, Body: pack(count{Until: 2, Report: r})},
			control.Item{Kind: control.KindShipped, Day: day, Name: control.NameComplete, Host: "a", Part: 1, Body: pack(mark{Until: 2, Reports: 1, Complete: true, At: of})})
	}
	s := newSite(t, now, items)
	zone, err := testdns.Start("_dmarc.a.test TXT \"v=DMARC1; p=none; rua=mailto:d@a.test\"\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(zone.Stop)
	complete, err := s.Freeze(t.Context(), send.Collection{State: s.State, Key: report.Key(strings.Repeat("k", 32)), MaxTime: time.Minute, Now: s.Now, Log: s.Log,
		Sender:   report.Sender{Domain: "reports.b.test", OrgName: "B", Email: "dmarc@reports.b.test"},
		Resolver: dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(zone.Addr())}, Timeout: time.Minute, Now: time.Now, Log: s.Log})})
	if complete || err == nil {
		t.Errorf("complete %v, error %v", complete, err)
	}
	all, err := s.State.List(t.Context())
	if err != nil || len(all) != 3 {
		t.Errorf("%d reports were made, want 3: %v", len(all), err)
	}
	items[0].Kind = control.KindShipped
	opened := 0
	if err := s.Ship(t.Context(), func() (*journal.Reader, error) { opened++; return nil, io.ErrUnexpectedEOF }); err == nil || opened == 0 {
		t.Errorf("the counts of today are not shipped: %v", err)
	}
}

// written returns the time at which the items of newSite were written, by the clock of the database.
func written() time.Time { return time.Date(2026, 12, 1, 11, 0, 0, 0, time.UTC) }

// newSite returns a site of one host, with items in memory.
func newSite(t *testing.T, now time.Time, items []control.Item) *Site {
	t.Helper()
	dir, err := os.MkdirTemp("", "signpost") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: control.Server{
		Lease:  func(context.Context) (control.Lease, error) { return control.Lease{Mine: true}, nil },
		Status: func(context.Context) (control.Status, error) { return control.Status{}, nil },
		Items: control.ItemServer{
			Put: func(_ context.Context, put []control.Item) ([]control.Item, error) { return put, nil },
			List: func(_ context.Context, after control.Item) (page control.Items, err error) {
				for _, i := range items {
					if i.Kind == after.Kind && i.Day == after.Day {
						page.Items = append(page.Items, i)
					}
				}
				return page, nil
			},
			Expire: func(_ context.Context, before time.Time, kinds []control.Kind) error {
				items = slices.DeleteFunc(items, func(i control.Item) bool { return slices.Contains(kinds, i.Kind) && i.Day < date(before) })
				return nil
			},
			Changed: func(context.Context, control.Cursor, []control.Kind) (page control.Items, err error) {
				for _, i := range items {
					if i.Kind == control.KindReceived {
						page.Items = append(page.Items, i)
						page.After.Written = written().UnixMilli()
					}
				}
				return page, nil
			},
		}}.Handler()}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	clock := func() time.Time { return now }
	state, err := report.OpenState(t.Context(), filepath.Join(dir, "reports.db"), true, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(state.Close)
	return &Site{Client: control.Client{Socket: ln.Addr().String()}, Name: "a", State: state, Now: clock, Log: slog.New(slog.DiscardHandler)}
}
