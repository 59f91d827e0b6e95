package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"signpost/internal/hostheader"
)

// Limits for clients, which are usually Prometheus and a monitoring system.
const (
	headTimeout   = 5 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute // more than between two scrapes
	maxHead       = 8 << 10         // bytes
	maxScrapes    = 4               // at a time
	dialTimeout   = time.Second     // limits the health check of each milter socket
	lookupTimeout = 5 * time.Second // limits the lookup of a host name in metrics.listen
)

// Server answers /metrics, /healthz and /readyz.
type Server struct {
	http  *http.Server
	ln    net.Listener
	state atomic.Pointer[state]
}

// state is the state of the daemon for the checks.
type state struct {
	sockets []net.Addr // where Postfix connects
	why     string     // why the daemon is not ready; empty: ready
}

// Listen starts a server at addr. /readyz fails until Ready is called. Listen returns an error if the port is in use. The server
// rejects requests unless their Host is an IP address, localhost, the host in addr or the name of this machine. Otherwise a web site could
// use DNS rebinding to read the metrics through a browser on this network. The metrics name the operator's domains.
func Listen(addr string, m *Metrics, log *slog.Logger) (*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening at metrics.listen: %w", err)
	}
	s := &Server{ln: ln}
	s.state.Store(&state{why: "starting"})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: writeTimeout / 2}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.unhealthy()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.unready()) })
	s.http = &http.Server{
		Handler: guard(mux, ownNames(addr)), ReadTimeout: headTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHead,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		// After an error, the daemon continues without the metrics server.
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics server failed", "error", err)
		}
	}()
	return s, nil
}

// ownNames returns the host names that requests to a server at addr may have.
func ownNames(addr string) (names []string) {
	if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
		names = append(names, strings.ToLower(host))
	}
	if name, err := os.Hostname(); err == nil {
		names = append(names, strings.ToLower(name))
	}
	return names
}

func guard(next http.Handler, names []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hostheader.Own(r.Host, names) {
			http.Error(w, "unknown host name in the request; use an IP address or the host of metrics.listen", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Ready makes /readyz succeed as long as the milter sockets accept connections.
func (s *Server) Ready(sockets []net.Addr) { s.state.Store(&state{sockets: sockets}) }

// Draining makes /readyz fail: the daemon accepts no new mail.
func (s *Server) Draining() { s.state.Store(&state{why: "draining"}) }

// Close stops the server at once.
func (s *Server) Close() { s.http.Close() }

// unhealthy returns the reason why no mail can be filtered, or "". A daemon that starts or drains is healthy, because a restart would
// not help.
func (s *Server) unhealthy() string {
	for _, a := range s.state.Load().sockets {
		c, err := net.DialTimeout(a.Network(), a.String(), dialTimeout)
		if err != nil {
			return "a milter socket does not accept connections: " + err.Error()
		}
		c.Close() // an empty connection is not logged
	}
	return ""
}

func (s *Server) unready() string {
	if why := s.state.Load().why; why != "" {
		return why
	}
	return s.unhealthy()
}

func answer(w http.ResponseWriter, why string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if why != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, why+"\n")
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}
