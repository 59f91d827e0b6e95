// Package policy decides what is done with a message. It uses no socket, DNS, clock or file. A decision depends only on [Evidence] and
// [Rules], so it can be repeated from a record of both. [AssignRole] returns the [Role] of a message: sign, verify or bypass. [Decide]
// returns the [Verdict] on a message whose role is verify. A Verdict has an [Action] and a [Reason] for it. Programs match the [Code] of
// the Reason. The English texts are in text.go and causes.go.
//
//	assignment, verdict := policy.AssignRole(evidence, rules)
//	if verdict.Action == "" && assignment.Role == policy.RoleVerify {
//		verdict = policy.Decide(evidence, rules)
//	}
//	fmt.Println(verdict.Action, verdict.Code()) // reject dmarc_fail
package policy

import (
	"net/netip"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// Evidence is what is known about a message. Structs are embedded so that the JSON is flat.
type Evidence struct {
	QueueID string `json:"queue_id,omitempty"`
	Connection
	Envelope
	dmarc.Author
	MessageID  string   `json:"message_id,omitempty"`  // as in the message
	OwnResults bool     `json:"own_results,omitempty"` // the message has an Authentication-Results with our authserv-id
	Oversize   bool     `json:"oversize,omitempty"`    // the header exceeds the limits and was not kept
	Size       int64    `json:"body_bytes"`
	ToReports  bool     `json:"to_reports,omitempty"`   // all recipients are bounce addresses of our DMARC reports
	ReportMail bool     `json:"report_mail,omitempty"`  // all recipients are bounce addresses or other addresses of our own DMARC reports
	Relayed    []string `json:"relay_fields,omitempty"` // names of the fields that lists and forwarders add; not verified

	// Report is nil unless the message is inbound mail to an address of reports.receive.addresses that may be a report by its form.
	Report *ReceivedReport `json:"report,omitempty"`

	// ResultsAbout states which Author Domain our own results in the message are about. It is empty in the oldest journal entries.
	ResultsAbout ResultsAbout `json:"results_about,omitempty"`

	// Others are the results that another filter of this host wrote, in observe mode.
	Others []Other `json:"other_results,omitempty"`

	// Listed states whether the tables of domains.tables have the Author Domain or a domain above it. The filter looks it up for
	// outbound mail whose Author Domain has no key.
	Listed   Listed `json:"listed,omitempty"`    // empty: not looked up
	ListedIn string `json:"listed_in,omitempty"` // the table that has the domain, or whose lookup failed

	// FromUse and SenderUse state whether the login may use the addresses of the From and Sender fields: sign.login_maps. The filter looks
	// up Sender only if sign.login_sender is true and the login may not use From.
	FromUse   []UsedAddress `json:"from_use,omitempty"`
	SenderUse *UsedAddress  `json:"sender_use,omitempty"`

	SPF   *spf.Result    `json:"spf,omitempty"`   // nil for outbound mail
	DKIM  []dkim.Result  `json:"dkim,omitempty"`  // one for each DKIM-Signature field, from top to bottom
	DMARC []dmarc.Result `json:"dmarc,omitempty"` // for each Author Domain

	ARC         *dkim.Chain   `json:"arc,omitempty"` // nil if the message has no ARC field
	SealedDMARC []SealedDMARC `json:"sealed_dmarc,omitempty"`

	// Relays has the relays of a message. It is empty if DMARC authenticates the message. RelaysChecked reports that the search for relays
	// was done. The oldest journal entries do not have it.
	Relays        []Relay `json:"relays,omitempty"`
	RelaysChecked bool    `json:"relays_checked,omitempty"`

	// LongLines describes those lines of a message signed here that Postfix breaks when it sends the message. It is nil if there are none.
	LongLines *dkim.LongLines `json:"long_lines,omitempty"`
	// Absent are the fields that a message signed here should have but lacks: Date, Message-ID. Anyone can add them without breaking the
	// signature.
	Absent []string `json:"missing_fields,omitempty"`

	Fault Fault `json:"own_fault,omitempty"` // the failure on our side that caused a DMARC temperror
}

// ResultsAbout states which Author Domain our own results in a message are about.
type ResultsAbout string

// The values of ResultsAbout. If several apply, the first one is used. If a message has results of ours, it is signed only if ResultsAbout
// is AboutOthers. If it is AboutUnknown, the message may have arrived as a forgery of the present Author Domain.
const (
	AboutAuthor  ResultsAbout = "author"  // one of our results names the present Author Domain
	AboutUnknown ResultsAbout = "unknown" // one of our results cannot be read, or none names an Author Domain
	AboutOthers  ResultsAbout = "others"  // our results name only other Author Domains
)

// Listed states whether a table has a domain.
type Listed string

// The values of Listed. ListedUnknown means that a lookup failed, that there is no older answer, and that no other table has the domain.
const (
	ListedYes     Listed = "yes"
	ListedNo      Listed = "no"
	ListedUnknown Listed = "unknown"
)

// Fault is a failure on our side, not on the sender's side.
type Fault string

// The faults.
const (
	Exhausted   Fault = "exhausted"   // no DNS slot or no file descriptor was free
	Unreachable Fault = "unreachable" // the DNS root does not answer
)

// Connection is the client that sent the message.
type Connection struct {
	Client netip.Addr `json:"client,omitzero"`       // not valid if Postfix does not know it
	Name   string     `json:"client_name,omitempty"` // {client_name}: "unknown" unless forward and reverse DNS agree
	PTR    string     `json:"client_ptr,omitempty"`  // {client_ptr}
	HELO   string     `json:"helo,omitempty"`
	SMTP   bool       `json:"smtp"`                  // true: received over SMTP; false: passed to cleanup(8) by sendmail(1) or from the queue
	Daemon string     `json:"daemon_name,omitempty"` // {daemon_name} at CONNECT
}

// IPRev returns the iprev result (RFC 8601 section 2.7.3) that follows from Postfix's own lookups, or "" if there is none. {client_name}
// is "unknown" unless forward and reverse DNS agree.
func (c Connection) IPRev() string {
	switch {
	case !c.Client.IsValid() || c.Name == "":
		return ""
	case c.Name != "unknown":
		return "pass"
	case c.PTR != "" && c.PTR != "unknown":
		return "fail"
	}
	return "permerror"
}

// Envelope is the envelope of the message.
type Envelope struct {
	Sender string `json:"mail_from"`       // without angle brackets, empty for a bounce
	Login  string `json:"login,omitempty"` // {auth_authen}, empty if the client did not authenticate

	Addressees int      `json:"rcpt_count,omitempty"` // number of recipients that Postfix accepted
	Recipients []string `json:"rcpts,omitempty"`      // the first recipients; empty if recipients are not recorded
}

// local reports whether the message was created on this machine and not received over SMTP.
func (c Connection) local() bool { return !c.SMTP && c.Client.IsLoopback() }
