// Package web serves the read-only page of signpost web: things to do, an overview of the journal, search, messages, keys, domains, DMARC reports
// that were sent and received, and doctor's findings. It is HTML without JavaScript. Most texts are from mail and DNS, and untrusted.
// html/template escapes them, and the template function show replaces unprintable characters.
//
//	err := web.Site{File: file, Open: open, Keys: keys, Doctor: doctor, Check: check, Now: time.Now}.Serve(ctx, listener)
package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/doctor"
	"signpost/internal/glance"
	"signpost/internal/hostheader"
	"signpost/internal/journal"
	"signpost/internal/report/received"
	"signpost/internal/report/seen"
	"signpost/internal/report/status"
	"signpost/internal/report/summary"
	"signpost/keys"
)

// Site has the sources of the page. All fields but Names and Cluster are required.
type Site struct {
	File   string                                              // of the journal
	Open   func() (*journal.Reader, error)                     // called for each page: the daemon may have replaced the journal
	Keys   func() ([]keys.Status, error)                       // called for each page
	Seen   func() (*seen.File, error)                          // what receivers saw of the keys; nil: nothing
	Doctor func(ctx context.Context) ([]doctor.Finding, error) // never called concurrently
	// Reports is called for each page of reports. The error wraps report.ErrNoState if no report was made yet.
	Reports func(ctx context.Context) (Reports, error)
	// Received and About are called for each page of received reports. Their errors wrap received.ErrNone if no report was received yet. That of
	// About wraps ErrNotHosted if the domain of the Filter is not hosted.
	Received func(context.Context, received.Filter) (summary.Overview, error)
	About    func(context.Context, received.Filter) (received.About, error)
	Check    func(ctx context.Context) []doctor.Finding // what signpost check finds
	Latest   func() (status.Received, error)            // the result of the last run of signpost reports read; the error wraps fs.ErrNotExist if there was none
	// Domain returns what this host knows about a hosted domain without DNS lookups, and Examine checks its DNS records. Both wrap ErrNotHosted.
	Domain  func(ctx context.Context, name string) (glance.Domain, error)
	Examine func(ctx context.Context, name string) (glance.Domain, error)
	Host    string           // the name of this host in the cluster
	Cluster *control.Client  // for searches of all hosts; nil: this host does not belong to a cluster
	Names   []string         // accepted host names, besides localhost and IP addresses
	Now     func() time.Time // in the time zone of the page
}

// Limits for requests.
const (
	headTimeout  = 5 * time.Second
	pageTimeout  = 15 * time.Second // for reading the journal
	writeTimeout = 30 * time.Second
	idleTimeout  = time.Minute
	maxHead      = 16 << 10 // bytes; browsers may send cookies of other services at this address
	maxPages     = 4        // at a time
	maxText      = 300      // bytes of a search
)

// drainTimeout is the time for which Serve waits for requests in progress when it stops.
const drainTimeout = 5 * time.Second

// Serve answers requests on ln until ctx ends.
func (s Site) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{Handler: s.Handler(), ReadTimeout: headTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHead}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		stopped <- server.Shutdown(ending)
	})
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	if err := <-stopped; err != nil { // a browser reads slowly
		return server.Close()
	}
	return nil
}

// site is a Site with the state of its server.
type site struct {
	Site
	pages  pages
	room   chan struct{}
	doctor background[examined]
	parts  parts
	looks  *looks
}

// Handler returns the handler of all pages.
func (s Site) Handler() http.Handler {
	w := &site{Site: s, pages: parse(s.Now().Location()), room: make(chan struct{}, maxPages), looks: newLooks()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", w.page("overview", w.overview))
	mux.HandleFunc("GET /history/{domain}", w.page("history", w.history))
	mux.HandleFunc("GET /search", w.page("search", w.search))
	mux.HandleFunc("GET /message/{number}", w.page("message", w.message))
	mux.HandleFunc("GET /keys", w.page("keys", w.keys))
	mux.HandleFunc("GET /reports", w.page("reports", w.reports))
	mux.HandleFunc("GET /received", w.page("received", w.received))
	mux.HandleFunc("GET /received/{domain}", w.page("receivedabout", w.receivedAbout))
	mux.HandleFunc("GET /domain/{domain}", w.page("domain", w.domain))
	mux.HandleFunc("GET /domain/{domain}/look", w.lookDomain)
	mux.HandleFunc("GET /doctor", w.page("doctor", w.findings))
	mux.HandleFunc("GET /doctor/look", w.look)
	mux.HandleFunc("GET /style.css", asset("style.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /icon.svg", asset("icon.svg", "image/svg+xml"))
	return s.guard(mux)
}

// contentPolicy allows a browser only to load the style sheet and icon of this page, and to send its forms.
const contentPolicy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guard rejects writes, unknown host names and requests that other web sites make through the browser. The page has no login.
func (s Site) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "this page is read-only: only GET and HEAD are allowed", http.StatusMethodNotAllowed)
		case !hostheader.Own(r.Host, s.Names):
			http.Error(w, "unknown host name in the request: use localhost or an IP address, or start signpost web with --name", http.StatusMisdirectedRequest)
		case foreign(r):
			http.Error(w, "request rejected: it came from another web site", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// foreign reports whether another web site caused a request. A link that the user followed does not count.
func foreign(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && (r.Header.Get("Sec-Fetch-Mode") != "navigate" || strings.HasSuffix(r.URL.Path, "/look"))
}

// view is the part of the model that all pages have.
type view struct {
	Title   string
	Problem string // an error, shown on the page
	Pages   []link
	Zone    string
	status  int    // 0: 200
	refresh string // header Refresh
}

// link is one of several links. Here marks the current page.
type link struct {
	Path, Name string
	Here       bool
}

func (v *view) frame() *view { return v }

// wrong sets the error of a page.
func (v *view) wrong(status int, text string) { v.status, v.Problem = status, text }

// shown is the model of a page.
type shown interface{ frame() *view }

// page returns a handler that writes a template. The function make returns the model for the template.
func (s *site) page(name string, make func(r *http.Request) shown) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
		defer cancel()
		select {
		case s.room <- struct{}{}:
		case <-ctx.Done():
			w.Header().Set("Retry-After", "5")
			http.Error(w, "too many requests at a time; try again", http.StatusServiceUnavailable)
			return
		}
		model := func() shown {
			defer func() { <-s.room }() // free the slot before writing, so that a slow browser does not delay other requests
			return make(r.WithContext(ctx))
		}()
		v := model.frame()
		v.Zone = zone(s.Now())
		for _, l := range []link{{Path: "/", Name: "Start"}, {Path: "/search", Name: "Search"}, {Path: "/keys", Name: "Keys"}, {Path: "/reports", Name: "Reports sent"}, {Path: "/received", Name: "Reports received"}, {Path: "/doctor", Name: "Doctor"}} {
			l.Here = l.Path == r.URL.Path
			v.Pages = append(v.Pages, l)
		}
		s.pages.write(w, name, model)
	}
}

// read opens the journal and passes it to the function read. If either fails, the page shows the error.
func (s *site) read(v *view, read func(*journal.Reader) error) {
	reader, err := s.Open()
	if err != nil {
		v.wrong(http.StatusServiceUnavailable, err.Error())
		return
	}
	defer reader.Close()
	if err := read(reader); err != nil {
		v.wrong(http.StatusServiceUnavailable, "reading the journal: "+err.Error())
	}
}
