package keys

import (
	"strings"
	"testing"
	"time"
)

// The fix of a key whose record the operator must add is that record, which a zone file can have as it is. It is there from the first day. A key
// whose record a program publishes needs none.
func TestFix(t *testing.T) {
	s := newStore(t)
	made := create(t, s, "example.org", "rsa")
	for method, want := range map[string]string{"manual": made.Record, "rfc2136": ""} {
		rules := func(string) Rules { return Rules{Algorithms: []string{"rsa"}, Method: method, TTL: time.Hour} }
		all := load(t, s, nil).Status(rules, s.Now())
		if len(all) != 1 || all[0].Action != "" {
			t.Fatalf("%+v", all)
		}
		fix := all[0].Fix
		if want == "" {
			if fix != "" {
				t.Errorf("%s: %q", method, fix)
			}
			continue
		}
		if got := strings.Join(parseTXT(t, fix+"\n").Txt, ""); got != want || strings.Contains(fix, "\t") {
			t.Errorf("%s: %q", method, fix)
		}
	}
}
