package control_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/domain"
)

// FuzzRequest sends requests to the control socket. The functions of the server get only valid names, kinds and items. Each request has an
// answer in JSON, and none is an error of the server itself.
func FuzzRequest(f *testing.F) {
	for _, s := range [][2]string{{"GET /missing?domain=example.org&selector=s1&for=activate", ""}, {"POST /lead?wait_ms=100", ""}, {"POST /items/put", `{"items":[{"kind":"count","day":"2026-12-01","name":"n","body":"eA=="}]}`},
		{"GET /items?after=%7B%22kind%22%3A%22count%22%7D", ""}, {"GET /items/changed?after=%7B%7D&kinds=report&kinds=x", ""}, {"POST /items/expire?before=2026-12-01&kinds=count", ""}, {"POST /forget?form=a&form=", ""},
		{"POST /command?name=leave&host=A", ""}, {"GET /messages?limit=-1", ""}, {"GET /%2e%2e/status", ""}, {"POST /sync", "x=y"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, line, body string) {
		method, target, _ := strings.Cut(line, " ")
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || method != http.MethodGet && method != http.MethodPost && method != http.MethodPut {
			t.Skip("not a request of HTTP")
		}
		isKind := func(k control.Kind) bool { return slices.Contains(control.Kinds(), k) }
		s := control.Server{
			Lease: func(context.Context) (l control.Lease, err error) { return l, nil },
			Lead:  func(context.Context) (l control.Lease, err error) { return l, nil },
			Missing: func(_ context.Context, name, selector string, p control.Purpose) ([]control.Behind, error) {
				for _, n := range []string{name, selector} {
					if parsed, err := domain.Parse(n); err != nil || parsed != n {
						t.Errorf("%q %v", n, err)
					}
				}
				return nil, nil
			},
			Sync: func(context.Context) error { return nil }, Status: func(context.Context) (s control.Status, err error) { return s, nil },
			Command: func(_ context.Context, _, host string) ([]byte, error) {
				if host != strings.ToLower(host) {
					t.Errorf("host %q", host)
				}
				return []byte("{}"), nil
			},
			Forget: func(_ context.Context, forms []string, _ bool) (int, error) {
				if len(forms) == 0 || slices.Contains(forms, "") {
					t.Errorf("forms %q", forms)
				}
				return 0, nil
			},
			Messages: func(context.Context, url.Values) (any, error) { return nil, nil },
			Message:  func(context.Context, url.Values) (any, error) { return nil, nil },
			Items: control.ItemServer{
				Put: func(_ context.Context, items []control.Item) ([]control.Item, error) {
					for _, i := range items {
						if !isKind(i.Kind) || len(i.Name) > 255 || len(i.Body) > control.MaxItemBody {
							t.Errorf("%+v", i)
						}
					}
					return nil, nil
				},
				List: func(_ context.Context, after control.Item) (p control.Items, err error) {
					if !isKind(after.Kind) {
						t.Errorf("%+v", after)
					}
					return p, nil
				},
				Changed: func(_ context.Context, _ control.Cursor, kinds []control.Kind) (p control.Items, err error) {
					if len(kinds) == 0 || slices.ContainsFunc(kinds, func(k control.Kind) bool { return !isKind(k) || !k.Changes() }) {
						t.Errorf("kinds %q", kinds)
					}
					return p, nil
				},
				Expire: func(_ context.Context, _ time.Time, kinds []control.Kind) error {
					if slices.ContainsFunc(kinds, func(k control.Kind) bool { return !isKind(k) }) {
						t.Errorf("kinds %q", kinds)
					}
					return nil
				},
				BounceKey: func(context.Context) (string, error) { return "", nil },
			},
		}
		r := httptest.NewRequest(method, "http://socket/", strings.NewReader(body))
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = u.Path, u.RawPath, u.RawQuery
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code == http.StatusOK && !json.Valid(w.Body.Bytes()) || w.Code == http.StatusInternalServerError || w.Code == http.StatusBadGateway {
			t.Errorf("%s: %d %s", line, w.Code, w.Body)
		}
	})
}
