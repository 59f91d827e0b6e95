package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// stuck is a response. Its Write blocks until the channel let is closed.
type stuck struct {
	*httptest.ResponseRecorder
	writes chan bool
	let    <-chan bool
}

func (s stuck) Write(b []byte) (int, error) {
	s.writes <- true
	<-s.let
	return s.ResponseRecorder.Write(b)
}

// Slow browsers do not delay other requests, even if their number is the maximum of concurrent pages.
func TestSlowBrowsers(t *testing.T) {
	h := newSite(t, record(1)).Handler()
	get(t, h, "/") // without other requests, because the race detector reports the sync.Map that reflect fills at the first call
	writes, let, done := make(chan bool, maxPages), make(chan bool), make(chan bool)
	for range maxPages {
		go func() {
			h.ServeHTTP(stuck{httptest.NewRecorder(), writes, let}, httptest.NewRequest(http.MethodGet, "http://localhost/", nil))
			done <- true
		}()
	}
	for range maxPages {
		<-writes
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/", nil).WithContext(ctx))
	if w.Code != http.StatusOK {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	close(let)
	for range maxPages {
		<-done
	}
}
