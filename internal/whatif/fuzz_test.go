package whatif

import (
	"encoding/json"
	"slices"
	"testing"

	"signpost/internal/journal"
	"signpost/policy"
)

// FuzzJudge checks that each entry is judged, whatever an earlier version or a damaged journal has put into its fields: the result is an action,
// or the reason why there is none. The entry is not changed.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{
		`{"role":"verify","action":"reject","code":"dmarc_fail","smtp":true,"client":"192.0.2.1","header_from":["a.example"],"spf":{"status":"fail"},"dkim":[{"status":"fail"}],"dmarc":[{"status":"fail","domain":"a.example","policy":"none","published":"none","tag":"p"}],"arc":{"sets":[{}]}}`,
		`{"role":"sign","action":"sign","code":"authenticated","login":"~0123456789abcdef","header_from":["example.org"],"selectors":["s"],"from_use":[{}]}`,
		`{"role":"verify","code":"hostile_from","from_cause":"several","reasons":[{}],"dmarc":[{},{}]}`, `{"code":"no_usable_key","mail_from":"","others":[{}]}`,
	} {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(255))
	}
	f.Fuzz(func(t *testing.T, text []byte, set uint8) {
		var e journal.Entry
		if json.Unmarshal(text, &e) != nil {
			return
		}
		has := func(bit int) bool { return set>>bit&1 == 1 }
		rules := policy.Rules{Hosted: map[string]bool{"example.org": has(0)}, Reject: policy.RejectOnEvidence, Quarantine: policy.QuarantineTag, TempError: policy.TempErrorAccept,
			HostileFrom: policy.HostileRefuse, LoginMaps: has(1), LoginUnlisted: policy.Accept, LoginMismatch: policy.Reject, OnMissingKey: policy.Tempfail}
		if has(2) {
			rules.LoginDomains = map[string][]string{"ann": {"example.org"}}
		}
		if has(3) {
			rules.TempError, rules.HostileFrom = policy.TempErrorDefer, policy.HostileTag
		}
		before, _ := json.Marshal(&e)
		for _, entry := range []*journal.Entry{&e, AsIf(&e, "reject")} {
			got := Judge(entry, rules)
			if kind, _ := kindOf(e.Code); got.Unknown == "" && kind != independent && !slices.Contains(policy.Actions(), got.Action) {
				t.Errorf("%+v", got)
			}
		}
		if after, _ := json.Marshal(&e); string(after) != string(before) {
			t.Errorf("the entry was %s, and is %s", before, after)
		}
	})
}
