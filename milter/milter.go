// Package milter is a server for the milter protocol of Postfix. A Server accepts connections. For each message, it calls
// Options.Begin and passes the events to the Message that Begin returns. It sends the Edits and the Reply of Message.Finish to
// Postfix. It makes no decisions.
// The Server replies to Postfix only at the end of a message. The negotiation turns off the replies to all other events (SMFIP_NR_*). So
// a message takes one round trip, and no message is rejected before its end.
//
//	ln, err := milter.Listen("unix", "/var/spool/postfix/signpost/milter.sock", 0o660, "postfix")
//	if err != nil {
//		return err
//	}
//	err = milter.NewServer(milter.Options{Begin: begin, Broken: broken, Log: log}).Serve(ctx, ln)
package milter

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// Session describes the connection of an SMTP client at the beginning of a message. It does not change afterwards.
type Session struct {
	Client netip.Addr // invalid if Postfix does not know it
	Name   string     // {client_name}: "unknown" unless forward and reverse DNS agree
	PTR    string     // {client_ptr}: the name in the PTR record, unverified
	HELO   string
	Daemon string // {daemon_name}, as sent at CONNECT
	MTA    string // {j}: the name of the MTA
	SMTP   bool   // false if cleanup(8) simulates the session, for mail from sendmail(1) or from the queue
}

// Envelope is the envelope of a message without its recipients.
type Envelope struct {
	Sender string // MAIL FROM without angle brackets, empty for the null sender
	Login  string // {auth_authen}; empty if the client did not authenticate

	QueueID string // set for Options.Broken only; a Message gets it from EndHeaders
}

// Message handles the events of one message. Its methods are called from one goroutine, in this order. None is called after the
// context of Options.Begin has ended.
type Message interface {
	// Recipient is called for each recipient that Postfix accepted. p is the address without angle brackets. Recipient must not keep p.
	Recipient(p []byte)
	// Header is called for each field, from the top down. The value is the text after the colon, with its leading space. Its line breaks
	// are LF.
	Header(name, value string)
	// EndHeaders is called after the last field, with the queue ID that Postfix logs.
	EndHeaders(queueID string)
	// Body is called for each piece of the body. A piece may end anywhere. Lines end in CRLF. Body must not keep p.
	Body(p []byte)
	// Finish is called at the end of the message and returns what to do with it.
	Finish(ctx context.Context) (Edits, Reply)
}

// Edits are the changes to a message that is not rejected. Deletions are applied first, then insertions in their order. If there are two
// insertions at index 0, the second one ends up above the first.
type Edits struct {
	Delete []Deletion  `json:"delete,omitempty"`
	Insert []Insertion `json:"insert,omitempty"`
	Hold   string      `json:"hold,omitempty"` // if it is not empty, Postfix puts the message into its hold queue and logs this reason
	// Discard accepts the message and does not deliver it. The other edits then have no effect.
	Discard bool `json:"discard,omitempty"`
}

// Deletion deletes a field. Index is the position of the field among the fields of the same name. It counts from 1, in the order of the
// calls of Header.
type Deletion struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
}

// Insertion inserts a field at an index of the whole header. Index 0 is the top, above Postfix's own Received field.
type Insertion struct {
	Index int    `json:"index"`
	Name  string `json:"name"`
	Value string `json:"value"` // with its leading space; LF or CRLF inside folds
}

// Reply is the answer to the SMTP client. The zero Reply accepts the message.
type Reply struct {
	Code     int // 4yz or 5yz
	Enhanced string
	Text     string // characters that are not printable ASCII are replaced by "?"
}

// Options configure a Server. Begin, Broken and Log are required.
type Options struct {
	// Begin is called for each message, at the first recipient that Postfix accepted. ctx ends with the message, even if the message is
	// aborted.
	Begin func(ctx context.Context, s Session, e Envelope) Message
	// Broken returns the reply to a message whose handler panicked, or whose packets were malformed. The reply must not accept the
	// message; otherwise a sender could evade all checks.
	Broken func(s Session, e Envelope) Reply
	Log    *slog.Logger
	// Panicked, if not nil, is called after each panic of a handler.
	Panicked func()
	// Connections is the maximum number of open connections. Further connections wait. 0 means DefaultConnections.
	Connections int
}

// Limits.
const (
	// DefaultConnections is the default of Options.Connections. Postfix opens one connection for each smtpd(8) and cleanup(8) process, by
	// default 200 in total. The default is ten times this number. More connections indicate a fault or an attack.
	DefaultConnections = 2000
	// readTimeout limits the wait for the next packet. Postfix sends nothing while it waits for its client: for 300 seconds
	// (smtpd_timeout), and longer at the end of a message.
	readTimeout = 15 * time.Minute
	// handshakeTimeout limits the wait for the first packet, which Postfix sends at once.
	handshakeTimeout = 30 * time.Second
	// writeTimeout limits the write of a reply, which fits into any socket buffer.
	writeTimeout = 30 * time.Second
	// FinishTimeout limits Message.Finish. It is well below Postfix's milter_content_timeout of 300 seconds.
	FinishTimeout = 120 * time.Second
	// DrainTimeout limits how long messages in progress may continue after a stop was requested.
	DrainTimeout = 30 * time.Second
)
