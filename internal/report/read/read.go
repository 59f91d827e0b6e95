// Package read reads the reports that other receivers send: DMARC aggregate reports (RFC 7489 and RFC 9990) and TLS reports (RFC 8460). It
// accepts the deviations of common reporters, and recognizes failure reports (RFC 6591), which it does not read.
//
// A report is not trusted: who sent it is not in here. [Message] reads a message, [File] a file or attachment.
package read

import (
	"net/netip"
	"time"
)

// Kind is the kind of a report.
type Kind string

// The kinds.
const (
	Aggregate Kind = "aggregate" // DMARC, RFC 7489 or RFC 9990
	TLS       Kind = "tls"       // RFC 8460
	Failure   Kind = "failure"   // a DMARC failure report (RFC 6591, RFC 9991) or another ARF message; it has no other field
)

// Report is the content of one report. The texts are those of the reporter, in one line of at most 1000 bytes, in UTF-8 and without control
// characters. Names of domains are lower-case A-labels; what is not a name is a text in lower case.
type Report struct {
	Kind       Kind
	OrgName    string // what the reporter calls itself
	Contact    string // its mail address, or another contact
	ID         string // not empty: made of the dates if the report has none
	Generator  string
	Errors     []string
	Begin, End time.Time // UTC; End is the last second. The range is not always one day
	Domain     string    // the Policy Domain, lower-case A-labels; of a TLS report: that of the first policy

	Policy Policy // of an aggregate report
	Rows   []Row  // of an aggregate report

	Policies []TLSPolicy // of a TLS report
}

// Policy is the policy that the reporter found, in lower case. Absent tags are empty.
type Policy struct {
	P       string `json:"p,omitempty"`
	SP      string `json:"sp,omitempty"`
	NP      string `json:"np,omitempty"`
	ADKIM   string `json:"adkim,omitempty"`
	ASPF    string `json:"aspf,omitempty"`
	FO      string `json:"fo,omitempty"`
	Pct     string `json:"pct,omitempty"` // of RFC 7489
	Testing string `json:"testing,omitempty"`
}

// Row is one record element.
type Row struct {
	Source       netip.Addr  `json:"source_ip"` // not in the IPv4-mapped form
	Count        int64       `json:"count"`     // at least 0
	Disposition  string      `json:"disposition"`
	DKIM         bool        `json:"dkim_aligned"` // policy_evaluated: DKIM passed and is aligned
	SPF          bool        `json:"spf_aligned"`
	Reasons      []Reason    `json:"reasons,omitempty"`
	HeaderFrom   string      `json:"header_from"`
	EnvelopeFrom string      `json:"envelope_from,omitempty"`
	EnvelopeTo   string      `json:"envelope_to,omitempty"`
	Signatures   []Signature `json:"signatures,omitempty"`
	SPFResults   []SPFResult `json:"spf,omitempty"`
}

// Reason is why a disposition differs from the policy.
type Reason struct {
	Type    string `json:"type"`
	Comment string `json:"comment,omitempty"`
}

// Signature is the result of a DKIM signature, with the words of RFC 8601 in lower case.
type Signature struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector,omitempty"` // some reporters omit it
	Result   string `json:"result"`
	Human    string `json:"human_result,omitempty"`
}

// SPFResult is an SPF result. "hardfail" is read as "fail".
type SPFResult struct {
	Domain string `json:"domain"`
	Scope  string `json:"scope,omitempty"`
	Result string `json:"result"`
}

// TLSPolicy is the result of one policy of a TLS report.
type TLSPolicy struct {
	Type       string       `json:"type"` // sts, tlsa or no-policy-found
	Domain     string       `json:"domain"`
	Hosts      []string     `json:"mx_hosts,omitempty"`
	Successful int64        `json:"successful_sessions"`
	Failed     int64        `json:"failed_sessions"`
	Failures   []TLSFailure `json:"failures,omitempty"`
}

// TLSFailure is one kind of failed sessions.
type TLSFailure struct {
	Type    string     `json:"type"` // a result-type of RFC 8460 section 4.3
	Sending netip.Addr `json:"sending_mta_ip,omitzero"`
	MX      string     `json:"receiving_mx_hostname,omitempty"`
	Address netip.Addr `json:"receiving_ip,omitzero"`
	Count   int64      `json:"failed_sessions"`
	Reason  string     `json:"failure_reason_code,omitempty"`
	Info    string     `json:"additional_information,omitempty"`
}
