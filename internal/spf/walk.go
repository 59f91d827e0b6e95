package spf

import (
	"context"
	"net/netip"
)

// Walk is the way of a check through its records, for a person who reads along. A nil Walk takes no notes.
type Walk struct {
	Steps []Step `json:"steps"`
	Terms int    `json:"terms"` // terms that asked DNS, of the ten that may
	Voids int    `json:"voids"` // look-ups that found nothing, of the two that may

	depth int
	ended bool // by an error, which stands at its step
}

// Step is a record that was looked up, or one term of it that was tried.
type Step struct {
	Depth   int    `json:"depth"` // how many include and redirect lead here
	Domain  string `json:"domain"`
	Term    string `json:"term,omitempty"`   // empty: the step is the record
	Target  string `json:"target,omitempty"` // what the term's macros stand for
	Outcome string `json:"outcome"`          // the record; "match", "no match", or why the check ends here
	Terms   int    `json:"terms"`            // as in Walk, when the step was done
	Voids   int    `json:"voids"`
}

// Trace is Check with its Walk.
func Trace(ctx context.Context, r Resolver, client netip.Addr, helo, sender string) (Result, *Walk) {
	w := &Walk{Steps: []Step{}}
	return check(ctx, r, client, helo, sender, w), w
}

// begin notes a step whose outcome is not known yet: those of an include come between.
func (w *Walk) begin(domain, term string) int {
	if w == nil {
		return 0
	}
	w.Steps = append(w.Steps, Step{Depth: w.depth, Domain: domain, Term: term})
	return len(w.Steps) - 1
}

// beginRedirect does not make a string where nobody reads it.
func (w *Walk) beginRedirect(domain string, to DomainSpec) int {
	if w == nil {
		return 0
	}
	return w.begin(domain, "redirect="+string(to))
}

// target is for the step that was begun last.
func (w *Walk) target(name string) {
	if w != nil {
		w.Steps[len(w.Steps)-1].Target = name
	}
}

func (w *Walk) deeper(by int) {
	if w != nil {
		w.depth += by
	}
}

// end notes what came of a step. An error stands at the innermost step that met it.
func (w *Walk) end(at int, e *evaluation, outcome string, err error) {
	if w == nil {
		return
	}
	if err != nil {
		outcome = "the check ends below"
		if !w.ended {
			w.ended, outcome = true, "the check ends: "+err.Error()
		}
	}
	w.Terms, w.Voids = e.terms, e.voids
	s := &w.Steps[at]
	s.Outcome, s.Terms, s.Voids = outcome, e.terms, e.voids
}

func matchWord(matches bool) string {
	if matches {
		return "match"
	}
	return "no match"
}
