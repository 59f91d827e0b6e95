package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"signpost/internal/glance"
	"signpost/keys"
)

// hosting returns a site that hosts n domains, and whose checks of DNS records call examine.
func hosting(t *testing.T, n int, examine func(ctx context.Context, name string)) Site {
	t.Helper()
	site := newSite(t)
	now := time.Now()
	site.Now = time.Now
	site.Keys = func() (all []keys.Status, _ error) {
		for i := range n {
			k := someKeys(now)[0]
			key := *k.Key
			key.Domain = fmt.Sprintf("d%d.example", i)
			k.Key = &key
			all = append(all, k)
		}
		return all, nil
	}
	site.Domain = func(_ context.Context, name string) (glance.Domain, error) { return glance.Domain{Name: name}, nil }
	site.Examine = func(ctx context.Context, name string) (glance.Domain, error) {
		examine(ctx, name)
		return glance.Domain{Name: name}, nil
	}
	return site
}

// A page looks up no names for others: a domain that is not hosted is not found, and its records are not checked.
func TestForeignDomain(t *testing.T) {
	site := hosting(t, 1, func(_ context.Context, name string) { t.Errorf("%s is checked", name) })
	for _, name := range []string{"other.example", "exa_mple..org", "sub.d0.example"} {
		for _, path := range []string{"/domain/" + name, "/domain/" + name + "/look"} {
			if w := get(t, site.Handler(), path); w.Code != http.StatusNotFound {
				t.Errorf("%s: status %d", path, w.Code)
			}
		}
	}
}

// Clicks on "Check the records" share a run, do not repeat it for a minute, and at most two domains are checked at the same time.
func TestClicksShareACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs, running, most atomic.Int64
		h := hosting(t, 5, func(context.Context, string) {
			runs.Add(1)
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(10 * time.Second)
			running.Add(-1)
		}).Handler()
		click := func(name string) {
			if w := get(t, h, "/domain/"+name+"/look"); w.Code != http.StatusSeeOther {
				t.Errorf("status %d", w.Code)
			}
		}
		for range 3 {
			click("d0.example")
		}
		synctest.Wait()
		if page := get(t, h, "/domain/d0.example"); page.Header().Get("Refresh") == "" || !strings.Contains(page.Body.String(), "are being checked") {
			t.Error("the page does not state that the check is running")
		}
		time.Sleep(11 * time.Second)
		click("d0.example")
		synctest.Wait()
		if n := runs.Load(); n != 1 {
			t.Errorf("%d runs for four clicks within a minute, want 1", n)
		}
		time.Sleep(time.Minute)
		for i := range 5 {
			click(fmt.Sprintf("d%d.example", i))
		}
		time.Sleep(time.Minute)
		if n := runs.Load(); n != 6 || most.Load() != atOnce {
			t.Errorf("%d runs, want 6; %d at the same time, want %d", n, most.Load(), atOnce)
		}
	})
}

// The results of at most mostLooks domains are kept. A check that is running is never forgotten, so it is not started twice.
func TestManyDomains(t *testing.T) {
	l := newLooks()
	stop := make(chan bool)
	defer close(stop)
	running := l.of("running.example")
	running.start(time.Now, 0, func() (glance.Domain, error) { <-stop; return glance.Domain{}, nil })
	for i := range 3 * mostLooks {
		l.of(fmt.Sprintf("d%d.example", i)).start(time.Now, 0, func() (glance.Domain, error) { return glance.Domain{}, errors.New("no answer") })
		_ = l.of(fmt.Sprintf("d%d.example", i)).get(t.Context())
	}
	if len(l.all) > mostLooks || l.of("running.example") != running {
		t.Errorf("%d domains are kept, want at most %d; the running check is kept: %v", len(l.all), mostLooks, l.of("running.example") == running)
	}
}

// The page of a domain has a chart of the reports that others sent, and who sends as this domain.
func TestReportsAboutDomain(t *testing.T) {
	page := words(t, get(t, newSite(t, record(1)).Handler(), "/domain/example.org").Body.String())
	at := 0
	for _, want := range []string{"What receivers report", "Messages by DMARC result", "Who sends as example.org", "192.0.2.1 own", "Who sends as example.org and fails", "198.51.100.66 other"} {
		next := strings.Index(page[at:], want)
		if next < 0 {
			t.Fatalf("%q is missing, or in the wrong place: %s", want, page)
		}
		at += next
	}
}
