package policy

import "testing"

// A report that was accepted in spite of its DMARC result is delivered, although its copy is kept.
func TestReceivedWithException(t *testing.T) {
	e := Evidence{Report: &ReceivedReport{Copy: ReportKept, Kind: TLSReport, TLSReporter: "receiver.example", OnlyReportAddresses: true}}
	r := Rules{DiscardReports: true}
	for override, want := range map[Override]Action{"": Discard, LocalPolicy: Accept} {
		if v := received(e, r, Verdict{Action: Accept, Override: override}); v.Action != want {
			t.Errorf("override %q: %s, want %s", override, v.Action, want)
		}
	}
}
