package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The observer is called once for each question. It gets the outcome of the query, or the outcome "cached" if no query was sent.
func TestObserver(t *testing.T) {
	z := zone(t, "a. 60 IN TXT a\na. 60 IN MX 1 b.")
	told := make(chan string, 10)
	r := newResolver(func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
		switch q.Question[0].Name {
		case "down.":
			return nil, errors.New("unplugged")
		case "defect.":
			panic("as asked for")
		}
		return z.Answer(q), nil
	}, time.Minute, time.Now, slog.New(slog.DiscardHandler))
	r.SetObserver(func(a Asked) { told <- fmt.Sprint(a.Type, " ", a.Outcome, " ", a.Took > 0) })
	v := r.View(netip.Addr{})
	for range 2 { // the second time, the message already has the answer
		_, _ = v.LookupTXT(t.Context(), "a")
	}
	_, _ = v.LookupMX(t.Context(), "a")
	_, _ = v.LookupA(t.Context(), "none")
	_, _ = v.LookupTXT(t.Context(), "down")
	_, _ = v.LookupTXT(t.Context(), "defect")
	_, _ = r.View(netip.Addr{}).LookupTXT(t.Context(), "a")
	var got []string
	for len(told) > 0 {
		got = append(got, <-told)
	}
	want := []string{"TXT found true", "MX found true", "A nothing true", "TXT temperror true", "TXT panic true", "TXT cached false"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
