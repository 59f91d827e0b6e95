package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/glance"
	"signpost/internal/journal"
	"signpost/internal/report/received"
	"signpost/internal/report/seen"
	"signpost/internal/report/status"
	"signpost/internal/report/summary"
	"signpost/internal/spf"
	"signpost/keys"
	"signpost/policy"
)

// record returns message n. Every third message is rejected, and every fifth is signed.
func record(n int) *decision.Record {
	domain := fmt.Sprintf("sender%d.example", n%7)
	e := policy.Evidence{
		QueueID: fmt.Sprintf("4fXy%04d", n), MessageID: fmt.Sprintf("<%d@%s>", n, domain), Size: 2000,
		Connection: policy.Connection{Client: netip.AddrFrom4([4]byte{192, 0, 2, byte(n % 9)}), HELO: "mta." + domain, SMTP: true},
		Envelope:   policy.Envelope{Sender: "bounce@" + domain}, Author: dmarc.Author{Domains: []string{domain}},
	}
	if n%5 == 0 {
		return &decision.Record{Code: policy.Authenticated, Assignment: policy.Assignment{Role: policy.RoleSign, Reason: policy.Reason{Code: policy.Authenticated}, Domain: domain},
			Verdict: policy.Verdict{Action: policy.Sign}, Evidence: e, Selectors: []string{"s1"}}
	}
	e.SPF = &spf.Result{Status: spf.Pass, Identity: spf.MailFrom, Domain: domain, Record: "v=spf1 ip4:192.0.2.0/24 -all"}
	e.DKIM = []dkim.Result{{Status: dkim.Pass, Domain: domain, Selector: "s"}}
	e.DMARC = []dmarc.Result{{Status: dmarc.Pass, Domain: domain, OrgDomain: domain, PolicyDomain: domain, Record: "v=DMARC1; p=reject", Tag: "p", Published: "reject", Policy: "reject", Aligned: &dmarc.AlignedIdentifier{Method: dmarc.DKIM, Domain: domain}}}
	r := &decision.Record{Code: policy.DMARCPass, Assignment: policy.Assignment{Role: policy.RoleVerify}, Verdict: policy.Verdict{Action: policy.Accept, Reasons: []policy.Reason{{Code: policy.DMARCPass, Domain: domain}}}, Evidence: e,
		Lookups: []dns.Lookup{{Name: "_dmarc." + domain + ".", Type: "TXT", Status: dns.NoError, Records: []string{"v=DMARC1; p=reject"}}}}
	if n%3 == 0 {
		r.Evidence.SPF.Status, r.Evidence.DKIM[0].Status, r.Evidence.DMARC[0].Status, r.Evidence.DMARC[0].Aligned = spf.Fail, dkim.Fail, dmarc.Fail, nil
		r.Code = policy.DMARCFail
		r.Verdict = policy.Verdict{Action: policy.Reject, Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Email rejected per DMARC policy for " + domain}, Reasons: []policy.Reason{{Code: policy.DMARCFail, Domain: domain, Detail: "p=reject"}}}
	}
	return r
}

// newSite returns a Site with some messages, keys and findings.
func newSite(t testing.TB, records ...*decision.Record) Site {
	t.Helper()
	now := time.Now().UTC()
	path := filepath.Join(t.TempDir(), "journal", "journal.db")
	var asked atomic.Int64 // the journal's writer reads the time too
	j := journal.Open(journal.Options{Path: path, Limits: journal.Limits{Keep: 14 * 24 * time.Hour, MaxSize: 64 << 20, Addresses: journal.Full},
		Now: func() time.Time { return now.Add(-20*time.Hour + time.Duration(asked.Add(1))*5*time.Minute) }, Log: slog.New(slog.DiscardHandler)})
	for _, r := range records {
		j.Add(r)
	}
	j.Close()
	return Site{File: path, Open: func() (*journal.Reader, error) { return journal.OpenReader(path) },
		Keys: func() ([]keys.Status, error) { return someKeys(now), nil },
		Seen: func() (*seen.File, error) { return nil, nil },
		Doctor: func(context.Context) ([]doctor.Finding, error) {
			return []doctor.Finding{{Check: "mx", Level: doctor.Green, What: "mail.example.org"}, {Check: "spf", Level: doctor.Red, What: "no record", Where: "example.org", Why: "others cannot tell", Fix: "example.org. TXT \"v=spf1 mx -all\"\nor another"}}, nil
		},
		Check: func(context.Context) []doctor.Finding {
			return []doctor.Finding{{Check: "keys", Level: doctor.Yellow, What: "example.org s202612: waiting for its record since 2026-11-22", Why: "mail is sent unsigned, or will be when the key in use ends",
				Fix: "s202612._domainkey.example.org. 3600 IN TXT ( \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\" )", Domain: "example.org"},
				{Check: "daemon", Level: doctor.Green, What: "the daemon answers"}}
		},
		Latest: func() (status.Received, error) {
			return status.Received{LastRun: now, OK: true, Day: now.AddDate(0, 0, -2), Passed: 812, Failed: 9}, nil
		},
		Reports: func(context.Context) (Reports, error) { return someReports(now), nil },
		Domain:  func(_ context.Context, name string) (glance.Domain, error) { return someDomain(t, now, name), nil },
		Examine: func(_ context.Context, name string) (glance.Domain, error) { return someDomain(t, now, name), nil },
		Received: func(ctx context.Context, f received.Filter) (summary.Overview, error) {
			return someOverview(t, now, f)
		},
		About: func(ctx context.Context, f received.Filter) (received.About, error) { return someAbout(t, now, "", f) },
		Now:   func() time.Time { return now }}
}

// A key that was activated before its record was seen is shown as signing all the time.
func TestAgesOfUnseenKey(t *testing.T) {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	later := at.Add(24 * time.Hour)
	var names []string
	for _, a := range ages(&keys.Metadata{Created: at, Published: &later, Seen: &later, Activated: &at}) {
		names = append(names, a.name)
	}
	if got := strings.Join(names, " "); got != "created signs" {
		t.Error(got)
	}
}

// get requests a page as a browser does.
func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://localhost:9891"+path, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// settled requests the start page until the checks and doctor have ended, and returns it.
func settled(t *testing.T, h http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		w := get(t, h, "/")
		if w.Header().Get("Refresh") == "" {
			return w
		}
		if time.Now().After(limit) {
			t.Fatal("the checks do not end")
		}
	}
}

// walk visits each node of a page.
func walk(n *html.Node, visit func(*html.Node)) {
	visit(n)
	for c := range n.ChildNodes() {
		walk(c, visit)
	}
}

func parsed(t *testing.T, text string) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// text returns the text of a page.
func text(doc *html.Node) string {
	var b strings.Builder
	walk(doc, func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	})
	return b.String()
}

// The page answers only GET and HEAD requests for a known host name, and rejects requests that other sites make. Each response has the
// security headers.
func TestGuard(t *testing.T) {
	site := newSite(t, record(1))
	site.Names = []string{"mail.example.org"}
	h := site.Handler()
	for _, c := range []struct {
		what, method, host, path, site, mode string
		want                                 int
	}{
		{"a valid request", "GET", "localhost:9891", "/", "none", "navigate", 200},
		{"an address", "GET", "[::1]:9891", "/", "", "", 200},
		{"a configured name", "HEAD", "Mail.Example.org", "/search", "", "", 200},
		{"a form that writes", "POST", "localhost", "/", "", "", 405},
		{"DNS rebinding", "GET", "evil.example:9891", "/", "", "", 421},
		{"no host", "GET", "", "/", "", "", 421},
		{"another site's link", "GET", "localhost", "/keys", "cross-site", "navigate", 200},
		{"another site's picture", "GET", "localhost", "/", "cross-site", "no-cors", 403},
		{"another site's link to doctor", "GET", "localhost", "/doctor/look", "cross-site", "navigate", 403},
		{"no such page", "GET", "localhost", "/none", "", "", 404},
		{"no such message", "GET", "localhost", "/message/1", "", "", 404},
		{"no client", "GET", "localhost", "/search?client=x", "", "", 400},
	} {
		r := httptest.NewRequest(c.method, "http://localhost"+c.path, nil)
		r.Host = c.host
		r.Header.Set("Sec-Fetch-Site", c.site)
		r.Header.Set("Sec-Fetch-Mode", c.mode)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.what, w.Code, c.want)
		}
		for name, want := range map[string]string{"Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", c.what, name, got)
			}
		}
	}
}

// A search returns the matching messages, fifty on a page, with a link to older ones.
func TestSearch(t *testing.T) {
	var all []*decision.Record
	for n := range 120 {
		all = append(all, record(n))
	}
	h := newSite(t, all...).Handler()
	list := func(path string) (n int, older string) {
		walk(parsed(t, get(t, h, path).Body.String()), func(e *html.Node) {
			for _, a := range e.Attr {
				if a.Key == "href" && strings.HasPrefix(a.Val, "/message/") {
					n++
				}
				if a.Key == "href" && strings.Contains(a.Val, "before=") {
					older = a.Val
				}
			}
		})
		return n, older
	}
	total, at := 0, "/search"
	for at != "" {
		n := 0
		n, at = list(at)
		total += n
	}
	if total != 120 {
		t.Errorf("the pages have %d messages", total)
	}
	for path, want := range map[string]int{"/search?failed=1": 32, "/search?id=4fXy0007": 1, "/search?domain=SENDER3.example.": 17, "/search?action=sign&role=sign": 24,
		"/search?client=192.0.2.0/28&dmarc=fail": 32, "/search?client=203.0.113.1": 0, "/search?since=1h": 0, "/search?since=24h&action=sign": 24,
		"/search?rcpt=nobody@example.org": 0, "/search?mail-from=sender3.example": 17, "/search?selector=nosuch": 0, "/search?code=dmarc_fail&failed=1": 32} {
		if n, _ := list(path); n != want {
			t.Errorf("%s: %d messages, want %d", path, n, want)
		}
	}
}

// The overview counts each message once, and shows it in the chart.
func TestOverview(t *testing.T) {
	var all []*decision.Record
	for n := range 60 {
		all = append(all, record(n))
	}
	page := get(t, newSite(t, all...).Handler(), "/").Body.String()
	words := strings.Join(strings.Fields(text(parsed(t, page))), " ")
	for _, want := range []string{"60 messages", "32 accept", "12 sign", "16 reject", "sender3.example"} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is missing: %s", want, words)
		}
	}
	if n := strings.Count(page, `<rect class="v-reject" x=`); n < 3 {
		t.Errorf("%d bars have a part for rejected messages", n)
	}
}

// The page runs doctor only at the request of the user, and never twice at the same time. The findings stay on the page.
func TestDoctor(t *testing.T) {
	site := newSite(t, record(1))
	begun, end := make(chan bool, 2), make(chan bool)
	whole := site.Doctor
	site.Doctor = func(ctx context.Context) ([]doctor.Finding, error) {
		begun <- true
		<-end
		return whole(ctx)
	}
	h := site.Handler()
	if strings.Contains(get(t, h, "/doctor").Body.String(), "Doctor is running") {
		t.Error("doctor runs before it is requested")
	}
	for range 2 {
		if w := get(t, h, "/doctor/look"); w.Code != http.StatusSeeOther {
			t.Errorf("%d", w.Code)
		}
	}
	<-begun
	if w := get(t, h, "/doctor"); !strings.Contains(w.Body.String(), "Doctor is running") || w.Header().Get("Refresh") == "" {
		t.Errorf("%v\n%s", w.Header(), w.Body)
	}
	end <- true
	for limit := time.Now().Add(10 * time.Second); !strings.Contains(get(t, h, "/doctor").Body.String(), "others cannot tell"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the findings are missing")
		}
	}
	if len(begun) > 0 {
		t.Error("he looked twice")
	}
}

// The findings that need action come first. The green findings follow in a few lines.
func TestDoctorsOrder(t *testing.T) {
	site := newSite(t, record(1))
	site.Doctor = func(context.Context) ([]doctor.Finding, error) {
		return []doctor.Finding{{Check: "a", Level: doctor.Green, What: "first"}, {Check: "b", Level: doctor.Yellow, What: "second"}, {Check: "c", Level: doctor.Red, What: "third"}, {Check: "d", Level: doctor.Green, What: "fourth"}}, nil
	}
	h := site.Handler()
	get(t, h, "/doctor/look")
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		words := strings.Join(strings.Fields(text(parsed(t, get(t, h, "/doctor").Body.String()))), " ")
		if strings.Contains(words, "red c third yellow b second green No action needed afirst dfourth") { // green findings have no space between name and text
			return
		}
		if time.Now().After(limit) {
			t.Fatal(words)
		}
	}
}
