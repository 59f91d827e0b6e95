package main

import (
	"bytes"
	"strings"
	"testing"

	"signpost/internal/explain"
	"signpost/internal/term"
)

// In a terminal of 80 columns one sees the results and the beginning of the reason, in a line below that is no message's; in a wide
// one all is in one line.
func TestNarrowTable(t *testing.T) {
	conf := stateIn(t)
	for _, name := range []string{"forged", "legitimate"} {
		keepReports(t, conf, caseTime(), caseReports(t, name)...)
	}
	for room, want := range map[int]string{
		80:  " verify refused\n    spf=pass dkim=none dmarc=fail  DMARC fails for example.com, p=reject",
		120: " verify refused  spf=pass dkim=none dmarc=fail DMARC fails",
		0:   " verify refused  spf=pass dkim=none dmarc=fail DMARC fails for example.com, p=reject at example.com\n",
	} {
		var b bytes.Buffer
		if err := explain.NewList(&b, room)(allEntries(t, conf)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%d columns: there is no %q in\n%s", room, want, &b)
		}
		for line := range strings.Lines(b.String()) {
			if room > 0 && term.Columns(strings.TrimSuffix(line, "\n")) > room {
				t.Errorf("%d columns: too long: %q", room, line)
			}
		}
	}
}
