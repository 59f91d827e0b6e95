package filter

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"signpost/internal/authres"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/milter"
	"signpost/policy"
)

// Limits on a message. A message whose header exceeds them is rejected with reply 552.
const (
	maxHeader = 1 << 20 // bytes; Postfix's header_size_limit is 100 KiB per field
	maxFields = 1000    // honest mail has a few dozen
	// maxRecipients is the maximum number of recipients that are recorded. maxAddress is the maximum number of bytes of each. RFC 5321
	// allows 256 octets.
	maxRecipients = 50
	maxAddress    = 320
	// usualFields is the initial capacity for fields.
	usualFields = 32
)

// dispositionField marks a message that failed but was accepted. Such a field in an incoming message is a forgery.
const dispositionField = "X-Signpost-Disposition"

// message is the state of a message while it is received. It implements milter.Message.
type message struct {
	filter *Filter
	ctx    context.Context // ends with the message
	mta    string          // the name of the MTA
	spent  time.Duration   // time spent in our handlers, including the wait at the end of the message

	evidence policy.Evidence
	rules    policy.Rules
	fields   []dkim.Field
	header   int               // bytes of the fields
	froms    []string          // values of From
	senders  []string          // values of Sender; only if sign.login_sender is true
	hidden   bool              // a field hides another field; see hidesField
	traces   traces            // fields of lists and forwarders
	results  int               // Authentication-Results fields so far
	own      []string          // values of the Authentication-Results fields that Signpost wrote
	others   []string          // results of other filters of this host; in observe mode
	tags     int               // X-Signpost-Disposition fields so far
	forged   []milter.Deletion // fields to be removed
	unnamed  int               // number of fields in forged without an authserv-id; they claim nothing

	assignment policy.Assignment
	signer     *dkim.Signer
	selectors  []string

	bounce       *bounce       // nil: the message is not a notification about a report
	report       *report       // nil: the message cannot be a report to us
	verification *verification // nil for outbound mail
	verdict      policy.Verdict
}

// measure adds the time since start to spent.
func (m *message) measure(start time.Time) { m.spent += time.Since(start) }

// Recipient records a recipient.
func (m *message) Recipient(p []byte) {
	e := &m.evidence.Envelope
	e.Addressees++
	if len(e.Recipients) < maxRecipients {
		e.Recipients = append(e.Recipients, string(p[:min(maxAddress, len(p))]))
	}
}

// Header records a field.
func (m *message) Header(name, value string) {
	defer m.measure(time.Now())
	if m.evidence.Oversize {
		return
	}
	m.header += len(name) + len(value) + len(": \r\n")
	if m.header > maxHeader || len(m.fields) == maxFields {
		m.evidence.Oversize = true
		m.fields, m.froms, m.senders, m.forged, m.own, m.unnamed = nil, nil, nil, nil, nil, 0
		return
	}
	m.hidden = m.hidden || hidesField(value)
	switch bare := strings.TrimRight(name, " \t"); {
	case named(bare, "from"):
		m.froms = append(m.froms, value)
	case named(bare, "message-id"):
		m.evidence.MessageID = strings.TrimSpace(value)
	case named(bare, authres.FieldName):
		m.results++
		claim := authres.ReadClaim(value, m.filter.ids(m.mta))
		if claim == authres.Ours {
			m.evidence.OwnResults = true
			m.own = append(m.own, value)
		}
		if claim != authres.Foreign {
			m.forged = append(m.forged, milter.Deletion{Name: authres.FieldName, Index: m.results})
			m.noteOther(value)
		}
		if claim == authres.Unnamed {
			m.unnamed++
		}
	case named(bare, dispositionField):
		m.tags++
		m.forged = append(m.forged, milter.Deletion{Name: dispositionField, Index: m.tags})
	default:
		if m.filter.Rules.LoginSender && named(bare, "sender") {
			m.senders = append(m.senders, value)
		}
		if word := m.traces.note(bare, value); word != "" && !slices.Contains(m.evidence.Relayed, word) {
			m.evidence.Relayed = append(m.evidence.Relayed, word)
		}
	}
	if m.fields == nil {
		m.fields = make([]dkim.Field, 0, usualFields)
	}
	m.fields = append(m.fields, dkim.Field{Name: name, Value: dkim.CRLF(value)})
}

// named reports whether a field has the name want. Names are ASCII and compared without regard to case (RFC 5322 section 2.2).
func named(name, want string) bool {
	return len(name) == len(want) && strings.EqualFold(name, want) // a letter outside ASCII has more than one byte
}

// hidesField reports whether a program could mistake a part of a value for a separate field. It looks for a line end that does not begin a
// fold, such as a bare CR, followed by the name of a field on which the verdict depends.
func hidesField(value string) bool {
	for {
		i := strings.IndexAny(value, "\r\n")
		if i < 0 {
			return false
		}
		value = value[i+1:]
		end := strings.IndexAny(value, "\r\n:")
		if end < 0 {
			return false
		}
		if value[end] != ':' {
			continue
		}
		name := strings.TrimRight(value[:end], " \t")
		if named(name, "from") || named(name, authres.FieldName) || named(name, dispositionField) {
			return true
		}
	}
}

// EndHeaders assigns the role, and starts signing or verifying.
func (m *message) EndHeaders(queueID string) {
	defer m.measure(time.Now())
	m.evidence.QueueID = queueID
	if !m.evidence.Oversize {
		m.evidence.Author = dmarc.ReadAuthor(m.froms)
		if m.hidden {
			m.evidence.Author = dmarc.Author{Cause: dmarc.FromHiddenField}
		}
	}
	m.evidence.ToReports, m.evidence.ReportMail = m.filter.Bounces.own(m.evidence.Envelope)
	m.evidence.ResultsAbout = resultsAbout(m.own, m.evidence.Author.Domains)
	snapshot := m.filter.Keys()
	m.rules = m.filter.Rules.At(m.filter.Now())
	m.rules.Hosted = snapshot.Hosted
	m.assignment, m.verdict = policy.AssignRole(m.evidence, m.rules)
	m.askTables()
	switch {
	case m.verdict.Action != "":
	case m.assignment.Role == policy.RoleSign:
		m.startSigning(snapshot.Set.Signing(m.assignment.Domain))
	case m.assignment.Role == policy.RoleVerify:
		m.startVerifying()
	default:
		m.verdict.Action = policy.Accept
	}
	m.bounce = m.filter.Bounces.newBounce(m.evidence.Envelope, m.fields)
	m.report = m.newReport()
	m.fields, m.own, m.senders = nil, nil, nil
}

func (m *message) startSigning(keys []dkim.Key) {
	if len(keys) == 0 {
		m.verdict = policy.MissingKey(m.evidence, m.rules, policy.Reason{Code: policy.NoUsableKey, Domain: m.assignment.Domain})
		return
	}
	m.selectors = make([]string, len(keys))
	for i, k := range keys {
		m.selectors[i] = k.Selector
	}
	var err error
	m.signer, err = dkim.NewSigner(m.fields, keys, m.filter.Now(), m.filter.Expire)
	var fault *dkim.Fault
	switch {
	case errors.As(err, &fault) && fault.Cause == dkim.TooManyFieldsToSign:
		m.assignment, m.verdict = policy.Unsignable(m.evidence, m.assignment)
		m.verdict.Action = cmp.Or(m.verdict.Action, policy.Accept)
	case err != nil:
		m.verdict = policy.MissingKey(m.evidence, m.rules, signingFailed(err))
	}
}

// Body processes the next piece of the body.
func (m *message) Body(p []byte) {
	defer m.measure(time.Now())
	m.evidence.Size += int64(len(p))
	if m.bounce != nil {
		m.bounce.add(m.filter.Bounces.MaxSize, string(p))
	}
	if m.report != nil {
		m.report.add(p)
	}
	switch {
	case m.signer != nil:
		m.signer.Write(p)
	case m.verifying():
		m.verification.verifier.Write(p)
	}
}

func (m *message) verifying() bool { return m.verification != nil && m.verification.verifier != nil }
