package milter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
)

// session is the state of one connection. Only one goroutine uses it.
type session struct {
	ctx     context.Context
	conn    *conn
	options Options
	facts   Session
	macros  macros   // the macros of the last macro packet; they apply to the next event only
	message *message // nil between messages
}

// message is the state of one message. Each message gets a new one, so that nothing of an earlier message is left.
type message struct {
	ctx      context.Context
	cancel   context.CancelFunc
	envelope Envelope
	handler  Message // nil until the first recipient
	broken   bool
}

// run handles the connection until it ends. The errors io.EOF and net.ErrClosed are normal ends.
func (s *session) run() error {
	defer s.conn.release()
	defer s.end()
	if err := s.conn.handshake(); err != nil {
		return err
	}
	for {
		code, size, err := s.conn.next()
		if err != nil {
			return err
		}
		if code == eventBody || code == eventEnd {
			if err := s.body(size); err != nil {
				return err
			}
			size = 0
		}
		data, err := s.conn.take(size)
		if err != nil {
			return err
		}
		if more, err := s.event(code, data); !more || err != nil {
			return err
		}
	}
}

// body passes the data of a packet to the handler as it arrives. The end-of-message packet may contain the last piece of the body.
func (s *session) body(size int) error {
	for size > 0 {
		p, err := s.conn.piece(size)
		if err != nil {
			return err
		}
		size -= len(p)
		s.guard("body", func() { s.handler().Body(p) })
	}
	return nil
}

// event handles a packet and reports whether the connection continues. Afterwards it clears the macros, because they apply to one
// event only.
func (s *session) event(code byte, data []byte) (more bool, err error) {
	if code == eventMacros {
		s.macros = readMacros(data)
		return true, nil
	}
	defer func() { s.macros = macros{} }()
	switch code {
	case eventConnect:
		return true, s.connect(data)
	case eventHELO:
		s.facts.HELO = text(data)
	case eventMail:
		// This begins a new message, even if the last one has not ended.
		s.start(Envelope{Sender: strings.Trim(text(data), "<>"), Login: s.macros.login})
	case eventRcpt:
		s.guard("rcpt", func() {
			address, _, _ := bytes.Cut(data, []byte{0})
			s.handler().Recipient(bytes.Trim(address, "<>"))
		})
	case eventHeader:
		s.header(data)
	case eventEndHeaders:
		s.guard("end of headers", func() { s.handler().EndHeaders(s.macros.queueID) })
	case eventEnd:
		if err := s.conn.send(s.finish()); err != nil {
			return false, err
		}
		return !s.conn.idle(), nil
	case eventAbort:
		s.end()
		return !s.conn.idle(), nil
	case eventBody: // body has handled it
	case eventQuit:
		return false, nil
	default:
		return false, fmt.Errorf("unexpected milter event %q", code)
	}
	return true, nil
}

// text returns a string of a packet, up to its NUL.
func text(data []byte) string {
	s, _, _ := bytes.Cut(data, []byte{0})
	return string(s)
}

func (s *session) connect(data []byte) error {
	_, rest, ok := bytes.Cut(data, []byte{0})
	if !ok || len(rest) == 0 {
		return errors.New("malformed CONNECT packet")
	}
	family, rest := rest[0], rest[1:]
	address := ""
	if family == '4' || family == '6' {
		if len(rest) < 2 {
			return errors.New("malformed CONNECT packet")
		}
		address = text(rest[2:]) // after the port
	}
	m := s.macros
	s.facts = Session{Client: clientAddr(address, m.addr), Name: m.name, PTR: m.ptr, Daemon: m.daemon, MTA: m.mta, SMTP: m.smtp}
	return nil
}

// clientAddr returns the address in the packet. If that cannot be parsed, it returns the address in the macro. If neither can be parsed,
// the result is invalid.
func clientAddr(packet, macro string) netip.Addr {
	for _, s := range []string{packet, macro} {
		if a, err := netip.ParseAddr(strings.TrimPrefix(s, "IPv6:")); err == nil {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

// header parses "name NUL value NUL". A field with another NUL cannot be read completely. Its message is marked as broken, because the
// checks need the complete header.
func (s *session) header(data []byte) {
	name, rest, named := bytes.Cut(data, []byte{0})
	_, more, ended := bytes.Cut(rest, []byte{0})
	if !named || !ended || len(more) > 0 {
		if s.message == nil || !s.message.broken {
			s.options.Log.Warn("malformed milter packet", "client", s.facts.Client)
		}
		s.broken()
		return
	}
	field := string(data[:len(data)-1]) // one string for name and value saves an allocation
	s.guard("header", func() { s.handler().Header(field[:len(name)], field[len(name)+1:]) })
}

// start ends the current message and begins a new one.
func (s *session) start(e Envelope) {
	s.end()
	grow(0)
	ctx, cancel := context.WithCancel(s.ctx)
	s.message = &message{ctx: ctx, cancel: cancel, envelope: e}
	s.conn.begin()
}

// grow enlarges the stack of the goroutine to the size that a message needs. Otherwise the stack would grow in three steps and be copied
// in each step. The stack of a connection without messages stays small.
//
//go:noinline
func grow(i byte) byte {
	var room [7 << 10]byte
	room[i] = 1
	return room[255-i]
}

// end ends the current message and cancels its context.
func (s *session) end() {
	if s.message != nil {
		s.message.cancel()
		s.message = nil
	}
}

// handler returns the handler of the current message. It creates the handler if there is none yet. If there was no MAIL event, the envelope
// is empty.
func (s *session) handler() Message {
	if s.message == nil {
		s.start(Envelope{})
	}
	if s.message.handler == nil {
		s.message.handler = s.options.Begin(s.message.ctx, s.facts, s.message.envelope)
	}
	return s.message.handler
}

// broken marks the current message as broken. Its handler gets no more events, and Options.Broken returns the reply.
func (s *session) broken() {
	if s.message == nil {
		s.start(Envelope{})
	}
	s.message.broken = true
}

// guard calls f to handle an event. It does not call f if the message is broken. If f panics, only the message is marked as broken.
func (s *session) guard(name string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			s.options.Log.Error("internal error", "event", name, "panic", v, "stack", string(debug.Stack()))
			if s.options.Panicked != nil {
				s.options.Panicked()
			}
			s.broken()
		}
	}()
	if s.message == nil || !s.message.broken {
		f()
	}
}

// finish handles the end of the message, the only event that gets an answer, and returns the packets of the answer.
func (s *session) finish() []byte {
	var edits Edits
	var reply Reply
	s.conn.releaseEmpty()
	s.guard("end of message", func() {
		h := s.handler()
		ctx, cancel := context.WithTimeout(s.message.ctx, FinishTimeout)
		defer cancel()
		edits, reply = h.Finish(ctx)
	})
	if s.message.broken {
		s.message.envelope.QueueID = s.macros.queueID
		edits, reply = Edits{}, s.options.Broken(s.facts, s.message.envelope)
	}
	s.end()
	b := s.conn.out
	if reply.Code != 0 {
		return appendPacket(b, answerReply, func(b []byte) []byte { return appendString(b, replyText(reply)) })
	}
	if edits.Discard {
		return appendPacket(b, answerDiscard, func(b []byte) []byte { return b })
	}
	b = appendEdits(b, edits)
	return appendPacket(b, answerContinue, func(b []byte) []byte { return b })
}

// appendEdits appends the packets of the edits. After each deletion, Postfix counts only the fields that remain. So deletions come first,
// from the highest index to the lowest.
func appendEdits(b []byte, e Edits) []byte {
	deletions := slices.Clone(e.Delete)
	slices.SortStableFunc(deletions, func(a, b Deletion) int { return b.Index - a.Index })
	for _, d := range deletions {
		b = appendField(b, editChange, d.Index, d.Name, "")
	}
	for _, i := range e.Insert {
		b = appendField(b, editInsert, i.Index, i.Name, i.Value)
	}
	if e.Hold != "" {
		b = appendPacket(b, editQuarantine, func(b []byte) []byte { return appendString(b, plain(e.Hold)) })
	}
	return b
}
