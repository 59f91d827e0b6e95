// Package trial sends test messages through Postfix, or to the daemon alone, and finds out what happened to each of them. The result of
// each step is a doctor.Finding. Outbound sends mail that has to be signed, Forge sends mail that has to be rejected, and Alone does both
// with the daemon, without Postfix. Each call sends every message once and never sends it again.
//
//	report, err := site.Outbound(ctx, trial.Options{From: "postmaster@example.org", To: "ann@example.net"})
//	fmt.Println(report.Messages[0].Findings[0].What) // Postfix accepted the message: 250 2.0.0 Ok: queued as 4fXyAb1Cd2z3
package trial

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/keys"
)

// Site is the mail server under test.
type Site struct {
	Postfix string // Postfix's configuration directory; empty: the default
	// Postconf returns the output of postconf(1).
	Postconf func(ctx context.Context, args ...string) (string, error)
	// Ask looks up a key in a table of Postfix.
	Ask func(ctx context.Context, table, key string) (value string, found bool, err error)
	// Find returns the records of a message in the journal, the oldest first. There are several if a content filter, an alias or another
	// server returns the message to Postfix. There are none yet before the daemon has processed it.
	Find    func(ctx context.Context, messageID string) ([]decision.Record, error)
	Journal bool // the daemon writes a journal
	Observe bool // the mode is observe
	File    string
	// Look returns the algorithm of a key, and whether all name servers have its record.
	Look func(ctx context.Context, domain, selector string) (algorithm string, o keys.Outcome)
	// DMARC returns the result of DMARC for an Author Domain if DKIM passes for the signers.
	DMARC func(ctx context.Context, author string, signers []string) dmarc.Result
	// Doctor runs some checks of signpost doctor about Postfix, this host and a domain.
	Doctor func(ctx context.Context, domain string, checks []string) []doctor.Finding
	// Progress is called before steps that may take a long time.
	Progress func(format string, args ...any)

	Timeout time.Duration // for the record and for the delivery of each message
	Grace   time.Duration // for the record, after Postfix's log has shown the message
}

// Options describe the messages.
type Options struct {
	From, To        string
	Login, Password string // of the submission service; without Login, no message is sent by SMTP
	Server          string // HOST:PORT of the submission service or, for Forge, of the SMTP service; empty: as in master.cf
}

// Message is one message, and what happened to it.
type Message struct {
	Name      string           `json:"name"` // how it was sent, or what is forged
	From      string           `json:"header_from"`
	To        string           `json:"rcpt"`
	MessageID string           `json:"message_id"`
	QueueID   string           `json:"queue_id,omitempty"` // empty: not known
	Findings  []doctor.Finding `json:"findings"`           // one for each step, each followed by the findings of doctor that explain it
	Edits     []string         `json:"edits,omitempty"`    // Alone: the changes that the daemon requested

	record *decision.Record // nil: not found
	unread error            // the journal could not be read
	id     string           // the random part of MessageID
}

// Report has all messages of one run. Other has the findings of doctor that explain no step.
type Report struct {
	Messages []Message        `json:"messages"`
	Other    []doctor.Finding `json:"other"`
}

// Red reports whether a finding is red.
func (r Report) Red() bool {
	red := func(f doctor.Finding) bool { return f.Level == doctor.Red }
	return slices.ContainsFunc(r.Other, red) || slices.ContainsFunc(r.Messages, func(m Message) bool { return slices.ContainsFunc(m.Findings, red) })
}

// The steps. Findings have them as Check.
const (
	stepQueue     = "queue"     // Postfix accepts the message
	stepMilter    = "milter"    // the daemon processes it
	stepSignature = "signature" // the daemon signs it
	stepRecord    = "record"    // the records of the keys that signed are published
	stepReceivers = "receivers" // what receivers find
	stepDelivery  = "delivery"
	stepForgery   = "forgery" // forged mail is rejected
	stepAlone     = "daemon"  // the daemon answers at its socket
)

// messageIDPrefix begins the Message-ID of each message, so that log, journal and people recognize it.
const messageIDPrefix = "signpost-test."

// newMessage returns a message with a random Message-ID.
func newMessage(name string, o Options) *Message {
	id := messageIDPrefix + strings.ToLower(rand.Text())
	return &Message{Name: name, From: o.From, To: o.To, id: id, MessageID: "<" + id + "@" + domainOf(o.From) + ">"}
}

// text returns the message with LF line ends. It is marked as created by a program, so that autoresponders do not reply (RFC 3834).
func (m *Message) text(now time.Time, more ...string) string {
	fields := append(more, "To: "+m.To, "Subject: signpost test", "Date: "+now.Format(time.RFC1123Z), "Message-ID: "+m.MessageID,
		"Auto-Submitted: auto-generated", "X-Auto-Response-Suppress: All", "MIME-Version: 1.0", "Content-Type: text/plain; charset=us-ascii")
	return strings.Join(fields, "\n") + "\n\nThis is a test of the mail server, sent with the command signpost test.\nPlease ignore it.\n"
}

// add adds a finding. Its first line may have the text of another server, which must not look like a finding.
func (m *Message) add(step string, f doctor.Finding) {
	f.Check, f.What = step, strings.ReplaceAll(f.What, "\n", " ")
	m.Findings = append(m.Findings, f.Printable())
}

func (m *Message) good(step, format string, args ...any) {
	m.add(step, doctor.Finding{Level: doctor.Green, What: fmt.Sprintf(format, args...)})
}

// Address returns an address LOCAL@DOMAIN that needs no quotes, with its domain as A-labels. It returns an error for any other text.
func Address(address string) (string, error) {
	local, name, _ := cut(address)
	ascii, err := domain.Parse(name)
	const others = "!#$%&'*+-/=?^_`{|}~." // RFC 5322 section 3.2.3
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(others, r)
	}
	if err != nil || local == "" || len(local) > 64 || strings.ContainsFunc(local, odd) || slices.Contains(strings.Split(local, "."), "") {
		return "", fmt.Errorf("%q is not an address such as ann@example.org", address)
	}
	return local + "@" + ascii, nil
}

// cut splits an address at its last @.
func cut(address string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return address, "", false
	}
	return address[:i], address[i+1:], true
}

func domainOf(address string) string {
	_, name, _ := cut(address)
	return domain.Fold(name)
}

// pause waits for the time between two looks at the journal and the log.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}
