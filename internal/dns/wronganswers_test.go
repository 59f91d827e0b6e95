package dns_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A server sends answers that are wrong. Records that were not requested are never used. An answer that cannot be trusted is a temporary
// error, and an error of the domain owner is a permanent one. No such answer is cached.
func TestWrongAnswers(t *testing.T) {
	const truth = "truth"
	var zone strings.Builder
	kinds := []string{"WRONG-ID", "WRONG-QUESTION", "OTHER-NAME", "OTHER-TYPE", "LOOP", "HUGE", "UPPER-CASE"}
	for _, kind := range kinds {
		name := strings.ToLower(kind) + ".example."
		fmt.Fprintf(&zone, "%s 60 IN TXT %s\n;fault %s %s\n", name, truth, name, kind)
	}
	for i := range 1000 {
		fmt.Fprintf(&zone, "thousand.example. 60 IN TXT v=DMARC1;%d\n", i)
	}
	for i := range 100 {
		fmt.Fprintf(&zone, "hundred.example. 60 IN TXT %d\n", i)
	}
	for i := range 200 {
		fmt.Fprintf(&zone, "c%d.example. 60 IN CNAME c%d.example.\n", i, i+1)
	}
	zone.WriteString("c200.example. 60 IN TXT truth\nself.example. 60 IN CNAME self.example.\nlasso.example. 60 IN CNAME self.example.\n")
	s := server(t, zone.String())
	for _, c := range []struct{ name, want, asks string }{
		{"wrong-id.example", "temporary 0", "again"},
		{"wrong-question.example", "temporary 0", "again"},
		{"other-name.example", "temporary 0", "again"},
		{"other-type.example", "temporary 0", "again"},
		{"loop.example", "temporary 0", "again"},
		{"self.example", "temporary 0", "again"},
		{"lasso.example", "temporary 0", "again"},
		{"huge.example", "permanent 0", "again"},
		{"thousand.example", "permanent 0", "again"},
		{"hundred.example", "ok 100", "once"},
		{"upper-case.example", "ok 1", "once"},
		{"Upper-CASE.example", "ok 1", "once"},
		{"c200.example", "ok 1", "once"},
		{"c184.example", "ok 1", "once"}, // 16 aliases in one answer
		{"c150.example", "ok 1", "once"}, // more aliases, in several answers
		{"c0.example", "temporary 0", "again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			timeout := 10 * time.Second
			if strings.HasPrefix(c.name, "wrong-") { // these answers are ignored, so each query ends with its timeout
				timeout = 100 * time.Millisecond
			}
			r := resolver(timeout, s.Addr())
			before := 0
			for _, question := range []string{"first", "second"} {
				got, err := r.View(netip.Addr{}).LookupTXT(t.Context(), c.name)
				if s := fmt.Sprintf("%s %d", kind(err), len(got)); s != c.want {
					t.Errorf("the %s lookup: %s (%v), want %s", question, s, err, c.want)
				}
				asked := len(s.Queries())
				if question == "second" && (asked > before) != (c.asks == "again") {
					t.Errorf("the second lookup sent %d queries, want %s", asked-before, c.asks)
				}
				before = asked
			}
		})
	}
}

// If one of two servers sends wrong answers, a lookup succeeds after the timeout of that server.
func TestWrongAnswersOfOneServer(t *testing.T) {
	wrong := server(t, ";fault a.example WRONG-ID\n")
	honest := server(t, "a.example. 60 IN TXT truth\n")
	r := resolver(300*time.Millisecond, wrong.Addr(), honest.Addr())
	if got, err := r.View(netip.Addr{}).LookupTXT(t.Context(), "a.example"); err != nil || fmt.Sprint(got) != "[truth]" {
		t.Error(got, err)
	}
}
