// Package doctor runs checks and arranges their findings. A Check finds problems of a mail server; each Finding states what is wrong,
// where, why it matters and how to fix it. The packages postfix, host and domain below it have the checks of Postfix, of this host and
// of DNS records. They change nothing:
//
//	findings := doctor.Arrange(doctor.Run(ctx, host.Checks(facts)))
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
	Yellow Level = "yellow" // works, but not always or not for everyone
	Red    Level = "red"    // mail is lost, sent unsigned, or accepted although forged
)

// Finding is one result of a check.
type Finding struct {
	Check string `json:"check"` // the Name of the check; Run sets it
	Level Level  `json:"level"`
	What  string `json:"what"`            // the problem, in one line
	Where string `json:"where,omitempty"` // the file, parameter or DNS name where it was found, and its value
	Why   string `json:"why,omitempty"`   // why it matters; empty if Level is Green
	Fix   string `json:"fix,omitempty"`   // the command, configuration line or DNS record that fixes it; empty if Level is Green

	Domain string     `json:"domain,omitempty"` // the domain concerned; empty: this host
	Others []Instance `json:"others,omitempty"` // the further domains with the same cause; Arrange sets it
	Cause  string     `json:"-"`                // Arrange compares this text instead of What; set if What has other details that differ between domains
	First  bool       `json:"-"`                // the finding is listed before worse findings, because it explains them
}

// Check is one check of a list.
type Check struct {
	Name string // as in docs/doctor.md
	Doc  string // what the check examines, in the words of docs/doctor.md
	Run  func(context.Context) []Finding
}

// Run runs the checks in order and returns their findings. It sets Check of each finding. It makes all texts printable, because they
// contain text from DNS and from files.
func Run(ctx context.Context, checks []Check) (all []Finding) {
	for _, c := range checks {
		for _, f := range c.Run(ctx) {
			f.Check = c.Name
			all = append(all, f.Printable())
		}
	}
	return all
}

// Or returns a function for Check.Run that returns good as a green finding if run finds nothing. If several findings have the same Fix, it
// keeps only the first: one wrong setting can cause findings for several services.
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
