// Package doctor checks a mail server as a troubleshooting service would. Its packages postfix, host and domain check Postfix,
// this machine, and what domains publish in DNS. They change nothing.
package doctor

import (
	"context"
	"slices"
)

// Level is the severity of a finding.
type Level string

// The levels, as on a traffic light.
const (
	Green  Level = "green"  // correct
	Yellow Level = "yellow" // works, but not always or not for all
	Red    Level = "red"    // mail is lost, unsigned, or passes forged
)

// Finding is one result of a check.
type Finding struct {
	Check string `json:"check"` // the Name of the check; Run sets it
	Level Level  `json:"level"`
	What  string `json:"what"`            // what was found, in one line
	Where string `json:"where,omitempty"` // the file, parameter or DNS name where it was found, and its value
	Why   string `json:"why,omitempty"`   // why it matters; empty if Level is Green
	Fix   string `json:"fix,omitempty"`   // the exact line to type, write or publish; empty if Level is Green

	Domain string     `json:"domain,omitempty"` // the domain that it is about; empty: this host
	Others []Instance `json:"others,omitempty"` // the further domains with the same cause; Arrange sets it
	Cause  string     `json:"-"`                // what Arrange compares instead of What, if What names more than the domain
	First  bool       `json:"-"`                // stands before worse findings, because it explains them
}

// Check is one check of a list.
type Check struct {
	Name string // as in docs/doctor.md
	Doc  string // what it checks, as in docs/doctor.md
	Run  func(context.Context) []Finding
}

// Run runs checks in their order. It sets Check of what they find, and makes all texts printable, since they contain text from DNS
// and from files.
func Run(ctx context.Context, checks []Check) (all []Finding) {
	for _, c := range checks {
		for _, f := range c.Run(ctx) {
			f.Check = c.Name
			all = append(all, f.Printable())
		}
	}
	return all
}

// Or returns a Run that reports good as a green finding if run finds nothing. Of several findings with the same Fix, it keeps the
// first: several services may have one cause.
func Or(good string, run func(context.Context) []Finding) func(context.Context) []Finding {
	return func(ctx context.Context) []Finding {
		found := run(ctx)
		if len(found) == 0 {
			return []Finding{{Level: Green, What: good}}
		}
		var all []Finding
		for _, f := range found {
			if f.Fix == "" || !slices.ContainsFunc(all, func(other Finding) bool { return other.Fix == f.Fix }) {
				all = append(all, f)
			}
		}
		return all
	}
}
