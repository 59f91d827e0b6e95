package monitor

import (
	"strings"
	"testing"

	"signpost/internal/doctor"
	"signpost/keys"
)

// Each problem is a finding with the level of its state, its domain and what fixes it. Each check without a problem is green.
func TestFindings(t *testing.T) {
	s := newSite(t)
	s.message(s.Journal.File)
	for _, f := range Check(t.Context(), s.Source).Findings() {
		if f.Level != doctor.Green || f.What == "" || f.Check == "" {
			t.Errorf("%+v", f)
		}
	}
	s.closed()
	s.key("s2", false)
	s.must(s.store.Host("example.net"))
	s.Rules = func(string) keys.Rules {
		return keys.Rules{Algorithms: []string{"ed25519"}, Method: "manual", TTL: 3600e9}
	}
	s.later(8 * 24 * 3600e9)
	all := Check(t.Context(), s.Source).Findings()
	for _, want := range []doctor.Finding{
		{Check: "daemon", Level: doctor.Red, What: "the daemon does not answer", Fix: daemonFix()},
		{Check: "keys", Level: doctor.Red, What: "example.net: no active key", Fix: "dkimkey add example.net", Domain: "example.net"},
		{Check: "keys", Level: doctor.Red, What: "dkimkey rotate succeeded", Fix: "dkimkey rotate"},
		{Check: "keys", Level: doctor.Yellow, What: "example.org s2: ", Fix: "s2._domainkey.example.org. 3600 IN TXT (", Domain: "example.org"},
		{Check: "journal", Level: doctor.Green, What: "journal "},
	} {
		found := false
		for _, f := range all {
			if strings.Contains(f.Fix, `\x`) {
				t.Errorf("cannot be copied: %q", f.Fix)
			}
			found = found || f.Check == want.Check && f.Level == want.Level && strings.HasPrefix(f.What, want.What) && strings.Contains(f.Fix, want.Fix) && f.Domain == want.Domain && (f.Why == "") == (f.Level == doctor.Green)
		}
		if !found {
			t.Errorf("no finding %+v in %+v", want, all)
		}
	}
	if all[0].Level != doctor.Red || all[len(all)-1].Level != doctor.Green {
		t.Errorf("the worst is not first: %+v", all)
	}
}
