package metrics

import (
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/policy"
)

// none is the DKIM result of a message without a signature, and the DMARC result of a message without an Author Domain.
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

// Message counts a message. It is called for each record of filter.Filter.Finished.
func (m *Metrics) Message(r *decision.Record) {
	add(m.messages, string(r.Role), string(r.Decided()))
	if c := m.codes[r.Code]; c != nil {
		c.Inc()
	}
	m.forged.Add(float64(r.Forged))
	m.unnamed.Add(float64(r.Unnamed))
	seconds := r.HandlerMS / 1000
	if r.Decided() == policy.Sign {
		m.signSeconds.Observe(seconds)
	}
	if r.Role != policy.RoleVerify || r.SPF == nil {
		return
	}
	m.verifySeconds.Observe(seconds)
	if r.Report != nil {
		m.received.WithLabelValues(string(r.Report.Copy)).Inc()
	}
	if word := r.IPRev(); word != "" {
		add(m.results, "iprev", word)
	}
	add(m.results, "spf", string(r.SPF.Status))
	for i := range r.DKIM {
		add(m.results, "dkim", string(r.DKIM[i].Status))
	}
	if len(r.DKIM) == 0 {
		add(m.results, "dkim", none)
	}
	for i := range r.DMARC {
		add(m.results, "dmarc", string(r.DMARC[i].Status))
	}
	if len(r.DMARC) == 0 {
		add(m.results, "dmarc", none)
	}
	if r.ARC != nil {
		add(m.results, "arc", string(r.ARC.Status))
	}
}
