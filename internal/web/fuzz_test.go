package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/html"

	"signpost/internal/glance"
	"signpost/internal/report/received"
	"signpost/internal/report/summary"
)

// FuzzRequest requests pages. No address makes the server fail. The text of a request adds no element of scripts, no address of another site
// and no unprintable character to a page.
func FuzzRequest(f *testing.F) {
	site := newSite(f, record(1), record(3), record(5), hostile("<b>evil</b>"))
	var t *testing.T // of the request; a function of the site must not use f
	now := site.Now()
	site.Received = func(_ context.Context, f received.Filter) (summary.Overview, error) { return someOverview(t, now, f) }
	site.About = func(_ context.Context, f received.Filter) (received.About, error) {
		return someAbout(t, now, "<b>evil</b>", f)
	}
	site.Domain = func(_ context.Context, name string) (glance.Domain, error) {
		if name != "example.org" {
			return glance.Domain{}, ErrNotHosted
		}
		return someDomain(t, now, name), nil
	}
	site.Examine = site.Domain
	h := site.Handler()
	for _, target := range []string{"/", "/search?domain=example.org&action=reject&since=7d", "/search?id=%3Cscript%3E&q=1", "/search?before=1&client=192.0.2.0%2f24&rcpt=a%40b", "/search?code=dmarc_fail&spf=fail&spf=pass&failed=1&all=1",
		"/message/1", "/message/-9223372036854775809", "/message/1?host=x", "/history/example.org?by=client&role=verify", "/keys", "/reports?x", "/received?domain=a&since=x", "/received/example.com?since=2026-01-01&until=1h",
		"/domain/example.org", "/domain/%2e%2e%2f?x=%00", "/doctor", "/style.css", "/search?since=%ff&until=javascript:alert(1)"} {
		f.Add(target)
	}
	f.Fuzz(func(running *testing.T, target string) {
		t = running
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || strings.HasSuffix(u.Path, "/look") {
			t.Skip("not an address of a page")
		}
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = u.Path, u.RawPath, u.RawQuery
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= http.StatusInternalServerError {
			t.Fatalf("%q: %d %s", target, w.Code, w.Body)
		}
		if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			return
		}
		doc, err := html.Parse(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		walk(doc, func(n *html.Node) {
			if n.Type == html.ElementNode && (n.Data == "script" || n.Data == "img" || n.Data == "iframe" || n.Data == "base") {
				t.Errorf("%q: element %s", target, n.Data)
			}
			for _, a := range n.Attr {
				address := a.Key == "href" || a.Key == "action" || a.Key == "src"
				if address && (!strings.HasPrefix(a.Val, "/") || strings.HasPrefix(a.Val, "//")) && a.Val != "#main" || strings.HasPrefix(a.Key, "on") {
					t.Errorf("%q: %s=%q", target, a.Key, a.Val)
				}
			}
		})
		for _, r := range text(doc) {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Errorf("%q shows %U", target, r)
			}
		}
	})
}
