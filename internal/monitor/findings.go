package monitor

import (
	"cmp"

	"signpost/internal/cli"
	"signpost/internal/doctor"
)

// Findings returns the problems as findings, the worst first, and one green finding for each check without a problem. CRITICAL is red.
// WARNING, and what could not be checked, is yellow.
func (r Report) Findings() (all []doctor.Finding) {
	faulty := map[string]bool{}
	for _, p := range r.problems {
		faulty[p.check] = true
		f := doctor.Finding{Check: p.check, Level: doctor.Yellow, What: p.text, Why: cmp.Or(p.why, why(p.check)), Fix: cmp.Or(p.fix, p.hint), Domain: p.domain}
		if p.state == cli.Critical {
			f.Level = doctor.Red
		}
		all = append(all, f.Printable())
	}
	for _, g := range r.good {
		if !faulty[g.check] {
			all = append(all, doctor.Finding{Check: g.check, Level: doctor.Green, What: g.text}.Printable())
		}
	}
	return all
}

// why returns why the problems of a check matter.
func why(check string) string {
	return map[string]string{
		"daemon":           "while the daemon does not answer, Postfix applies milter_default_action to each message",
		"keys":             "mail is sent unsigned, or will be when the key in use ends",
		"journal":          "mail is not affected, but later nobody can see what happened to a message",
		"cluster":          "this host continues with its own files",
		"received reports": "receivers of your mail see something that you do not see on this host",
	}[check]
}
