package web

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"signpost/internal/report/received"
	"signpost/internal/report/summary"
	"signpost/internal/testreports"
)

// someStore returns a database with the reports of testreports.
func someStore(t testing.TB, now time.Time, evil string) *received.Store {
	s, err := received.Open(context.Background(), filepath.Join(t.TempDir(), "reports", "received.db"), true, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	testreports.Fill(t, s, now, evil)
	return s
}

func someOverview(t testing.TB, now time.Time, f received.Filter) (o summary.Overview, err error) {
	s := someStore(t, now, "")
	defer s.Close()
	all, err := s.Domains(t.Context(), f)
	o = summary.NewOverview(all, map[string]bool{"example.org": true, "example.net": true, "silent.example.org": true})
	o.Alarms = testreports.Alarms(now, "")
	return o, err
}

func someAbout(t testing.TB, now time.Time, evil string, f received.Filter) (a received.About, err error) {
	if f.Domain != "example.org" {
		return a, ErrNotHosted
	}
	s := someStore(t, now, evil)
	defer s.Close()
	a, err = s.About(t.Context(), f, received.Site{Own: testreports.Own(), Known: testreports.Known()}, 30)
	a.Alarms = testreports.Alarms(now, evil)
	for i := range a.Most {
		a.Most[i].Name = "mail.example.org" + evil
	}
	return a, err
}

// The list has the hosted domains with their numbers and alarms, and the domains without reports.
func TestReceived(t *testing.T) {
	s := newSite(t)
	words := strings.Join(strings.Fields(text(parsed(t, get(t, s.Handler(), "/received").Body.String()))), " ")
	for _, want := range []string{"example.org", "30.8 %", "silent.example.org", "not hosted here: 1", "unknown_source", "this source is not known", "silent.example sent reports regularly"} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in %s", want, words)
		}
	}
	if strings.Contains(words, "foreign.example") {
		t.Error("a domain that is not hosted is listed")
	}
	s.Received = func(context.Context, received.Filter) (summary.Overview, error) {
		return summary.Overview{}, fmt.Errorf("x: %w", received.ErrNone)
	}
	if w := get(t, s.Handler(), "/received"); w.Code != 200 || !strings.Contains(w.Body.String(), "No report was received yet") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	s.Received = func(context.Context, received.Filter) (summary.Overview, error) {
		return summary.Overview{}, errors.New("permission denied")
	}
	if w := get(t, s.Handler(), "/received"); w.Code != 503 || !strings.Contains(w.Body.String(), "permission denied") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The page about a domain has its numbers, sources, reporters, TLS sessions, alarms, and the cost of a policy. Other domains have no page.
func TestReceivedAbout(t *testing.T) {
	h := newSite(t).Handler()
	w := get(t, h, "/received/Example.org")
	page := w.Body.String()
	words := strings.Join(strings.Fields(text(parsed(t, page))), " ")
	for _, want := range []string{"22334 messages", "6880 passed DMARC", "30.8 %", "Policy seen: p=none sp=none", "192.0.2.1 own", "203.0.113.5 known", "weekly.example", "trusted", "imported", "certificate-expired",
		"453 of 7263 messages (6.2 %) would be affected", "Do not publish", "from your own addresses: this is your mail", "google.com, yahoo.example", "selector_fails", "Reports: 1 2"} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in %s", want, words)
		}
	}
	if n := strings.Count(page, `<rect class="c-unknown" x=`); w.Code != 200 || n != 30 {
		t.Errorf("%d: %d bars have a part for unknown sources", w.Code, n)
	}
	for path, want := range map[string]int{"/received/example.com": 404, "/received/exa%3Cb%3Emple": 404, "/received/example.org?span=360d": 200, "/received/example.org?span=none": 200, "/received/": 404} {
		if w := get(t, h, path); w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	week := get(t, h, "/received/example.org?span=7d").Body.String()
	if n := strings.Count(week, `<rect class="r-pass" x=`); n != 7 {
		t.Errorf("%d days", n)
	}
}

// Texts of reporters add no element, attribute, link or unprintable character to the page.
func TestHostileReports(t *testing.T) {
	shape := func(evil string) string {
		site := newSite(t)
		site.About = func(ctx context.Context, f received.Filter) (received.About, error) {
			return someAbout(t, site.Now(), evil, f)
		}
		w := get(t, site.Handler(), "/received/example.org")
		if w.Code != 200 {
			t.Fatal(w.Code, w.Body)
		}
		var b strings.Builder
		doc := parsed(t, w.Body.String())
		walk(doc, func(n *html.Node) {
			if n.Type == html.CommentNode {
				b.WriteString("comment ")
			}
			if n.Type != html.ElementNode {
				return
			}
			b.WriteString(n.Data)
			for _, a := range n.Attr {
				fmt.Fprintf(&b, " %s", a.Key)
				if a.Key == "href" && !strings.HasPrefix(a.Val, "/") && a.Val != "#main" {
					t.Errorf("a link to %q", a.Val)
				}
			}
			b.WriteString("\n")
		})
		for _, r := range text(doc) {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Errorf("the page shows %U", r)
			}
		}
		return b.String()
	}
	harmless := shape("zqx")
	for _, evil := range []string{"<script>zqx</script>", `"><img src=x onerror=zqx>`, "</title></dd><b>zqx", "\u202ezqx\u2066\x1b[31m\x00", "{{.}}zqx"} {
		if got := shape(evil); got != harmless {
			t.Errorf("%q changes the page:\n%s\nwant\n%s", evil, got, harmless)
		}
	}
}
