package traffic

import (
	"context"
	"errors"
	"net/textproto"
	"time"

	"signpost/internal/soak/judge"
	"signpost/internal/testmta"
)

const (
	// sessionTime limits one attempt.
	sessionTime = 5 * time.Minute
	// firstPause is the time between the first attempts, which doubles up to mostPause.
	firstPause, mostPause = time.Second, 30 * time.Second
)

// Send hands the message over to the SMTP server at addr, as a client does: it tries again after a temporary failure or a lost connection, until
// ctx ends. It adds the attempts to the message. The capacity of room limits the concurrent attempts of all calls. The caller has sent the first value to it.
func Send(ctx context.Context, addr string, m *Mail, room chan struct{}) {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		a := judge.Attempt{From: time.Now()}
		a.Code = attempt(ctx, addr, m)
		a.To = time.Now()
		<-room
		m.Attempts = append(m.Attempts, a)
		if a.Code/100 == 2 || a.Code/100 == 5 {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		room <- struct{}{}
	}
}

// attempt returns the reply to the message, or the first reply that is not positive. It returns 0 if the connection was lost.
func attempt(ctx context.Context, addr string, m *Mail) int {
	ctx, cancel := context.WithTimeout(ctx, sessionTime)
	defer cancel()
	s, err := testmta.Dial(ctx, addr)
	if err != nil {
		return 421 // no connection: nothing was handed over
	}
	defer s.Close()
	if _, err := s.Expect(220); err != nil {
		return early(err)
	}
	commands := []command{{250, "EHLO soak.example"}}
	if m.Client.IsValid() {
		text := "XCLIENT ADDR=" + m.Client.String() + " NAME=[UNAVAILABLE]"
		if m.Login != "" {
			text += " LOGIN=" + m.Login
		}
		commands = append(commands, command{220, text}, command{250, "EHLO " + m.HELO})
	}
	commands = append(commands, command{250, "MAIL FROM:<" + m.Sender + ">"})
	for _, r := range m.Recipients {
		commands = append(commands, command{250, "RCPT TO:<" + r + ">"})
	}
	for _, c := range commands {
		if _, err := s.Cmd(c.code, c.text); err != nil {
			return early(err)
		}
	}
	if _, err := s.Data(250, m.Text); err != nil {
		return code(err)
	}
	_, _ = s.Cmd(221, "QUIT")
	return 250
}

// command is an SMTP command with the code of its positive reply.
type command struct {
	code int
	text string
}

// code returns the code of an error reply, or 0.
func code(err error) int {
	reply := (*textproto.Error)(nil)
	if errors.As(err, &reply) {
		return reply.Code
	}
	return 0
}

// early is code before the message was sent: a lost connection counts as a temporary failure.
func early(err error) int {
	if c := code(err); c != 0 {
		return c
	}
	return 421
}
