package filter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"signpost/internal/authres"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/milter"
	"signpost/policy"
)

// Bounds on a header. Beyond them nothing is kept, and the message is not judged: policy answers 552.
const (
	maxHeader = 1 << 20 // octets; Postfix's own header_size_limit is 100 KiB a field
	maxFields = 1000    // honest mail has a few dozen
)

// dispositionField is where Signpost says that a failing message was let through. One that comes in is a forgery.
const dispositionField = "X-Signpost-Disposition"

// message is one message on its way. It implements milter.Message.
type message struct {
	filter *Filter
	ids    []string
	start  time.Time
	spent  time.Duration // in our own code

	evidence policy.Evidence
	rules    policy.Rules
	fields   []dkim.Field
	header   int               // octets of it
	froms    []string          // values of From
	results  int               // Authentication-Results fields so far
	tags     int               // X-Signpost-Disposition fields so far
	forged   []milter.Deletion // what is to be removed

	assignment policy.Assignment
	signer     *dkim.Signer
	selectors  string
	verdict    policy.Verdict
	did        string // the log's word for what became of it
}

// measure adds the time from start on to what was spent.
func (m *message) measure(start time.Time) { m.spent += time.Since(start) }

// Header takes one field.
func (m *message) Header(name, value string) {
	defer m.measure(time.Now())
	if m.evidence.Oversize {
		return
	}
	m.header += len(name) + len(value) + len(": \r\n")
	if m.header > maxHeader || len(m.fields) == maxFields {
		m.evidence.Oversize = true
		m.fields, m.froms, m.forged = nil, nil, nil
		return
	}
	switch strings.ToLower(strings.TrimRight(name, " \t")) {
	case "from":
		m.froms = append(m.froms, value)
	case "message-id":
		m.evidence.MessageID = strings.TrimSpace(value)
	case "authentication-results":
		m.results++
		claim := authres.ReadClaim(value, m.ids)
		m.evidence.OwnResults = m.evidence.OwnResults || claim == authres.Ours
		if claim != authres.Foreign {
			m.forged = append(m.forged, milter.Deletion{Name: authres.FieldName, Index: m.results})
		}
	case strings.ToLower(dispositionField):
		m.tags++
		m.forged = append(m.forged, milter.Deletion{Name: dispositionField, Index: m.tags})
	}
	m.fields = append(m.fields, dkim.Field{Name: name, Value: wire(value)})
}

// wire gives a value the line ends that it has on the wire: Postfix hands folds over as LF.
func wire(value string) string {
	if !strings.Contains(value, "\n") {
		return value
	}
	return strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\n", "\r\n")
}

// EndHeaders finds the role.
func (m *message) EndHeaders(queueID string) {
	defer m.measure(time.Now())
	m.evidence.QueueID = queueID
	if !m.evidence.Oversize {
		m.evidence.Author = dmarc.ReadAuthor(m.froms)
	}
	snapshot := m.filter.Keys()
	m.rules = m.filter.Rules
	m.rules.Hosted = snapshot.Hosted
	m.assignment = policy.AssignRole(m.evidence, m.rules)
	m.did = "accepted"
	switch m.assignment.Role {
	case policy.Refuse:
		m.verdict = policy.Verdict{Reply: m.assignment.Reply, Reason: m.assignment.Reason}
	case policy.Sign:
		m.startSigning(snapshot.Set.Signing(m.assignment.Domain))
	}
	m.fields = nil
}

func (m *message) startSigning(keys []dkim.Key) {
	if len(keys) == 0 {
		m.verdict = policy.MissingKey(m.evidence, m.rules, "no usable key for "+m.assignment.Domain)
		return
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Selector
	}
	m.selectors = strings.Join(names, ",")
	var err error
	m.signer, err = dkim.NewSigner(m.fields, keys, m.filter.Now(), m.filter.Expire)
	switch {
	case errors.Is(err, dkim.ErrTooManyFields):
		m.assignment = policy.Unsignable(m.evidence, err.Error())
		m.verdict = policy.Verdict{Reply: m.assignment.Reply, Reason: m.assignment.Reason}
	case err != nil:
		m.verdict = policy.MissingKey(m.evidence, m.rules, err.Error())
	}
}

// Body takes the next piece of the body.
func (m *message) Body(p []byte) {
	defer m.measure(time.Now())
	m.evidence.Size += int64(len(p))
	if m.signer != nil {
		m.signer.Write(p)
	}
}

// Finish carries the decision out and logs it.
func (m *message) Finish(context.Context) (milter.Edits, milter.Reply) {
	begin := time.Now()
	edits, reply := m.finish()
	m.measure(begin)
	m.log(len(edits.Delete))
	if m.filter.Observe {
		return milter.Edits{}, milter.Reply{}
	}
	return edits, reply
}

func (m *message) finish() (edits milter.Edits, reply milter.Reply) {
	if m.signer != nil {
		signatures, err := m.signer.Sign()
		if err != nil {
			m.verdict = policy.MissingKey(m.evidence, m.rules, err.Error())
		} else {
			m.did = "signed"
			// Inserted last, the RSA signature stands on top: some receivers look at the first one only.
			for i := len(signatures) - 1; i >= 0; i-- {
				edits.Insert = append(edits.Insert, milter.Insertion{Name: signatures[i].Name, Value: signatures[i].Value})
			}
		}
	}
	if r := m.verdict.Reply; r.Code != 0 {
		m.did = fmt.Sprintf("refused %d %s", r.Code, r.Enhanced)
		if r.Code < 500 {
			m.did = fmt.Sprintf("deferred %d %s", r.Code, r.Enhanced)
		}
		reply = milter.Reply(r)
		if m.evidence.QueueID != "" {
			reply.Text += " (queue id " + m.evidence.QueueID + ")"
		}
		return milter.Edits{}, reply
	}
	if m.verdict.Hold != "" {
		m.did, edits.Hold = "held", "signpost: "+m.verdict.Hold
	}
	// A stranger's mail from the queue keeps its results: it was judged when it came.
	if role := m.assignment.Role; role == policy.Sign || role == policy.Verify && !m.assignment.ResultsOnly {
		edits.Delete = m.forged
	}
	return edits, milter.Reply{}
}
