package trial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-milter"

	"signpost/internal/doctor"
)

// Like Postfix, the client offers all actions and all events. It sends macros as Postfix does.
const (
	allActions = milter.OptAction(0x1ff)
	allEvents  = milter.OptProtocol(0x1fffff)
)

// Alone passes a message of a login, which has to be signed, and the forged messages to the daemon, without Postfix. network is "unix" or
// "tcp". It uses the client of go-milter, which is an independent implementation of the protocol. No mail is sent.
func (s *Site) Alone(ctx context.Context, o Options, network, address string) (Report, error) {
	var r Report
	m := newMessage("socket", o)
	fields := []string{"From: " + o.From}
	reply, err := s.play(ctx, m, network, address, milterClient{"127.0.0.1", "localhost", o.Login, o.From}, m.text(time.Now(), fields...))
	if err != nil {
		m.add(stepAlone, doctor.Finding{Level: doctor.Red, What: "no answer of the daemon at " + address, Where: failed(stageConnect, err).Error(), Why: "Postfix applies milter_default_action to every message",
			Fix: "signpost ping # then start the daemon: systemctl restart signpost"})
		r.Messages = []Message{*m}
		s.explain(ctx, &r, o.From, stepAlone)
		return r, ctx.Err()
	}
	m.good(stepAlone, "the daemon answered: %s", reply)
	s.record(ctx, m)
	if m.record != nil && s.signature(ctx, m) {
		s.published(ctx, m)
	}
	r.Messages = append(r.Messages, *m)
	all, p := s.forgeries(ctx, o.From)
	for _, f := range all {
		m := newMessage(f.name, o)
		reply, err := s.play(ctx, m, network, address, milterClient{outside, outsideHELO, "", ""}, m.text(time.Now(), f.fields...))
		if err != nil {
			m.add(stepAlone, doctor.Finding{Level: doctor.Red, What: "the daemon at " + address + " did not answer to the message: " + f.name, Where: failed(stageConnect, err).Error(), Why: "Postfix applies milter_default_action to such a message",
				Fix: "signpost ping # then read the log of the daemon"})
			r.Messages = append(r.Messages, *m)
			break
		}
		s.record(ctx, m)
		s.verdict(m, f, reply, "trusted_networks = [...] # without a network that contains "+outside)
		r.Messages = append(r.Messages, *m)
	}
	s.explain(ctx, &r, o.From, stepAlone, stepRecord, stepReceivers)
	r.noPolicy(o.From, p)
	return r, ctx.Err()
}

// record waits for the record of a message in the journal.
func (s *Site) record(ctx context.Context, m *Message) {
	id := m.QueueID
	s.await(ctx, m, mailLog{file: "/dev/null"})
	m.QueueID = id
	if m.record == nil && m.Name == "socket" {
		s.processed(m)
	}
}

// milterClient is the client of a message in the milter protocol.
type milterClient struct{ address, helo, login, sender string }

// play passes a message to the daemon. It returns the reply that Postfix would send to the client, and sets Edits.
func (s *Site) play(ctx context.Context, m *Message, network, address string, c milterClient, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	d := &dialer{ctx: ctx}
	session, err := milter.NewClientWithOptions(network, address, milter.ClientOptions{Dialer: d, ActionMask: allActions, ProtocolMask: allEvents, ReadTimeout: s.Timeout, WriteTimeout: s.Timeout}).Session()
	if d.err != nil {
		return "", d.err
	}
	if err != nil {
		_ = d.Close()
		return "", errors.New("it does not answer as a milter does")
	}
	defer session.Close()
	m.QueueID = "TEST" + strings.ToUpper(m.id[len(m.id)-8:])
	header, body, _ := strings.Cut(text, "\n\n")
	login := []string{}
	if c.login != "" {
		login = []string{"{auth_authen}", c.login, "{auth_type}", "PLAIN"}
	}
	steps := []func() (*milter.Action, error){
		func() (*milter.Action, error) {
			err := session.Macros(milter.CodeConn, "{client_addr}", c.address, "{client_name}", "unknown", "{client_ptr}", "unknown", "{client_connections}", "1", "{daemon_name}", "signpost-test", "v", "signpost test", "j", "localhost")
			if err != nil {
				return nil, err
			}
			return session.Conn("unknown", milter.FamilyInet, 25, c.address)
		},
		func() (*milter.Action, error) { return session.Helo(c.helo) },
		func() (*milter.Action, error) {
			if err := session.Macros(milter.CodeMail, login...); err != nil {
				return nil, err
			}
			return session.Mail(c.sender, nil)
		},
		func() (*milter.Action, error) { return session.Rcpt(m.To, nil) },
	}
	for field := range fields(header) {
		steps = append(steps, func() (*milter.Action, error) {
			name, value, _ := strings.Cut(field, ":")
			return session.HeaderField(name, value)
		})
	}
	steps = append(steps, func() (*milter.Action, error) {
		if err := session.Macros(milter.CodeEOH, "i", m.QueueID); err != nil {
			return nil, err
		}
		return session.HeaderEnd()
	}, func() (*milter.Action, error) {
		return session.BodyChunk([]byte(strings.ReplaceAll(body, "\n", "\r\n")))
	})
	for _, step := range steps {
		action, err := step()
		if err != nil {
			return "", err
		}
		if action.Code != milter.ActContinue {
			return replyOf(action), nil
		}
	}
	if err := session.Macros(milter.CodeEOB, "i", m.QueueID); err != nil {
		return "", err
	}
	edits, action, err := session.End()
	if err != nil {
		return "", err
	}
	for _, e := range edits {
		m.Edits = append(m.Edits, edit(e))
	}
	return replyOf(action), nil
}

// fields returns the header fields, with their continuation lines.
func fields(header string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for field := range strings.SplitSeq(strings.ReplaceAll(header, "\n\t", "\x00\t"), "\n") {
			if !yield(strings.ReplaceAll(field, "\x00\t", "\n\t")) {
				return
			}
		}
	}
}

// replyOf returns the reply that Postfix sends to the client.
func replyOf(a *milter.Action) string {
	switch a.Code {
	case milter.ActReplyCode:
		return fmt.Sprintf("%d %s", a.SMTPCode, oneLine(a.SMTPText))
	case milter.ActReject:
		return "550 5.7.1 Command rejected"
	case milter.ActTempFail:
		return "451 4.7.1 Service unavailable"
	case milter.ActDiscard:
		return "250 2.0.0 discarded"
	}
	return "250 2.0.0 accepted"
}

// edit describes a change that the daemon requested.
func edit(e milter.ModifyAction) string {
	value := oneLine(e.HeaderValue)
	switch e.Code {
	case milter.ActInsertHeader, milter.ActAddHeader:
		return fmt.Sprintf("insert at %d: %s: %s", e.HeaderIndex, oneLine(e.HeaderName), value)
	case milter.ActChangeHeader:
		if value == "" {
			return fmt.Sprintf("delete %s number %d", e.HeaderName, e.HeaderIndex)
		}
		return fmt.Sprintf("change %s number %d: %s", e.HeaderName, e.HeaderIndex, value)
	case milter.ActQuarantine:
		return "hold: " + e.Reason
	}
	return string(e.Code)
}

// dialer dials one connection, which ends with ctx.
type dialer struct {
	ctx context.Context
	net.Conn
	err error
}

// Dial implements milter.Dialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	c, err := dial(d.ctx, network, address)
	if err != nil {
		d.err = err
		return nil, err
	}
	d.Conn = c
	return c, nil
}
