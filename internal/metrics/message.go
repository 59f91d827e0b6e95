package metrics

import (
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/filter"
	"signpost/internal/spf"
	"signpost/policy"
)

// none is the word for no signature, and for a message without an Author Domain.
const none = "none"

func resultPairs() (all []pair) {
	for _, s := range []spf.Status{spf.None, spf.Neutral, spf.Pass, spf.Fail, spf.SoftFail, spf.TempError, spf.PermError} {
		all = append(all, pair{"spf", string(s)})
	}
	for _, s := range []dkim.Status{none, dkim.Pass, dkim.Fail, dkim.Policy, dkim.TempError, dkim.PermError} {
		all = append(all, pair{"dkim", string(s)})
	}
	for _, s := range []dmarc.Status{dmarc.Pass, dmarc.Fail, dmarc.None, dmarc.TempError, dmarc.PermError} {
		all = append(all, pair{"dmarc", string(s)})
	}
	all = append(all, cross([]string{"arc"}, []string{none, "pass", "fail"})...)
	return append(all, cross([]string{"iprev"}, []string{"pass", "fail", "permerror"})...)
}

// Message counts a message: filter.Filter.Measured.
func (m *Metrics) Message(f filter.Measure) {
	add(m.messages, string(f.Role), f.Disposition)
	m.forged.Add(float64(f.Forged))
	m.unnamed.Add(float64(f.Unnamed))
	if f.Role == policy.Sign && f.Disposition == "signed" {
		m.signSeconds.Observe(f.Spent.Seconds())
	}
	if !f.Verified {
		return
	}
	m.verifySeconds.Observe(f.Spent.Seconds())
	e := f.Evidence
	if f.IPRev != "" {
		add(m.results, "iprev", f.IPRev)
	}
	if e.SPF != nil {
		add(m.results, "spf", string(e.SPF.Status))
	}
	for i := range e.DKIM {
		add(m.results, "dkim", string(e.DKIM[i].Status))
	}
	if len(e.DKIM) == 0 {
		add(m.results, "dkim", none)
	}
	for i := range e.DMARC {
		add(m.results, "dmarc", string(e.DMARC[i].Status))
	}
	if len(e.DMARC) == 0 {
		add(m.results, "dmarc", none)
	}
	if e.ARC != nil {
		add(m.results, "arc", string(e.ARC.Status))
	}
}
