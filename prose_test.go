package signpost

import (
	"path/filepath"
	"testing"
)

// Programs must not depend on the English texts of decisions: docs/decisions/decision.md. Only these packages use the texts: policy,
// which writes them, explain, and the parts of the filter that write the log and the results.
func TestWhoWritesProse(t *testing.T) {
	code := checkTypes(t)
	may := func(file string) bool {
		switch filepath.ToSlash(file) {
		case "internal/filter/log.go", "internal/filter/results.go":
			return true
		}
		dir := filepath.Dir(file)
		return dir == "policy" || dir == filepath.Join("internal", "explain")
	}
	for _, name := range []string{"policy.Reason.String", "policy.Reason.Fact", "policy.Text", "policy.DKIMText", "policy.ChainText", "policy.SPFText", "policy.DMARCText",
		"policy.FaultText", "policy.AuthorText", "policy.Difference.String", "policy.Comparison.String"} {
		used := false
		for _, file := range code.uses[name] {
			used = true
			if !may(file) {
				t.Errorf("%s uses %s: decide by the code, and show text with internal/explain", file, name)
			}
		}
		if !used {
			t.Errorf("%s is not used: delete it", name)
		}
	}
}
