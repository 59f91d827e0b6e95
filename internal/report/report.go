// Package report makes DMARC aggregate reports (RFC 9990) from the journal, and keeps their state.
//
// [Collect] reads the messages of one UTC day and makes a [Report] for each Policy Domain and published policy. [Report.File] writes the
// attachment. A [State] is the database reports.db: a report is frozen there before it is first sent, so a report that is sent again is
// the same, byte for byte. A [Key] makes the envelope senders, by which a bounce is recognized.
//
//	err := report.Collect(ctx, reader, day, report.Options{}, func(r *report.Report) error {
//		if r.Optional {
//			return nil // it must not be sent
//		}
//		file, err := r.File(sender)
//		if err != nil {
//			return err
//		}
//		_, err = state.Freeze(ctx, file.Frozen(r, sender, now), destinations)
//		return err
//	})
package report

import (
	"net/netip"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/policy"
)

// Report is the content of one aggregate report: the messages of one UTC day whose DMARC policy was found at one domain, with the same
// published policy.
type Report struct {
	Day    time.Time `json:"day"` // its first second, UTC
	Policy Policy    `json:"policy"`
	Rows   []Row     `json:"rows"` // those with the most messages first; at most maxRows

	// Optional reports that each row is optional: it has mail to our own report addresses, or refused mail of domains of which the
	// journal has no message that passed. Such a report must not be sent.
	Optional bool `json:"optional,omitempty"`

	Messages   int  `json:"messages"`                     // the sum of the counts
	TempErrors int  `json:"dmarc_temperrors,omitempty"`   // messages without a row, because DMARC resulted in temperror
	Omitted    int  `json:"omitted,omitempty"`            // messages without a row, because the report is full
	Lost       int  `json:"lost,omitempty"`               // messages of that day, of any domain, that are missing from the journal
	Late       bool `json:"journal_incomplete,omitempty"` // the journal lacks the beginning of the day

	// Part is 2 or more if other messages of the day were reported before, because a host of the site was late. Partial reports that the
	// messages of a host are missing.
	Part    int  `json:"part,omitempty"`
	Partial bool `json:"partial,omitempty"`
}

// Policy is a published policy, with the defaults of absent tags (RFC 9989 section 4.7). Reports with equal policies, days and senders have
// equal IDs.
type Policy struct {
	Domain     string       `json:"domain"` // the Policy Domain: where the record was found; lower-case A-labels
	P          dmarc.Policy `json:"p"`
	SP         dmarc.Policy `json:"sp"`
	NP         dmarc.Policy `json:"np"`
	FO         string       `json:"fo"`
	StrictDKIM bool         `json:"strict_dkim,omitempty"` // adkim=s
	StrictSPF  bool         `json:"strict_spf,omitempty"`  // aspf=s
	Testing    bool         `json:"testing,omitempty"`     // t=y
	Faulty     bool         `json:"faulty,omitempty"`      // p, sp or np is absent or not valid, so the record counts as p=none
}

// Row is the record element of messages that are equal in everything but their number.
type Row struct {
	Source      netip.Addr  `json:"source_ip"` // of the client; not in the IPv4-mapped form
	Count       int         `json:"count"`
	Disposition Disposition `json:"disposition"`
	DKIM        bool        `json:"dkim_aligned"` // a signature passed and is aligned
	SPF         bool        `json:"spf_aligned"`
	Reasons     []Reason    `json:"reasons,omitempty"` // why Disposition differs from the policy

	HeaderFrom   string `json:"header_from"` // the Author Domain
	EnvelopeFrom string `json:"envelope_from"`
	Folded       bool   `json:"folded,omitempty"` // the report has too many rows, so EnvelopeFrom is omitted

	Signatures []Signature `json:"signatures,omitempty"` // in the order of RFC 9990 section 3.1.3
	SPFDomain  string      `json:"spf_domain,omitempty"` // empty: there is no SPF result
	SPFResult  spf.Status  `json:"spf,omitempty"`
}

// Disposition is what was done with a message: an ActionDispositionType of RFC 9990.
type Disposition string

// The dispositions. DispositionPass is the disposition of accepted messages that passed, if the policy is not none.
const (
	DispositionNone       Disposition = "none"
	DispositionPass       Disposition = "pass"
	DispositionQuarantine Disposition = "quarantine"
	DispositionReject     Disposition = "reject"
)

// Reason is why a disposition differs from the policy.
type Reason struct {
	Type    policy.Override `json:"type"`
	Comment string          `json:"comment,omitempty"` // a policy.Code, or observe_mode
}

// Signature is the result of a DKIM signature.
type Signature struct {
	Domain   string      `json:"domain"`
	Selector string      `json:"selector"`
	Result   dkim.Status `json:"result"`
}

// Begin returns the first second of the report.
func (r *Report) Begin() time.Time { return r.Day }

// End returns the last second of the report.
func (r *Report) End() time.Time { return r.Day.AddDate(0, 0, 1).Add(-time.Second) }
