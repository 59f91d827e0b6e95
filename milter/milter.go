// Package milter speaks Postfix's side of the milter protocol: it accepts connections, keeps what belongs to a connection
// apart from what belongs to a message, hands each message to a Message as it streams in, and turns what that decides into
// header edits and a reply. It decides nothing itself.
//
// Postfix gets no reply before the end of a message: every event but that one is negotiated to need none (SMFIP_NR_*), so
// a message costs one round trip, and nothing can be refused early by mistake.
package milter

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// Session is what is known about a connection of an SMTP client. It is a copy; it does not change during a message.
type Session struct {
	Client netip.Addr // not valid where Postfix does not know it
	Name   string     // {client_name}: "unknown" unless forward and reverse DNS agree
	PTR    string     // {client_ptr}: as the PTR record says, unverified
	HELO   string
	Daemon string // {daemon_name}, as sent at CONNECT
	MTA    string // {j}: the MTA's own name
	SMTP   bool   // false where cleanup(8) simulates a session, for sendmail(1) and for mail from the queue
}

// Envelope is what precedes a message.
type Envelope struct {
	Sender string // MAIL FROM without angle brackets, empty for the null sender
	Login  string // {auth_authen}, empty where the client did not authenticate

	QueueID string // only for Broken: a message that is whole learns it at the end of its header
}

// Message takes one message as it comes. Its methods are called from one goroutine, in this order, and not at all after
// the context that it was begun with has ended.
type Message interface {
	// Recipient is one that Postfix accepted, without angle brackets. p is only lent.
	Recipient(p []byte)
	// Header is one field, from the top down: the value as it stands after the colon, leading space included, with LF
	// inside folds.
	Header(name, value string)
	// EndHeaders says that no field follows. The queue ID is as Postfix logs it.
	EndHeaders(queueID string)
	// Body is the next piece of the body, CRLF line ends, cut anywhere. p is only lent.
	Body(p []byte)
	// Finish ends the message and decides.
	Finish(ctx context.Context) (Edits, Reply)
}

// Edits are the changes to a message that is not refused. Deletions are carried out first, then insertions in their order, so
// that of two at index 0 the later one is on top.
type Edits struct {
	Delete []Deletion  `json:"delete,omitempty"`
	Insert []Insertion `json:"insert,omitempty"`
	Hold   string      `json:"hold,omitempty"` // not empty: Postfix's hold queue, with this reason
}

// Deletion names a field by its place among the fields of its name, from 1, counted as Postfix showed them.
type Deletion struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
}

// Insertion puts a field at an index of the whole header; 0 is above everything, Postfix's own Received included.
type Insertion struct {
	Index int    `json:"index"`
	Name  string `json:"name"`
	Value string `json:"value"` // with its leading space; LF or CRLF inside folds
}

// Reply is the answer to the SMTP client. The zero Reply accepts the message.
type Reply struct {
	Code     int // 4yz or 5yz
	Enhanced string
	Text     string // anything that SMTP cannot carry is replaced
}

// Options are what a Server needs.
type Options struct {
	// Begin is called at a message's first recipient that Postfix accepted. ctx ends with the message, whatever ends it.
	Begin func(ctx context.Context, s Session, e Envelope) Message
	// Broken returns the answer to a message whose handling panicked or got out of step: accepting it would let senders evade us.
	Broken func(s Session, e Envelope) Reply
	Log    *slog.Logger
	// Panicked, if not nil, is called after each handling that panicked.
	Panicked func()
	// Connections is how many connections are served at a time; more wait. 0 is DefaultConnections.
	Connections int
}

// Bounds.
const (
	// DefaultConnections is how many connections are served at a time if Options has no other number. Postfix opens one for
	// each smtpd(8) and cleanup(8) process, 200 by default; ten times as many are a flood.
	DefaultConnections = 2000
	// readTimeout ends a connection on which nothing comes. Postfix is silent as long as its client is, for 300 seconds
	// (smtpd_timeout) and a while more at the end of a message.
	readTimeout = 15 * time.Minute
	// handshakeTimeout is for the first packet, which Postfix sends at once.
	handshakeTimeout = 30 * time.Second
	// writeTimeout is for our replies, which fit into any socket buffer.
	writeTimeout = 30 * time.Second
	// FinishTimeout is for the end of a message, well under Postfix's milter_content_timeout of 300 seconds.
	FinishTimeout = 120 * time.Second
	// DrainTimeout is how long messages that have begun may continue after a stop was requested.
	DrainTimeout = 30 * time.Second
)
