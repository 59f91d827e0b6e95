package policy

// ReceivedReport is about a message to an address of reports.receive.addresses that may be a report by its form.
type ReceivedReport struct {
	Copy ReportCopy `json:"copy"`
	Kind ReportKind `json:"kind,omitempty"` // empty: the form does not show it
	// Reporter is the domain that DMARC authenticates: d= of the signature or, if only SPF passed, the Author Domain.
	Reporter string `json:"reporter,omitempty"`
	// TLSReporter is d= of a signature that counts for TLS reports (RFC 8460 section 3).
	TLSReporter string `json:"tls_reporter,omitempty"`
	// OnlyReportAddresses states that all recipients are in reports.receive.addresses.
	OnlyReportAddresses bool `json:"only_report_addresses,omitempty"`
}

// ReportCopy states whether a copy of a message was kept for signpost reports read.
type ReportCopy string

// The values of ReportCopy.
const (
	ReportKept            ReportCopy = "kept"
	ReportUnauthenticated ReportCopy = "unauthenticated" // not kept: neither DMARC nor, for TLS reports, DKIM passes
	ReportTooLarge        ReportCopy = "too_large"       // not kept
	ReportOverLimit       ReportCopy = "over_limit"      // not kept: too many copies
	ReportFailed          ReportCopy = "failed"          // not kept: it could not be written
)

// ReportCopies returns all values of ReportCopy.
func ReportCopies() []ReportCopy {
	return []ReportCopy{ReportKept, ReportUnauthenticated, ReportTooLarge, ReportOverLimit, ReportFailed}
}

// ReportKind is the kind of a report.
type ReportKind string

// The kinds.
const (
	AggregateReport ReportKind = "aggregate"
	TLSReport       ReportKind = "tls"
	FailureReport   ReportKind = "failure"
)

// discardable reports whether a message may be discarded: its copy is on disk and will be read, and nobody else is to get the message.
// Failure reports are not read, so they are delivered.
func (r *ReceivedReport) discardable() bool {
	if r == nil || r.Copy != ReportKept || !r.OnlyReportAddresses {
		return false
	}
	return r.Kind == AggregateReport && r.Reporter != "" || r.Kind == TLSReport && r.TLSReporter != ""
}

// received discards an accepted report: reports.receive.discard.
func received(e Evidence, r Rules, v Verdict) Verdict {
	if v.Action != Accept || !r.DiscardReports || !e.Report.discardable() {
		return v
	}
	reporter := e.Report.Reporter
	if e.Report.Kind == TLSReport {
		reporter = e.Report.TLSReporter
	}
	v.Action = Discard
	v.Reasons = append([]Reason{{Code: ReportReceived, Domain: reporter}}, v.Reasons...)
	return v
}
