package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// stuck takes in nothing until it is let go.
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

// Browsers that take a page in slowly, as many as pages are made at a time, keep nobody else waiting.
func TestSlowBrowsers(t *testing.T) {
	h := newSite(t, record(1)).Handler()
	get(t, h, "/") // alone: what reflect keeps of a first call in a sync.Map is a race to the detector, which does not look into that
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
