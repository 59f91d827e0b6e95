package explain

import (
	"strings"
	"testing"

	"signpost/internal/decision"
	"signpost/policy"
)

// An explanation states whether a copy of a report was kept, or why not. For a discarded report, it states where the report is.
func TestReport(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range policy.ReportCopies() {
		r := &decision.Record{Assignment: policy.Assignment{Role: policy.RoleVerify}, Verdict: policy.Verdict{Action: policy.Accept},
			Evidence: policy.Evidence{Report: &policy.ReceivedReport{Copy: c, Reporter: "reporter.example"}}}
		for _, row := range Message(r).Decided {
			if row.Label == "report" {
				seen[row.Text] = true
			}
		}
	}
	if len(seen) != len(policy.ReportCopies()) {
		t.Errorf("%d texts for %d values: %v", len(seen), len(policy.ReportCopies()), seen)
	}
	r := &decision.Record{Code: policy.ReportReceived, Assignment: policy.Assignment{Role: policy.RoleVerify},
		Verdict:  policy.Verdict{Action: policy.Discard, Reasons: []policy.Reason{{Code: policy.ReportReceived, Domain: "reporter.example"}}},
		Evidence: policy.Evidence{Report: &policy.ReceivedReport{Copy: policy.ReportKept, Reporter: "reporter.example"}}}
	if text := Message(r).Short; !strings.Contains(text, "discarded") || !strings.Contains(text, "a report of reporter.example, and signpost reports read has a copy") {
		t.Error(text)
	}
}
