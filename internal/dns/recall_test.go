package dns

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A view of recorded lookups returns the same answers and errors as the view of the message, and no others.
func TestRecall(t *testing.T) {
	z := zone(t, `text.example. TXT "v=spf1 \"a\\\" -all, x" "second"
text.example. TXT "a comma, \"quoted\""
addr.example. A 192.0.2.1
addr.example. A 192.0.2.2
addr.example. AAAA 2001:db8::1
addr.example. MX 10 mx.addr.example.
addr.example. MX 20 mx2.addr.example.
1.2.0.192.in-addr.arpa. PTR host.example.
1.2.0.192.in-addr.arpa. PTR an\032odd\,\032name.example.
`+strings.Repeat("huge.example. TXT \""+strings.Repeat("x", 250)+"\"\n", maxRecords+1))
	live := fake(func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
		if strings.HasPrefix(q.Question[0].Name, "broken.") {
			return nil, fmt.Errorf("read udp 127.0.0.1:53: i/o timeout, twice")
		}
		return z.Answer(q), nil
	}).View(netip.Addr{})
	ask := func(v *View) (all []string) {
		say := func(answer any, err error) { all = append(all, fmt.Sprintf("%v %#v", answer, err)) }
		for _, name := range []string{"text.example", "TEXT.example.", "addr.example", "nothing.example", "broken.example", "huge.example"} {
			txt, err := v.LookupTXT(t.Context(), name)
			say(fmt.Sprintf("%q", txt), err)
			exists, err := v.Exists(t.Context(), name)
			say(exists, err)
			a, err := v.LookupA(t.Context(), name)
			say(a, err)
			aaaa, err := v.LookupAAAA(t.Context(), name)
			say(aaaa, err)
			mx, err := v.LookupMX(t.Context(), name)
			for _, m := range mx {
				say(*m, nil)
			}
			say(len(mx), err)
		}
		for _, addr := range []string{"192.0.2.1", "192.0.2.9"} {
			names, err := v.LookupAddr(t.Context(), addr)
			say(names, err)
		}
		return all
	}
	want := ask(live)
	again := Recall(live.Answered().Lookups())
	got := ask(again)
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s, want %s", got[i], want[i])
		}
	}
	if again.Missed() {
		t.Error("a lookup would have needed a query")
	}
	if _, err := again.LookupTXT(t.Context(), "other.example"); err == nil || !again.Missed() {
		t.Error("a lookup that was not recorded has an answer:", err)
	}
}
