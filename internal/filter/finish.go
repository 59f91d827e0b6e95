package filter

import (
	"cmp"
	"context"
	"errors"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/milter"
	"signpost/policy"
)

// Finish applies the decision and logs it.
func (m *message) Finish(ctx context.Context) (milter.Edits, milter.Reply) {
	begin := time.Now()
	m.report.arrived()
	if m.verifying() {
		m.finishVerifying(ctx)
		m.verdict = policy.Decide(m.evidence, m.rules)
		if m.finishReport(); m.evidence.Report != nil {
			m.verdict = policy.Decide(m.evidence, m.rules)
		}
	}
	edits, reply := m.finish()
	m.spent += time.Since(begin)
	r := m.record(edits)
	m.filter.log(m.ctx, r)
	if m.filter.Finished != nil {
		m.filter.Finished(r)
	}
	if m.filter.Observe {
		edits, reply = m.observed(), milter.Reply{}
	}
	if m.bounce != nil && !m.bounce.large && reply.Code == 0 {
		m.filter.Bounces.Received(m.bounce.recipient, m.bounce.message)
	}
	return edits, reply
}

// record returns the record of the message. The parameter edits has the edits of enforce mode.
func (m *message) record(edits milter.Edits) *decision.Record {
	r := &decision.Record{Version: decision.Version, Code: cmp.Or(m.verdict.Code(), m.assignment.Reason.Code), Assignment: m.assignment,
		Verdict: m.verdict, Evidence: m.evidence, Observe: m.filter.Observe, Selectors: m.selectors, HandlerMS: milliseconds(m.spent)}
	if r.Observe {
		r.Would, r.Action = r.Action, policy.Accept
	}
	if removed := len(edits.Delete); removed > 0 {
		r.Forged, r.Unnamed = removed-m.unnamed, m.unnamed
	}
	if v := m.verification; v != nil {
		queries, open := v.view.Spent()
		r.DNSQueries, r.DNSMS = queries, milliseconds(open)
		if m.filter.Finished != nil {
			r.Answered = v.view.Answered()
		}
	}
	return r
}

// milliseconds returns a duration in milliseconds, with three decimals.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// finish returns the edits and the reply of enforce mode.
func (m *message) finish() (edits milter.Edits, reply milter.Reply) {
	if m.signer != nil {
		signatures, err := m.signer.Sign()
		if err != nil {
			m.verdict = policy.MissingKey(m.evidence, m.rules, signingFailed(err))
		} else {
			m.verdict.Action = policy.Sign
			m.evidence.Absent = m.signer.Absent()
			if long := m.signer.LongLines(); long.Found() {
				m.evidence.LongLines = &long
			}
			// The RSA signature is inserted last, so that it is the topmost. Some receivers check only the topmost signature.
			for i := len(signatures) - 1; i >= 0; i-- {
				edits.Insert = append(edits.Insert, milter.Insertion{Name: signatures[i].Name, Value: signatures[i].Value})
			}
		}
	}
	switch m.verdict.Action {
	case policy.Reject, policy.Tempfail:
		return milter.Edits{}, milter.Reply(m.verdict.Reply.WithID(m.evidence.QueueID))
	case policy.Discard:
		return milter.Edits{Discard: true}, milter.Reply{}
	case policy.Hold:
		edits.Hold = m.holdReason()
	case policy.Tag:
		edits.Insert = append(edits.Insert, m.tagField())
	}
	if m.verifying() {
		edits.Insert = append(edits.Insert, m.resultsField()) // last, so on top
	}
	// Inbound mail from the queue keeps its results, because it was verified when it arrived.
	if role := m.assignment.Role; role == policy.RoleSign || role == policy.RoleVerify && !m.assignment.ResultsOnly {
		edits.Delete = m.forged
	}
	return edits, milter.Reply{}
}

// signingFailed returns the reason that describes an error of the signer.
func signingFailed(err error) policy.Reason {
	var fault *dkim.Fault
	if !errors.As(err, &fault) {
		return policy.Reason{Code: policy.SigningFailed}
	}
	return policy.Reason{Code: policy.SigningFailed, Detail: fault.Detail, Cause: string(fault.Cause)}
}

// observed returns the edits of observe mode, which only insert results.
func (m *message) observed() (edits milter.Edits) {
	if m.verifying() {
		edits.Insert = []milter.Insertion{m.resultsField()}
	}
	return edits
}
