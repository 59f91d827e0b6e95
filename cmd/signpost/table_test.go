package main

import (
	"bytes"
	"strings"
	"testing"

	"signpost/internal/explain"
	"signpost/internal/term"
	"signpost/policy"
)

// In a terminal of 80 columns, the results and the beginning of the reason are on a second line, which is indented. In a wide terminal,
// everything is on one line.
func TestNarrowTable(t *testing.T) {
	conf := stateIn(t)
	for _, name := range []string{"forged", "legitimate"} {
		keepReports(t, conf, caseTime(), caseReports(t, name)...)
	}
	why := policy.Reason{Code: policy.DMARCFail, Domain: "example.com", Detail: "p=reject"}.String()
	for room, want := range map[int]string{
		80:  " verify reject\n    spf=pass dkim=none dmarc=fail  " + why,
		120: " verify reject spf=pass dkim=none dmarc=fail " + why[:10],
		0:   " verify reject spf=pass dkim=none dmarc=fail " + why + "\n",
	} {
		var b bytes.Buffer
		if err := explain.NewList(&b, room)(allEntries(t, conf)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%d columns: %q is missing in\n%s", room, want, &b)
		}
		for line := range strings.Lines(b.String()) {
			if room > 0 && term.Columns(strings.TrimSuffix(line, "\n")) > room {
				t.Errorf("%d columns: too long: %q", room, line)
			}
		}
	}
}
