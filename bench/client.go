package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-milter"

	"signpost/internal/dkim"
)

// These are the options that Postfix 3.7 offers: all actions and all events. SMFIP_SKIP is omitted, because the library's client treats
// SMFIR_SKIP as an error.
const (
	allActions = 0x1ff
	allEvents  = 0x1fffff &^ milter.OptSkip
)

// replyTimeout is the timeout of one reply. The slowest server takes a minute for 64 messages of 10 MiB at once.
const replyTimeout = 5 * time.Minute

// client is Postfix's side of a connection. It is go-milter's client on a connection that writes as Postfix does.
type client struct {
	*milter.ClientSession
	stream *stream
	asked  map[milter.Code][]string // macros that the milter requested, by event; nil: Postfix's defaults
}

// dial connects to a unix socket and negotiates.
func dial(path string) (*client, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	c := &client{stream: newStream(conn)}
	c.ClientSession, err = milter.NewClientWithOptions("unix", path, milter.ClientOptions{Dialer: c.stream, ReadTimeout: replyTimeout, ActionMask: allActions, ProtocolMask: allEvents}).Session()
	if err == nil {
		c.asked, err = askedMacros(c.stream.negotiated)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("negotiating with %s: %w", path, err)
	}
	c.stream.negotiating = false
	return c, nil
}

// askedMacros returns the lists of macros that a milter requests in its negotiation packet. The library does not parse them.
func askedMacros(packet []byte) (map[milter.Code][]string, error) {
	var asked map[milter.Code][]string
	for lists := packet[5+3*4:]; len(lists) > 4; {
		const events = "CHMRTEN" // the index is the value of the constant, such as SMFIM_CONNECT
		stage := binary.BigEndian.Uint32(lists)
		names, rest, _ := strings.Cut(string(lists[4:]), "\x00")
		if int(stage) >= len(events) {
			return nil, fmt.Errorf("it asks for macros at stage %d", stage)
		}
		if asked == nil {
			asked = map[milter.Code][]string{}
		}
		asked[milter.Code(events[stage])] = strings.Fields(strings.ReplaceAll(names, ",", " "))
		lists = []byte(rest)
	}
	return asked, nil
}

// postfixMacros returns the macros that Postfix sends to a milter that requests none. It adds the macros of the client, as if the
// operator had added them to milter_connect_macros.
func postfixMacros(event milter.Code) []string {
	return strings.Fields(map[milter.Code]string{
		milter.CodeConn: "j {daemon_name} {daemon_addr} v {client_addr} {client_name} {client_ptr} {client_connections}",
		milter.CodeMail: "{auth_type} {auth_authen} {mail_addr} {mail_host} {mail_mailer}",
		milter.CodeRcpt: "{rcpt_addr} {rcpt_host} {rcpt_mailer}",
		milter.CodeData: "i", milter.CodeEOH: "i", milter.CodeEOB: "i",
	}[event])
}

// macros returns the names and values of the macros of an event. Postfix sends the end-of-headers macros with each header field. It sends
// the end-of-message macros with each chunk of the body.
func (c *client) macros(event milter.Code, values map[string]string) (pairs []string) {
	switch event {
	case milter.CodeHeader:
		event = milter.CodeEOH
	case milter.CodeBody:
		event = milter.CodeEOB
	}
	names, chosen := c.asked[event]
	if !chosen {
		names = postfixMacros(event)
	}
	for _, name := range names {
		v, ok := values[name]
		if !ok {
			v, ok = values["{"+name+"}"] // a milter may omit the braces of a long name
		}
		if ok {
			pairs = append(pairs, name, v)
		}
	}
	return pairs
}

// exchange is a sequence of events. It ends at the first answer that does not let it continue.
type exchange struct {
	client *client
	values map[string]string // values of macros
	action *milter.Action    // the last answer
	err    error
}

// event sends an event after its macros. Like Postfix, it sends the macros even if none has a value. If the milter does not want the event,
// nothing is sent. It reports whether the exchange continues.
func (x *exchange) event(code milter.Code, unwanted milter.OptProtocol, send func() (*milter.Action, error)) bool {
	if x.client.ProtocolOption(unwanted) {
		return true
	}
	if x.err = x.client.Macros(code, x.client.macros(code, x.values)...); x.err == nil {
		x.action, x.err = send()
	}
	return x.err == nil && x.action.Code == milter.ActContinue
}

// open sends CONNECT and HELO.
func (c *client) open(p peer) error {
	x := &exchange{client: c, values: map[string]string{"j": "mx.example.net", "v": "Postfix 3.7.11", "{daemon_name}": "mx.example.net", "{daemon_addr}": "192.0.2.1",
		"{client_addr}": p.addr, "{client_name}": p.name, "{client_ptr}": p.name, "{client_connections}": "0"}}
	if x.event(milter.CodeConn, milter.OptNoConnect, func() (*milter.Action, error) { return c.Conn(p.name, milter.FamilyInet, 40000, p.addr) }) &&
		x.event(milter.CodeHelo, milter.OptNoHelo, func() (*milter.Action, error) { return c.Helo(p.name) }) {
		return nil
	}
	return fmt.Errorf("CONNECT was answered with %s, %w", said(x.action), x.err)
}

// message sends one message. The parameter added contains the fields that an earlier milter added at the top. An answer other than
// "continue" ends the message.
func (c *client) message(m *mail, added []dkim.Field) (edits []milter.ModifyAction, action *milter.Action, err error) {
	_, host, _ := strings.Cut(m.sender, "@")
	x := &exchange{client: c, values: map[string]string{"i": m.id, "{mail_addr}": m.sender, "{mail_host}": host, "{mail_mailer}": "smtp",
		"{rcpt_addr}": recipient, "{rcpt_host}": "example.net", "{rcpt_mailer}": "virtual"}}
	if m.from.login != "" {
		x.values["{auth_type}"], x.values["{auth_authen}"] = "PLAIN", m.from.login
	}
	if !x.event(milter.CodeMail, milter.OptNoMailFrom, func() (*milter.Action, error) { return c.Mail(m.sender, nil) }) ||
		!x.event(milter.CodeRcpt, milter.OptNoRcptTo, func() (*milter.Action, error) { return c.Rcpt(recipient, nil) }) ||
		!x.event(milter.CodeData, milter.OptNoData, c.data) {
		return nil, x.action, x.err
	}
	// At this point, smtpd(8) passes the connection to cleanup(8) and flushes its buffer.
	if err := c.stream.w.Flush(); err != nil {
		return nil, nil, err
	}
	for _, fields := range [][]dkim.Field{added, m.fields} {
		for _, f := range fields {
			if !x.event(milter.CodeHeader, milter.OptNoHeaders, func() (*milter.Action, error) { return c.HeaderField(f.Name, c.value(f)) }) {
				return nil, x.action, x.err
			}
		}
	}
	if !x.event(milter.CodeEOH, milter.OptNoEOH, c.HeaderEnd) {
		return nil, x.action, x.err
	}
	for rest := m.body; len(rest) > 0; {
		n := min(len(rest), milter.MaxBodyChunk)
		if !x.event(milter.CodeBody, milter.OptNoBody, func() (*milter.Action, error) { return c.BodyChunk(rest[:n]) }) {
			return nil, x.action, x.err
		}
		rest = rest[n:]
	}
	x.event(milter.CodeEOB, 0, func() (*milter.Action, error) {
		var a *milter.Action
		edits, a, err = c.End()
		return a, err
	})
	return edits, x.action, x.err
}

// value returns a header value as Postfix sends it, with LF as the line end of a folded field.
func (c *client) value(f dkim.Field) string {
	value := strings.ReplaceAll(f.Value, "\r\n", "\n")
	if !c.ProtocolOption(milter.OptHeaderLeadingSpace) {
		value = strings.TrimPrefix(value, " ")
	}
	return value
}

// data sends DATA, which the library's client does not support.
func (c *client) data() (*milter.Action, error) {
	_, err := c.stream.Write([]byte{0, 0, 0, 1, byte(milter.CodeData)})
	if err != nil || c.ProtocolOption(milter.OptNoDataReply) {
		return &milter.Action{Code: milter.ActContinue}, err
	}
	var reply [5]byte
	if _, err := io.ReadFull(c.stream, reply[:]); err != nil || reply[3] != 1 {
		return nil, fmt.Errorf("DATA was answered with %q, %w", reply, err)
	}
	return &milter.Action{Code: milter.ActionCode(reply[4])}, nil
}

// close ends the connection as Postfix does: ABORT after the message, and a second one before QUIT.
func (c *client) close() {
	_ = c.Abort()
	_ = c.Close()
	c.stream.Close()
}

// said returns an answer as text for an error message.
func said(a *milter.Action) string {
	if a == nil {
		return "nothing"
	}
	return fmt.Sprintf("%q %d %q", rune(a.Code), a.SMTPCode, a.SMTPText)
}

// streamBuffer is the number of bytes that Postfix collects before it writes (VSTREAM_BUFSIZE).
const streamBuffer = 4096

// stream is a connection that writes like Postfix: packets without a reply are buffered. The buffer is written when it is full and before
// a read.
type stream struct {
	net.Conn
	r           *bufio.Reader
	w           *bufio.Writer
	negotiating bool
	negotiated  []byte // the bytes read during the negotiation
}

func newStream(conn net.Conn) *stream {
	return &stream{Conn: conn, r: bufio.NewReaderSize(conn, streamBuffer), w: bufio.NewWriterSize(conn, streamBuffer), negotiating: true}
}

// Dial implements milter.Dialer. It returns the stream itself.
func (s *stream) Dial(string, string) (net.Conn, error) { return s, nil }

// Write never writes more than a full buffer at once.
func (s *stream) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if s.w.Available() == 0 {
			if err = s.w.Flush(); err != nil {
				break
			}
		}
		var wrote int
		wrote, err = s.w.Write(p[n:min(len(p), n+s.w.Available())])
		n += wrote
	}
	return n, err
}

func (s *stream) Read(p []byte) (int, error) {
	if s.w.Buffered() > 0 {
		if err := s.w.Flush(); err != nil {
			return 0, err
		}
	}
	n, err := s.r.Read(p)
	if s.negotiating {
		s.negotiated = append(s.negotiated, p[:n]...)
	}
	return n, err
}

func (s *stream) Close() error {
	_ = s.w.Flush() // the milter may have closed the connection
	return s.Conn.Close()
}
