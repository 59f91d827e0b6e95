package filter

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"signpost/milter"
)

// The journal is handed what Judged is told, its look-ups to be written out later, with as many recipients as are remembered.
func TestKept(t *testing.T) {
	f := newFilter(t, "example.com. TXT \"v=spf1 -all\"\n")
	var kept []Kept
	var judged []Report
	f.Kept, f.Judged = func(k Kept) { kept = append(kept, k) }, func(r Report) { judged = append(judged, r) }
	session := milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}
	for _, wanted := range []bool{false, true} {
		f.Recipients = wanted
		m := f.Begin(t.Context(), session, milter.Envelope{Sender: "a@example.com"})
		for range maxRecipients + 1 {
			m.Recipient([]byte(strings.Repeat("b", 2*maxAddress)))
		}
		m.Header("From", " a@example.com")
		m.EndHeaders("Q")
		m.Finish(t.Context())
		k, r := kept[len(kept)-1], judged[len(judged)-1]
		if a, b := k.Answered.Lookups(), r.Lookups; len(a) == 0 || len(a) != len(b) || !reflect.DeepEqual(a, b) || k.Evidence.SPF.Status != "fail" {
			t.Errorf("kept %+v, judged %+v", k, r)
		}
		e := k.Evidence.Envelope
		if e.Addressees != maxRecipients+1 || wanted && (len(e.Recipients) != maxRecipients || len(e.Recipients[0]) != maxAddress) || !wanted && e.Recipients != nil {
			t.Errorf("%d recipients, of %d", len(e.Recipients), e.Addressees)
		}
	}
}

// A message that could not be worked on to its end is in the journal too, with what became of it.
func TestBrokenIsKept(t *testing.T) {
	f := newFilter(t, "")
	var kept []Kept
	f.Kept = func(k Kept) { kept = append(kept, k) }
	envelope := milter.Envelope{Sender: "a@example.com", QueueID: "Q1"}
	f.Broken(milter.Session{SMTP: true}, envelope)
	f.Broken(milter.Session{}, milter.Envelope{})
	f.Observe = true
	f.Broken(milter.Session{SMTP: true}, envelope)
	if len(kept) != 3 || kept[0].Done != "deferred 451 4.3.0" || kept[1].Done != "accepted" || !kept[2].Observe || kept[2].Done != kept[0].Done {
		t.Fatalf("%+v", kept)
	}
	if k := kept[0]; k.Evidence.QueueID != "Q1" || k.Evidence.Envelope.Sender != "a@example.com" || !strings.Contains(k.Verdict.Reason, "an internal error") {
		t.Errorf("%+v", k)
	}
}
