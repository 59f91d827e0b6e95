package main

import (
	"encoding/binary"
	"strings"

	"signpost/internal/dkim"
)

// step is what is sent before the next reply is due, or what is sent without one at the end of a script.
type step struct {
	data  []byte
	reply bool
	body  bool // left out once the server has had enough of the body
	top   bool // the header begins here
}

// scripter lays a session or a message out under a server's terms.
type scripter struct {
	terms terms
	steps []step
	top   bool // the next packet is the first of the header
}

// unless says that an event has a reply: the bit that would do without is not agreed on.
func (s *scripter) unless(bit uint32) (reply bool) { return s.terms.events&bit == 0 }

// add appends a packet.
func (s *scripter) add(code byte, data []byte, reply bool) {
	last := len(s.steps) - 1
	body := code == 'B' || code == 'D' && data[0] == 'B'
	if last < 0 || s.steps[last].reply || s.steps[last].body != body || s.top {
		s.steps = append(s.steps, step{body: body, top: s.top})
		last++
		s.top = false
	}
	s.steps[last].data = packet(s.steps[last].data, code, data)
	s.steps[last].reply = reply
}

// macros are sent before every command, even where none has a value; they never have a reply. Postfix sends those of the
// end of headers with each header field, and those of the end of message with each piece of body.
func (s *scripter) macros(command byte, values map[string]string) {
	stage := command
	switch command {
	case 'L':
		stage = 'N'
	case 'B':
		stage = 'E'
	}
	names, chosen := s.terms.macros[stage]
	if !chosen {
		names = postfixMacros(stage)
	}
	data := []byte{command}
	for _, name := range names {
		v, ok := values[name]
		if !ok {
			// The server may leave the braces out of a long name.
			v, ok = values["{"+name+"}"]
		}
		if ok {
			data = append(data, name+"\x00"+v+"\x00"...)
		}
	}
	s.add('D', data, false)
}

// postfixMacros are what Postfix sends to a server that does not choose, with the client's as an operator's
// milter_connect_macros has them.
func postfixMacros(command byte) []string {
	return strings.Fields(map[byte]string{
		'C': "j {daemon_name} {daemon_addr} v {client_addr} {client_name} {client_ptr} {client_connections}",
		'M': "{auth_type} {auth_authen} {mail_addr} {mail_host} {mail_mailer}",
		'R': "{rcpt_addr} {rcpt_host} {rcpt_mailer}",
		'T': "i", 'N': "i", 'E': "i",
	}[command])
}

// opening is CONNECT and HELO.
func opening(t terms, p peer) []step {
	s := &scripter{terms: t}
	values := map[string]string{"j": "mx.example.net", "v": "Postfix 3.7.11", "{daemon_name}": "mx.example.net", "{daemon_addr}": "192.0.2.1",
		"{client_addr}": p.addr, "{client_name}": p.name, "{client_ptr}": p.name, "{client_connections}": "0"}
	s.macros('C', values)
	data := binary.BigEndian.AppendUint16([]byte(p.name+"\x004"), 40000)
	s.add('C', append(data, p.addr+"\x00"...), s.unless(noReplyConnect))
	s.macros('H', values)
	s.add('H', []byte(p.name+"\x00"), s.unless(noReplyHelo))
	return s.steps
}

// telling is one message. again says that it is not the connection's first: Postfix ends the one before with ABORT.
func telling(t terms, m *mail, again bool) []step {
	s := &scripter{terms: t}
	if again {
		s.add('A', nil, false)
	}
	_, host, _ := strings.Cut(m.sender, "@")
	values := map[string]string{"i": m.id, "{mail_addr}": m.sender, "{mail_host}": host, "{mail_mailer}": "smtp",
		"{rcpt_addr}": recipient, "{rcpt_host}": "example.net", "{rcpt_mailer}": "virtual"}
	if m.from.login != "" {
		values["{auth_type}"], values["{auth_authen}"] = "PLAIN", m.from.login
	}
	s.macros('M', values)
	s.add('M', []byte("<"+m.sender+">\x00"), s.unless(noReplyMail))
	s.macros('R', values)
	s.add('R', []byte("<"+recipient+">\x00"), s.unless(noReplyRcpt))
	if t.events&noData == 0 {
		s.macros('T', values)
		s.add('T', nil, s.unless(noReplyData))
	}
	if t.events&noHeaders == 0 {
		s.top = true
		for _, f := range m.fields {
			s.macros('L', values)
			s.add('L', header(t, f), s.unless(noReplyHeader))
		}
	}
	if t.events&noEOH == 0 {
		s.macros('N', values)
		s.add('N', nil, s.unless(noReplyEOH))
	}
	if t.events&noBody == 0 {
		for rest := m.body; len(rest) > 0; {
			n := min(len(rest), chunk)
			s.macros('B', values)
			s.add('B', rest[:n], s.unless(noReplyBody))
			rest = rest[n:]
		}
	}
	s.macros('E', values)
	s.add('E', nil, true)
	return s.steps
}

// header is a field as Postfix shows it: LF inside folds.
func header(t terms, f dkim.Field) []byte {
	value := strings.ReplaceAll(f.Value, "\r\n", "\n")
	if t.events&leadingSpace == 0 {
		value = strings.TrimPrefix(value, " ")
	}
	return []byte(f.Name + "\x00" + value + "\x00")
}
