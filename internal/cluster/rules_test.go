package cluster

import (
	"maps"
	"testing"
)

// A change of one side is kept, and the same change of both sides is no conflict. If both sides changed a rule differently, the database
// wins.
func TestMergeRules(t *testing.T) {
	for _, c := range []struct {
		name                  string
		base, here, there     string // "": the rule does not exist
		merged                string
		conflict, withoutFile bool
	}{
		{name: "nothing", base: "a", here: "a", there: "a", merged: "a"},
		{name: "added here", here: "a", merged: "a"},
		{name: "added there", there: "a", merged: "a"},
		{name: "added on both sides", here: "a", there: "a", merged: "a"},
		{name: "added differently", here: "a", there: "b", merged: "b", conflict: true},
		{name: "changed here", base: "a", here: "b", there: "a", merged: "b"},
		{name: "changed there", base: "a", here: "a", there: "b", merged: "b"},
		{name: "changed differently", base: "a", here: "b", there: "c", merged: "c", conflict: true},
		{name: "deleted here", base: "a", there: "a"},
		{name: "deleted there", base: "a", here: "a"},
		{name: "deleted on both sides", base: "a"},
		{name: "deleted here, changed there", base: "a", there: "b", merged: "b", conflict: true},
		{name: "changed here, deleted there", base: "a", here: "b", conflict: true},
		{name: "the file is lost", base: "a", there: "a", merged: "a", withoutFile: true},
		{name: "the file is lost, changed there", base: "a", there: "b", merged: "b", withoutFile: true},
	} {
		one := func(text string) map[RuleID]string {
			if text == "" {
				return map[RuleID]string{}
			}
			return map[RuleID]string{{"deny", "domain=a.example"}: text}
		}
		local := one(c.here)
		if c.withoutFile {
			local = nil
		}
		merged, conflicts := MergeRules(one(c.base), local, one(c.there))
		if !maps.Equal(merged, one(c.merged)) || len(conflicts) == 1 != c.conflict {
			t.Errorf("%s: %v, conflicts %v", c.name, merged, conflicts)
		}
	}
	// Rules do not affect each other.
	a, b := RuleID{"allow", "domain=a.example"}, RuleID{"deny", "domain=a.example"}
	merged, conflicts := MergeRules(nil, map[RuleID]string{a: "x"}, map[RuleID]string{b: "y"})
	if !maps.Equal(merged, map[RuleID]string{a: "x", b: "y"}) || len(conflicts) > 0 {
		t.Errorf("%v, conflicts %v", merged, conflicts)
	}
}
