// Package web is a page about what the journal keeps: HTML made here, without JavaScript, and only to be looked at. What it
// shows came from strangers: html/template escapes it, and show takes out what does not print.
package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"signpost/internal/doctor"
	"signpost/internal/hostheader"
	"signpost/internal/journal"
	"signpost/keys"
)

// Site is what the page shows. All but Names must be given.
type Site struct {
	File   string                                              // the journal's
	Open   func() (*journal.Reader, error)                     // is closed after each page: a journal that was begun anew is the next page's
	Keys   func() ([]keys.Status, error)                       // for each page anew
	Doctor func(ctx context.Context) ([]doctor.Finding, error) // is never run twice at a time
	Names  []string                                            // by which browsers may call this host, beside localhost and addresses
	Now    func() time.Time                                    // its location is that of the times shown
}

// Bounds on whoever asks.
const (
	headTimeout  = 5 * time.Second
	pageTimeout  = 15 * time.Second // for what is read from the journal
	writeTimeout = 30 * time.Second
	idleTimeout  = time.Minute
	maxHead      = 16 << 10 // octets: browsers send cookies of other services at the same address
	maxPages     = 4        // made at a time
	maxText      = 300      // octets of what is searched for
)

// Server gives a server with the page's bounds.
func (s Site) Server() *http.Server {
	return &http.Server{Handler: s.Handler(), ReadTimeout: headTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHead}
}

// drainTimeout is how long Serve waits for pages under way when it stops.
const drainTimeout = 5 * time.Second

// Serve answers requests until ctx ends.
func (s Site) Serve(ctx context.Context, ln net.Listener) error {
	server := s.Server()
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
	if err := <-stopped; err != nil { // a browser that reads slowly
		return server.Close()
	}
	return nil
}

// site is a Site that serves.
type site struct {
	Site
	pages  pages
	room   chan struct{}
	doctor examination
}

// Handler answers requests.
func (s Site) Handler() http.Handler {
	w := &site{Site: s, pages: parse(s.Now().Location()), room: make(chan struct{}, maxPages)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", w.page(w.overview))
	mux.HandleFunc("GET /search", w.page(w.search))
	mux.HandleFunc("GET /message/{number}", w.page(w.message))
	mux.HandleFunc("GET /keys", w.page(w.keys))
	mux.HandleFunc("GET /doctor", w.page(w.findings))
	mux.HandleFunc("GET /doctor/look", w.look)
	mux.HandleFunc("GET /style.css", asset("style.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /icon.svg", asset("icon.svg", "image/svg+xml"))
	return s.guard(mux)
}

// contentPolicy lets a browser load nothing but our style and icon, run nothing, and send forms nowhere else.
const contentPolicy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guard keeps other sites in the same browser out: there is no login that they would lack.
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
			http.Error(w, "this page is only to be looked at", http.StatusMethodNotAllowed)
		case !hostheader.Own(r.Host, s.Names):
			http.Error(w, "signpost web does not go by this name: use localhost or an address, or name it with --name", http.StatusMisdirectedRequest)
		case foreign(r):
			http.Error(w, "another site may link to this page, and not use it", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// foreign is what a browser asks on behalf of another site, but for following its links.
func foreign(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && (r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.URL.Path == "/doctor/look")
}

// view is what the frame of each page needs.
type view struct {
	Title   string
	Problem string // what is wrong, for the reader
	Pages   []link
	Zone    string
	status  int    // 0: 200
	refresh string // header Refresh
}

// link is one of several, of which one may be where the reader is.
type link struct {
	Path, Name string
	Here       bool
}

func (v *view) frame() *view { return v }

// wrong has a page say what is wrong.
func (v *view) wrong(status int, text string) { v.status, v.Problem = status, text }

// shown is a page's model.
type shown interface{ frame() *view }

// page answers with what make gives, and the template of that name.
func (s *site) page(make func(r *http.Request) (name string, model shown)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
		defer cancel()
		select {
		case s.room <- struct{}{}:
		case <-ctx.Done():
			w.Header().Set("Retry-After", "5")
			http.Error(w, "too many pages are asked for at a time; try again", http.StatusServiceUnavailable)
			return
		}
		name, model := s.make(r.WithContext(ctx), make)
		v := model.frame()
		v.Zone = zone(s.Now())
		for _, l := range []link{{Path: "/", Name: "Overview"}, {Path: "/search", Name: "Search"}, {Path: "/keys", Name: "Keys"}, {Path: "/doctor", Name: "Doctor"}} {
			l.Here = l.Path == r.URL.Path
			v.Pages = append(v.Pages, l)
		}
		s.pages.write(w, name, model)
	}
}

// make reads what a page shows, and then gives its room back: who takes the page in slowly keeps nobody waiting.
func (s *site) make(r *http.Request, make func(r *http.Request) (string, shown)) (string, shown) {
	defer func() { <-s.room }()
	return make(r)
}
