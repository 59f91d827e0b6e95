package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"signpost/internal/decision"
	"signpost/internal/doctor"
	"signpost/internal/journal"
	"signpost/internal/report/seen"
	"signpost/internal/report/status"
	"signpost/keys"
	"signpost/policy"
)

// words returns the text of a page, with single spaces.
func words(t *testing.T, page string) string {
	t.Helper()
	return strings.Join(strings.Fields(text(parsed(t, page))), " ")
}

// The things to do come first, the worst first, each with what fixes it and links. What is in order follows, with the time of the check.
func TestThingsToDo(t *testing.T) {
	page := settled(t, newSite(t, record(1)).Handler()).Body.String()
	got := words(t, page)
	at := 0
	for _, want := range []string{"Things to do", "red no record", "v=spf1 mx -all", "Found by signpost doctor: spf", "yellow example.org s202612: waiting for its record",
		"s202612._domainkey.example.org. 3600 IN TXT", "all about example.org", "No problem found: the daemon answers. Checked", "Doctor: 1 red, 0 yellow, 1 green", "Mail", "2 keys sign for 2 domains", "9 failed", "1 given up"} {
		next := strings.Index(got[at:], want)
		if next < 0 {
			t.Fatalf("%q is missing, or in the wrong place: %s", want, got)
		}
		at += next
	}
	for _, want := range []string{`href="/domain/example.org"`, `<pre class="copy">`} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(got, "all is well") {
		t.Error(got)
	}
}

// If there is nothing to do, one line states what was checked, and when. What only root can check does not count, but is mentioned.
func TestAllIsWell(t *testing.T) {
	site := newSite(t, record(1))
	site.Check = func(context.Context) []doctor.Finding {
		return []doctor.Finding{{Check: "daemon", Level: doctor.Green, What: "the daemon answers"}, {Check: "keys", Level: doctor.Green, What: "2 keys sign"}}
	}
	site.Doctor = func(context.Context) ([]doctor.Finding, error) {
		return []doctor.Finding{{Check: "mx", Level: doctor.Green, What: "mail"}, {Check: "keys", Level: doctor.Yellow, What: "permission denied", Fix: needsRoot}}, nil
	}
	got := words(t, settled(t, site.Handler()).Body.String())
	if want := "all is well the daemon answers; 2 keys sign (checked "; !strings.Contains(got, want) || strings.Contains(got, "Things to do") || !strings.Contains(got, "need root: 1") {
		t.Error(got)
	}
	site.Doctor = func(context.Context) ([]doctor.Finding, error) { return nil, errors.New("doctor cannot run") }
	if got := words(t, settled(t, site.Handler()).Body.String()); strings.Contains(got, "all is well") || !strings.Contains(got, "yellow doctor cannot run") {
		t.Error("doctor failed, but all is well:", got)
	}
}

// The start page appears at once even if every part of it hangs, and requests do not start a part again while it runs.
func TestStartPageAtOnce(t *testing.T) {
	site := newSite(t, record(1))
	stop := make(chan bool)
	defer close(stop)
	calls := make(chan string, 100)
	hang := func(name string) { calls <- name; <-stop }
	site.Check = func(context.Context) []doctor.Finding { hang("check"); return nil }
	site.Doctor = func(context.Context) ([]doctor.Finding, error) { hang("doctor"); return nil, nil }
	site.Keys = func() ([]keys.Status, error) { hang("keys"); return nil, nil }
	site.Seen = func() (*seen.File, error) { hang("seen"); return nil, nil }
	site.Latest = func() (status.Received, error) { hang("latest"); return status.Received{}, fs.ErrNotExist }
	site.Reports = func(context.Context) (Reports, error) { hang("reports"); return Reports{}, nil }
	h := site.Handler()
	for range 4 {
		start := time.Now()
		w := get(t, h, "/")
		if took := time.Since(start); took > 3*time.Second || w.Code != http.StatusOK || w.Header().Get("Refresh") == "" {
			t.Fatalf("%v %d", took, w.Code)
		}
		if got := words(t, w.Body.String()); strings.Contains(got, "all is well") || !strings.Contains(got, "The checks are running") || !strings.Contains(got, "1 messages") {
			t.Error(got)
		}
	}
	if len(calls) != 5 { // check, doctor, keys, latest, reports
		t.Errorf("%d calls", len(calls))
	}
}

// A part that panics is an error on the page, and the next run starts again.
func TestPanicOfPart(t *testing.T) {
	site := newSite(t, record(1))
	site.Check = func(context.Context) []doctor.Finding { panic("x") }
	if got := words(t, settled(t, site.Handler()).Body.String()); !strings.Contains(got, "yellow internal error") {
		t.Error(got)
	}
}

// Each part of a bar, and each number of the table, leads to exactly the messages that it counts.
func TestBarsLeadToMessages(t *testing.T) {
	var all []*decision.Record
	for n := range 60 {
		r := record(n)
		if n == 7 {
			r.Action = policy.Hold
		}
		all = append(all, r)
	}
	site := newSite(t, all...)
	h := site.Handler()
	for _, path := range []string{"/", "/?span=7d", "/history/sender3.example"} {
		bars, checked := 0, 0
		walk(parsed(t, get(t, h, path).Body.String()), func(n *html.Node) {
			if n.Type != html.ElementNode || n.Data != "a" || n.Parent.Data != "td" && n.Parent.Data != "g" {
				return
			}
			link := attribute(n, "href")
			if !strings.Contains(link, "until=") {
				return
			}
			if n.Parent.Data == "g" {
				bars++
				return
			}
			checked++
			w := get(t, h, link)
			if got, want := strings.Count(w.Body.String(), `href="/message/`), text(n); fmt.Sprint(got) != want || w.Code != http.StatusOK {
				t.Errorf("%s: %d messages, want %s: %d", link, got, want, w.Code)
			}
		})
		if bars == 0 || bars != checked {
			t.Errorf("%s: %d bars, %d numbers", path, bars, checked)
		}
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// The history of a domain counts its messages only.
func TestHistory(t *testing.T) {
	var all []*decision.Record
	for n := range 70 {
		all = append(all, record(n))
	}
	h := newSite(t, all...).Handler()
	if got := words(t, get(t, h, "/history/SENDER3.example.").Body.String()); !strings.Contains(got, "Messages of sender3.example") || !strings.Contains(got, "10 messages") {
		t.Error(got)
	}
	if w := get(t, h, "/history/"+strings.Repeat("x", 400)); w.Code != http.StatusBadRequest {
		t.Error(w.Code)
	}
	if page := get(t, h, "/history/example.org").Body.String(); !strings.Contains(page, `href="/domain/example.org"`) || !strings.Contains(page, `href="/received/example.org"`) {
		t.Error(page)
	}
}

// A record that the operator must add to DNS is a thing to do from the first day. A thousand of them are one, with three records.
func TestRecordToPublish(t *testing.T) {
	site := newSite(t, record(1))
	site.Keys = func() (all []keys.Status, err error) {
		for n := range 1000 {
			k := &keys.Key{Domain: fmt.Sprintf("d%03d.example", n), Selector: "s1", State: keys.Generated, Metadata: &keys.Metadata{}}
			all = append(all, keys.Status{Key: k, Next: "add its record to DNS", Fix: "s1._domainkey." + k.Domain + ". 3600 IN TXT x"})
		}
		return all, nil
	}
	got := words(t, settled(t, site.Handler()).Body.String())
	if want := "yellow d000.example s1: add its record to DNS; the same for 999 more domains"; strings.Count(got, "add its record to DNS") != 1 || !strings.Contains(got, want) || !strings.Contains(got, "s1._domainkey.d002.example. 3600 IN TXT x") {
		t.Error(got)
	}
}

// With a journal of a million messages, each page that a link of the start page leads to appears within a second or two.
func TestMillion(t *testing.T) {
	path := largeJournal(t)
	site := newSite(t)
	site.File, site.Open = path, func() (*journal.Reader, error) { return journal.OpenReader(path) }
	h := site.Handler()
	for _, at := range []string{"/", "/?span=90d", "/history/sender0.example?span=90d", "/search?failed=1"} {
		start := time.Now()
		w := get(t, h, at)
		t.Logf("%s: %v, %d", at, time.Since(start).Round(time.Millisecond), w.Code)
		if took := time.Since(start); took > 3*time.Second || w.Code != http.StatusOK {
			t.Errorf("%s: %v, %d", at, took, w.Code)
		}
	}
}

// largeJournal returns the journal that make bench-journal wrote, as SIGNPOST_JOURNAL_FILE names it.
func largeJournal(t *testing.T) string {
	t.Helper()
	path := os.Getenv("SIGNPOST_JOURNAL_FILE")
	if path == "" {
		t.Skip("set SIGNPOST_JOURNAL_FILE to a journal of make bench-journal")
	}
	return path
}
