package milter

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	gomilter "github.com/emersion/go-milter"
)

// This file is the only one that knows the milter library, so that the wire can be exchanged.

// needActions is what we may do to a message, needEvents what we ask Postfix to do: send no events that are not looked at,
// wait for no reply but at the end of a message, keep the space before a header value.
const (
	needActions = uint32(gomilter.OptAddHeader | gomilter.OptChangeHeader | gomilter.OptQuarantine | gomilter.OptSetSymList)
	needEvents  = uint32(gomilter.OptNoUnknown | gomilter.OptNoData |
		gomilter.OptNoConnReply | gomilter.OptNoHeloReply | gomilter.OptNoMailReply | gomilter.OptNoRcptReply |
		gomilter.OptNoHeaderReply | gomilter.OptNoEOHReply | gomilter.OptNoBodyReply | gomilter.OptHeaderLeadingSpace)
)

// macros are asked for by stage, whatever milter_*_macros in main.cf say.
func macros() map[gomilter.Stage][]string {
	return map[gomilter.Stage][]string{
		gomilter.StageConnect:  {"{client_addr}", "{client_name}", "{client_ptr}", "{client_connections}", "{daemon_name}", "v", "j"},
		gomilter.StageMailFrom: {"{auth_authen}", "{auth_type}"},
		gomilter.StageEOH:      {"i"},
		gomilter.StageEOM:      {"i"},
	}
}

// oneConn is a listener that gives its connection once: the library serves listeners, we serve connections.
type oneConn struct {
	net.Listener // only for Addr, which nobody asks for
	conn         net.Conn
	given        bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if l.given {
		return nil, net.ErrClosed
	}
	l.given = true
	return l.conn, nil
}

func (l *oneConn) Close() error { return nil }

// lentConn tells when the library is done with a connection. A drain closes the conn below it, and then the library may
// still be in a callback.
type lentConn struct {
	*conn
	once  sync.Once
	ended chan struct{}
}

func (l *lentConn) Close() error {
	err := l.conn.Close()
	l.once.Do(func() { close(l.ended) })
	return err
}

// serveConn runs the library on one connection until that ends. ctx ends with the connection.
func serveConn(ctx context.Context, c *conn, o Options) {
	s := &session{ctx: ctx, conn: c, options: o}
	server := &gomilter.Server{
		// The library makes a new backend after every refusal; what outlives a message is in s, not in the backend.
		NewMilter: func() gomilter.Milter { return backend{s} },
		Actions:   gomilter.OptAction(needActions),
		Protocol:  gomilter.OptProtocol(needEvents),
		SymList:   macros(),
	}
	// Serve returns at the second Accept and leaves the connection to a goroutine, which closes it at its end.
	ended := make(chan struct{})
	_ = server.Serve(&oneConn{conn: &lentConn{conn: c, ended: ended}})
	<-ended
	s.end()
}

// session is one connection's state. The library calls from one goroutine.
type session struct {
	ctx     context.Context
	conn    *conn
	options Options
	facts   Session
	message *message // nil between messages
}

// message is one message's state; it is replaced as a whole, never reset field by field.
type message struct {
	ctx      context.Context
	cancel   context.CancelFunc
	envelope Envelope
	handler  Message // nil until the first recipient
	broken   bool
}

// start replaces the message.
func (s *session) start(e Envelope) {
	s.end()
	ctx, cancel := context.WithCancel(s.ctx)
	s.message = &message{ctx: ctx, cancel: cancel, envelope: e}
	s.conn.begin()
}

// end forgets the message and whatever was started for it.
func (s *session) end() {
	if s.message != nil {
		s.message.cancel()
		s.message = nil
	}
}

// handler is where the message's events go. A message whose MAIL or RCPT was not seen has an empty envelope.
func (s *session) handler() Message {
	if s.message == nil {
		s.start(Envelope{})
	}
	if s.message.handler == nil {
		s.message.handler = s.options.Begin(s.message.ctx, s.facts, s.message.envelope)
	}
	return s.message.handler
}

// event runs one event. What panics breaks its message and nothing else: the library's own recovery would close the
// connection, which milter_default_action = accept turns into a pass. The library keeps every header field and the macros
// of earlier stages: both are cleared, so that nothing grows and nothing stale is read.
func (s *session) event(name string, m *gomilter.Modifier, f func()) {
	s.conn.mute = true
	defer func() {
		if v := recover(); v != nil {
			s.options.Log.Error("internal error", "event", name, "panic", v, "stack", string(debug.Stack()))
			if s.message == nil {
				s.start(Envelope{})
			}
			s.message.broken = true
		}
		clear(m.Headers)
		clear(m.Macros)
	}()
	if s.message != nil && s.message.broken {
		return
	}
	f()
}

// backend gets the library's calls. Its nil responses go with the no-reply bits.
type backend struct{ s *session }

func (b backend) Connect(host, family string, port uint16, addr net.IP, m *gomilter.Modifier) (gomilter.Response, error) {
	s := b.s
	s.event("connect", m, func() {
		_, smtp := m.Macros["{client_connections}"]
		s.facts = Session{
			Client: clientAddr(addr, m.Macros["{client_addr}"]),
			Name:   strings.Clone(m.Macros["{client_name}"]),
			PTR:    strings.Clone(m.Macros["{client_ptr}"]),
			Daemon: strings.Clone(m.Macros["{daemon_name}"]),
			MTA:    strings.Clone(m.Macros["j"]),
			SMTP:   smtp,
		}
	})
	return nil, nil
}

// clientAddr takes the packet's own address, which is always there, and the macro where it is not readable.
func clientAddr(ip net.IP, macro string) netip.Addr {
	if a, ok := netip.AddrFromSlice(ip); ok {
		return a.Unmap()
	}
	a, err := netip.ParseAddr(strings.TrimPrefix(macro, "IPv6:"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

func (b backend) Helo(name string, m *gomilter.Modifier) (gomilter.Response, error) {
	b.s.event("helo", m, func() { b.s.facts.HELO = name })
	return nil, nil
}

func (b backend) MailFrom(from string, m *gomilter.Modifier) (gomilter.Response, error) {
	s := b.s
	// A new message, whatever became of the last one.
	s.end()
	s.event("mail", m, func() {
		s.start(Envelope{Sender: from, Login: strings.Clone(m.Macros["{auth_authen}"])})
	})
	return nil, nil
}

func (b backend) RcptTo(_ string, m *gomilter.Modifier) (gomilter.Response, error) {
	b.s.event("rcpt", m, func() { b.s.handler() })
	return nil, nil
}

func (b backend) Header(name, value string, m *gomilter.Modifier) (gomilter.Response, error) {
	b.s.event("header", m, func() { b.s.handler().Header(name, value) })
	return nil, nil
}

func (b backend) Headers(_ textproto.MIMEHeader, m *gomilter.Modifier) (gomilter.Response, error) {
	b.s.event("end of headers", m, func() { b.s.handler().EndHeaders(strings.Clone(m.Macros["i"])) })
	return nil, nil
}

func (b backend) BodyChunk(chunk []byte, m *gomilter.Modifier) (gomilter.Response, error) {
	b.s.event("body", m, func() { b.s.handler().Body(chunk) })
	return nil, nil
}

// Body is the end of the message, the one event that is answered.
func (b backend) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	s := b.s
	var edits Edits
	var reply Reply
	s.event("end of message", m, func() {
		h := s.handler()
		ctx, cancel := context.WithTimeout(s.message.ctx, finishTimeout)
		defer cancel()
		edits, reply = h.Finish(ctx)
	})
	if s.conn.spoke {
		// The library answered a malformed packet, and that event is lost: the message we know is not the message.
		s.conn.spoke = false
		s.message.broken = true
		s.options.Log.Warn("a malformed milter packet", "client", s.facts.Client)
	}
	if s.message.broken {
		edits, reply = Edits{}, s.options.Broken(s.facts, s.message.envelope)
	}
	s.end()
	s.conn.mute, s.conn.ending = false, true
	if reply.Code != 0 {
		return gomilter.NewResponseStr('y', replyText(reply)), nil
	}
	if err := apply(edits, m); err != nil {
		return nil, err
	}
	return gomilter.RespContinue, nil
}

// apply carries out edits. Postfix counts fields in the message as it is by then, so that deletions go from the highest
// index of a name to its lowest, and before anything is inserted.
func apply(e Edits, m *gomilter.Modifier) error {
	deletions := slices.Clone(e.Delete)
	slices.SortStableFunc(deletions, func(a, b Deletion) int { return b.Index - a.Index })
	for _, d := range deletions {
		if err := m.ChangeHeader(d.Index, d.Name, ""); err != nil {
			return err
		}
	}
	for _, i := range e.Insert {
		if err := m.InsertHeader(i.Index, i.Name, i.Value); err != nil {
			return err
		}
	}
	if e.Hold != "" {
		return m.Quarantine(plain(e.Hold))
	}
	return nil
}

func (b backend) Abort(m *gomilter.Modifier) error {
	s := b.s
	s.event("abort", m, func() {})
	s.end()
	s.conn.spoke = false
	if s.conn.idle() {
		return errDrained
	}
	return nil
}

// logFault says why a connection ended, where that is worth a line.
func logFault(log *slog.Logger, c *conn) {
	if err := c.ended(); err != nil {
		log.Warn("milter connection ended", "remote", c.RemoteAddr().String(), "error", err)
	}
}
