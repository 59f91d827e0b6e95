package daemon

import (
	"testing"
	"testing/synctest"
	"time"
)

// reports.receive.discard takes effect at a reload, if there are addresses.
func TestReloadDiscard(t *testing.T) {
	r := start(t, "")
	for text, want := range map[string]bool{"discard = true\n": false, "discard = true\naddresses = [\"dmarc@a.example\"]\n": true} {
		if log, ok := r.hangup("[reports.receive]\n" + text); !ok || r.now.Load().filter.Rules.DiscardReports != want {
			t.Errorf("%q: %v; %s", text, !want, log)
		}
	}
}

// A flood causes one line in a minute, with the number of its messages.
func TestSparse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sparse
		var got []int
		for range 5 {
			for range 100 {
				if n := s.count(time.Now()); n > 0 {
					got = append(got, n)
				}
			}
			time.Sleep(sparseInterval / 2)
		}
		if len(got) != 3 || got[0] != 1 || got[1] != 200 || got[2] != 200 {
			t.Errorf("%v", got)
		}
	})
}
