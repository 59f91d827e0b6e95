// Package policy decides what becomes of a message. It is pure: no socket, no DNS, no clock. Everything that it may look at
// stands in Evidence, everything that the operator chose in Rules, so that a decision can be made again from a record of it.
package policy

import (
	"net/netip"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// Evidence is what was found out about a message.
type Evidence struct {
	QueueID    string       `json:"queue_id"`
	Connection Connection   `json:"connection"`
	Envelope   Envelope     `json:"envelope"`
	Author     dmarc.Author `json:"author"`
	MessageID  string       `json:"message_id,omitempty"`  // as the message has it
	OwnResults bool         `json:"own_results,omitempty"` // it bears an Authentication-Results of our authserv-id
	Oversize   bool         `json:"oversize,omitempty"`    // its header went over the bounds and was not kept
	Size       int64        `json:"size"`                  // octets of the body
	Relayed    []string     `json:"relayed,omitempty"`     // which fields it has of those that lists and forwarders add; unverified

	// ResultsAbout states which Author Domain the OwnResults name. It is empty in journal entries of older versions.
	ResultsAbout ResultsAbout `json:"results_about,omitempty"`

	// Others are the results that another filter of this host wrote, in observe mode.
	Others []Other `json:"others,omitempty"`

	SPF   *spf.Result    `json:"spf,omitempty"`   // nil where the client is one of ours
	DKIM  []dkim.Result  `json:"dkim,omitempty"`  // for each DKIM-Signature field, top to bottom
	DMARC []dmarc.Result `json:"dmarc,omitempty"` // for each Author Domain

	ARC         *dkim.Chain   `json:"arc,omitempty"` // nil where the message has no ARC field
	SealedDMARC []SealedDMARC `json:"sealed_dmarc,omitempty"`

	// Relays are the relays of a message that DMARC does not authenticate. RelaysChecked reports that they were looked for;
	// journal entries of older versions do not have it.
	Relays        []Relay `json:"relays,omitempty"`
	RelaysChecked bool    `json:"relays_checked,omitempty"`

	// LongLines are the lines of a message signed here that Postfix breaks when it sends the message, nil if it has none.
	LongLines *dkim.LongLines `json:"long_lines,omitempty"`
	// Absent are the fields that a message signed here should have but lacks, so that anyone can add them: Date, Message-ID.
	Absent []string `json:"absent,omitempty"`

	Fault Fault `json:"fault,omitempty"` // with a DMARC temperror: what of ours is to blame
}

// ResultsAbout states which Author Domain the results of ours in a message name.
type ResultsAbout string

// The values of ResultsAbout, the first that applies. Mail is signed in spite of them only with AboutOthers: with AboutUnknown,
// what was judged may be a forgery of the present Author Domain.
const (
	AboutAuthor  ResultsAbout = "author"  // one of them names the present Author Domain
	AboutUnknown ResultsAbout = "unknown" // one cannot be read, or none names any
	AboutOthers  ResultsAbout = "others"  // those that name one name others
)

// Fault is a failure of our own.
type Fault string

// The faults.
const (
	Exhausted   Fault = "exhausted"   // no DNS slot or no file descriptor was free
	Unreachable Fault = "unreachable" // the DNS root does not answer
)

// Connection is who handed the message over.
type Connection struct {
	Client netip.Addr `json:"client"`         // not valid where Postfix does not know it
	Name   string     `json:"name,omitempty"` // {client_name}: "unknown" unless forward and reverse DNS agree
	PTR    string     `json:"ptr,omitempty"`  // {client_ptr}
	HELO   string     `json:"helo,omitempty"`
	SMTP   bool       `json:"smtp"`             // it came over SMTP; otherwise cleanup(8) speaks for sendmail(1) or the queue
	Daemon string     `json:"daemon,omitempty"` // {daemon_name} at CONNECT
}

// Envelope is what was said before the message itself.
type Envelope struct {
	Sender string `json:"sender"`          // MAIL FROM without brackets, empty for a bounce
	Login  string `json:"login,omitempty"` // {auth_authen}, empty where the client did not authenticate

	Addressees int      `json:"addressees,omitempty"` // how many recipients Postfix accepted
	Recipients []string `json:"recipients,omitempty"` // the first of them; only where somebody is to remember them
}

// local says that the message was made on this machine and not by SMTP.
func (c Connection) local() bool { return !c.SMTP && c.Client.IsLoopback() }
