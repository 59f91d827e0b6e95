package spf

import (
	"context"
	"net/netip"
)

// Path has the steps of a check, for signpost spf and explain. A nil *Path records nothing.
type Path struct {
	Steps []Step `json:"steps"`
	Terms int    `json:"terms"` // number of terms with DNS lookups, at most MaxTerms
	Voids int    `json:"voids"` // number of void lookups, at most MaxVoids

	depth int
	ended bool // an error ended the check; its step records the error
}

// Outcome is the result of a Step.
type Outcome string

// The outcomes. The first two are outcomes of a record. Redirected is the outcome of redirect=.
const (
	RecordFound Outcome = "record"
	RecordNone  Outcome = "no_record"
	Match       Outcome = "match"
	NoMatch     Outcome = "no_match"
	Redirected  Outcome = "redirected"  // Status is the result of the record that redirect= names
	Ended       Outcome = "ended"       // the check ends at this step, for the reason in Cause
	EndedBelow  Outcome = "ended_below" // the check ends at a later step, to which this step leads
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome {
	return []Outcome{RecordFound, RecordNone, Match, NoMatch, Redirected, Ended, EndedBelow}
}

// Step is a record that was looked up, or a term that was evaluated.
type Step struct {
	Depth   int      `json:"depth"` // number of include and redirect terms that lead here
	Domain  string   `json:"domain"`
	Term    string   `json:"term,omitempty"`   // empty: the step is the record
	Target  string   `json:"target,omitempty"` // the term's domain-spec with its macros expanded
	Outcome Outcome  `json:"outcome"`
	Record  string   `json:"record,omitempty"`  // RecordFound; Ended: the record that has an error; RecordNone with VersionMissing: see NearRecord
	Ignored []string `json:"ignored,omitempty"` // RecordFound: the unknown modifiers of the record, as written
	Status  Status   `json:"status,omitempty"`  // Redirected
	Cause   Cause    `json:"cause,omitempty"`   // Ended: the cause, which Detail, Wrong and Failed complete. RecordNone: VersionMissing or empty
	Detail  string   `json:"detail,omitempty"`
	Wrong   string   `json:"wrong_term,omitempty"` // the wrong term of Record
	Failed  string   `json:"failed,omitempty"`     // the DNS name whose lookup failed
	Terms   int      `json:"terms"`                // the value of Path.Terms after this step
	Voids   int      `json:"voids"`
}

// Trace returns the result of Check and its steps.
func Trace(ctx context.Context, r Resolver, client netip.Addr, helo, sender string) (Result, *Path) {
	p := &Path{Steps: []Step{}}
	return check(ctx, r, client, helo, sender, p), p
}

// begin adds a step whose outcome is not known yet, so that it precedes the steps to which it leads. It returns the index of the step.
func (p *Path) begin(domain, term string) int {
	if p == nil {
		return 0
	}
	p.Steps = append(p.Steps, Step{Depth: p.depth, Domain: domain, Term: term})
	return len(p.Steps) - 1
}

// target sets the target of the last step.
func (p *Path) target(name string) {
	if p != nil {
		p.Steps[len(p.Steps)-1].Target = name
	}
}

func (p *Path) deeper(by int) {
	if p != nil {
		p.depth += by
	}
}

// found ends the step of a record.
func (p *Path) found(at int, e *evaluation, record string, err error) {
	if p == nil {
		return
	}
	p.Steps[at].Record = record
	if record == "" {
		p.end(at, e, RecordNone, err)
		return
	}
	p.end(at, e, RecordFound, err)
}

// note completes the step of a record. It adds the parts that the check ignores: unknown modifiers, or a TXT record that is almost an SPF
// record. It looks up the TXT records again. The resolver returns the answer that it gave to the check.
func (p *Path) note(ctx context.Context, at int, r Resolver, record *Record) {
	if p == nil {
		return
	}
	s := &p.Steps[at]
	if record != nil {
		s.Ignored = record.Unknown
		return
	}
	if !lookable(s.Domain) {
		return
	}
	txt, err := r.LookupTXT(ctx, s.Domain)
	if near := NearRecord(txt); err == nil && near != "" {
		s.Record, s.Cause = near, VersionMissing
	}
}

// matched ends the step of a term.
func (p *Path) matched(at int, e *evaluation, matches bool, err error) {
	if matches {
		p.end(at, e, Match, err)
		return
	}
	p.end(at, e, NoMatch, err)
}

// redirected ends the step of redirect=.
func (p *Path) redirected(at int, e *evaluation, status Status, err error) {
	if p == nil {
		return
	}
	p.Steps[at].Status = status
	p.end(at, e, Redirected, err)
}

// end sets the outcome of a step. An error is recorded at the innermost step that it ended.
func (p *Path) end(at int, e *evaluation, outcome Outcome, err error) {
	if p == nil {
		return
	}
	p.Terms, p.Voids = e.terms, e.voids
	s := &p.Steps[at]
	s.Outcome, s.Terms, s.Voids = outcome, e.terms, e.voids
	if f := faultOf(err); f != nil {
		s.Outcome, s.Status = EndedBelow, ""
		if !p.ended {
			p.ended = true
			s.Outcome, s.Cause, s.Detail, s.Failed = Ended, f.Cause, f.Detail, f.Name
			if s.Term == "" {
				s.Wrong = f.Term
			}
		}
	}
}
