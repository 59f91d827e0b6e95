package filter

import (
	"context"
	"fmt"
	"strings"
	"time"

	"signpost/internal/authres"
	"signpost/internal/dns"
	"signpost/milter"
	"signpost/policy"
)

// maxReplyText leaves room for the queue ID in a line of SMTP (RFC 5321 section 4.5.3.1.5).
const maxReplyText = 400

// Finish carries the decision out and logs it.
func (m *message) Finish(ctx context.Context) (milter.Edits, milter.Reply) {
	begin := time.Now()
	if m.verifying() {
		m.finishVerifying(ctx)
		m.verdict = policy.Decide(m.evidence, m.rules)
	}
	edits, reply := m.finish()
	m.spent += time.Since(begin)
	forged, unnamed := 0, 0
	if removed := len(edits.Delete); removed > 0 {
		forged, unnamed = removed-m.unnamed, m.unnamed
	}
	m.log(forged, unnamed)
	m.count(forged, unnamed)
	m.tell()
	if m.filter.Observe {
		return m.observed(), milter.Reply{}
	}
	return edits, reply
}

// Report is everything that is known about a message.
type Report struct {
	Assignment policy.Assignment `json:"assignment"`
	Evidence   policy.Evidence   `json:"evidence"`
	Verdict    policy.Verdict    `json:"verdict"`
	Done       string            `json:"done"`                // the log's word for what became of it, or in observe mode would have
	Observe    bool              `json:"observe,omitempty"`   // in observe mode it was not done
	Selectors  string            `json:"selectors,omitempty"` // of the keys that signed
	Spent      time.Duration     `json:"spent"`               // in the handlers, waiting for DNS at the end included; nanoseconds
	Lookups    []dns.Lookup      `json:"lookups,omitempty"`
}

// tell passes the message to the callbacks.
func (m *message) tell() {
	f := m.filter
	if f.Judged == nil && f.Kept == nil {
		return
	}
	k := Kept{Report: Report{Assignment: m.assignment, Evidence: m.evidence, Verdict: m.verdict, Done: m.did,
		Observe: f.Observe, Selectors: m.selectors, Spent: m.spent}}
	if m.verification != nil {
		k.Answered = m.verification.view.Answered()
	}
	if f.Kept != nil {
		f.Kept(k)
	}
	if f.Judged != nil {
		k.Lookups = k.Answered.Lookups()
		f.Judged(k.Report)
	}
}

func (m *message) count(forged, unnamed int) {
	if m.filter.Measured == nil {
		return
	}
	word, _, _ := strings.Cut(m.did, " ") // without the code of a reply
	found := Measure{Role: m.assignment.Role, Disposition: word, Evidence: &m.evidence, Verified: m.verifying(), Spent: m.spent, Forged: forged, Unnamed: unnamed}
	if found.Verified {
		found.IPRev = iprevWord(m.evidence.Connection)
	}
	m.filter.Measured(found)
}

// finish returns the edits and the reply, as they are outside observe mode.
func (m *message) finish() (edits milter.Edits, reply milter.Reply) {
	if m.signer != nil {
		signatures, err := m.signer.Sign()
		if err != nil {
			m.verdict = policy.MissingKey(m.evidence, m.rules, err.Error())
		} else {
			m.did = "signed"
			m.evidence.Absent = m.signer.Absent()
			if long := m.signer.LongLines(); long.Found() {
				m.evidence.LongLines = &long
			}
			// Inserted last, the RSA signature stands on top: some receivers look at the first one only.
			for i := len(signatures) - 1; i >= 0; i-- {
				edits.Insert = append(edits.Insert, milter.Insertion{Name: signatures[i].Name, Value: signatures[i].Value})
			}
		}
	}
	m.did = Done(m.verdict, m.did)
	if r := m.verdict.Reply; r.Code != 0 {
		return milter.Edits{}, answer(r, m.evidence.QueueID)
	}
	switch {
	case m.verdict.Hold != "":
		edits.Hold = "signpost: " + m.verdict.Hold
	case m.verdict.Tag != "":
		edits.Insert = append(edits.Insert, milter.Insertion{Name: dispositionField, Value: " quarantine; " + m.verdict.Tag})
	}
	if m.verifying() {
		edits.Insert = append(edits.Insert, m.resultsField()) // last, so on top
	}
	// Inbound mail from the queue keeps its results: it was verified when it arrived.
	if role := m.assignment.Role; role == policy.Sign || role == policy.Verify && !m.assignment.ResultsOnly {
		edits.Delete = m.forged
	}
	return edits, milter.Reply{}
}

// answer returns a reply in a length that fits, with the queue ID.
func answer(r policy.Reply, queueID string) milter.Reply {
	if r.Code == 0 {
		return milter.Reply{}
	}
	if len(r.Text) > maxReplyText {
		r.Text = r.Text[:maxReplyText] + "..."
	}
	if queueID != "" {
		r.Text += " (queue id " + queueID + ")"
	}
	return milter.Reply(r)
}

// Answer returns the reply to the client, or in observe mode the one that it would have got.
func (r Report) Answer() milter.Reply { return answer(r.Verdict.Reply, r.Evidence.QueueID) }

// Done returns the log's word for what a verdict does with a message. so is the word if it does nothing: accepted or signed.
func Done(v policy.Verdict, so string) string {
	switch r := v.Reply; {
	case r.Code >= 500:
		return fmt.Sprintf("refused %d %s", r.Code, r.Enhanced)
	case r.Code != 0:
		return fmt.Sprintf("deferred %d %s", r.Code, r.Enhanced)
	case v.Hold != "":
		return "held"
	case v.Tag != "":
		return "tagged"
	}
	return so
}

// observed returns the edits of observe mode: results are written, and nothing else.
func (m *message) observed() (edits milter.Edits) {
	if m.verifying() {
		edits.Insert = []milter.Insertion{m.resultsField()}
	}
	return edits
}

// resultsField goes to index 0, above Postfix's own Received: RFC 8601 section 4.1.
func (m *message) resultsField() milter.Insertion {
	return milter.Insertion{Name: authres.FieldName, Value: authres.Format(m.filter.id(m.mta), results(&m.evidence, m.verdict))}
}
