package spf

import (
	"context"
	"net/netip"
)

// Path is the steps of a check, for a person who wants to follow it. A nil *Path records nothing.
type Path struct {
	Steps []Step `json:"steps"`
	Terms int    `json:"terms"` // number of terms that asked DNS, MaxTerms at most
	Voids int    `json:"voids"` // number of void lookups, MaxVoids at most

	depth int
	ended bool // by an error, which is recorded at its step
}

// Step is a record that was looked up, or one term of it that was evaluated.
type Step struct {
	Depth   int    `json:"depth"` // number of include and redirect terms that lead here
	Domain  string `json:"domain"`
	Term    string `json:"term,omitempty"`   // empty: the step is the record
	Target  string `json:"target,omitempty"` // the term's domain-spec with its macros expanded
	Outcome string `json:"outcome"`          // the record; "match", "no match", or why the check ends here
	Terms   int    `json:"terms"`            // as in Path, after the step
	Voids   int    `json:"voids"`
}

// Trace returns the result of Check and its steps.
func Trace(ctx context.Context, r Resolver, client netip.Addr, helo, sender string) (Result, *Path) {
	p := &Path{Steps: []Step{}}
	return check(ctx, r, client, helo, sender, p), p
}

// begin adds a step whose outcome is not known yet: the steps of an include precede it. It returns the index of the step.
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

// end sets the outcome of a step. An error is recorded at the innermost step that it ended.
func (p *Path) end(at int, e *evaluation, outcome string, err error) {
	if p == nil {
		return
	}
	if err != nil {
		outcome = "the check ends below"
		if !p.ended {
			p.ended, outcome = true, "the check ends: "+err.Error()
		}
	}
	p.Terms, p.Voids = e.terms, e.voids
	s := &p.Steps[at]
	s.Outcome, s.Terms, s.Voids = outcome, e.terms, e.voids
}

func matchWord(matches bool) string {
	if matches {
		return "match"
	}
	return "no match"
}
