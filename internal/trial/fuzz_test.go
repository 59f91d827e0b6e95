package trial

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// Whatever the server of Postfix's port replies, a message counts as accepted only if each of the four commands got its code. A failure names
// the command at which the session ended, in one line.
func FuzzTransaction(f *testing.F) {
	for _, replies := range []string{"250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 Ok: queued as 4fXy\r\n", "250-a\r\n250 b\r\n251 c\r\n354 d\r\n250-e\r\n250 f\r\n", "250 ok\r\n550 5.7.1 no\r\n",
		"250 ok\r\n250 ok\r\n250 ok\r\n", "250 ok\r\n250 ok\r\n354 go\r\n451-4.3.5 a\n451 b\x1b[2J\r\n", "250-", "999999999999 x\r\n", "\r\n", "250 a\r\n2500 b\r\n", "250 a\r\n250 b\r\n354 c\r\n2147483647 d\r\n"} {
		f.Add(replies)
	}
	f.Fuzz(func(t *testing.T, replies string) {
		here, there := net.Pipe()
		defer here.Close()
		for _, c := range []net.Conn{here, there} {
			if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		sent := make(chan string)
		go func() {
			text, _ := io.ReadAll(there) // the client ends it
			sent <- string(text)
		}()
		go func() {
			_, _ = io.WriteString(there, replies) // the client may not read all of it
			_ = there.SetWriteDeadline(time.Unix(1, 0))
		}()
		closing := &ending{here, int64(len(replies))}
		reply, err := transaction(textproto.NewConn(closing), "a@example.org", "b@example.net", "From: a\n\n.dot\n.\n", true)
		here.Close()
		wire := <-sent
		if err == nil {
			if !strings.HasSuffix(wire, "DATA\r\nFrom: a\r\n\r\n..dot\r\n..\r\n.\r\n") || !accepted(replies) {
				t.Errorf("%q is accepted after %q: %q", wire, replies, reply)
			}
			return
		}
		var at *failure
		if !errors.As(err, &at) || strings.ContainsAny(at.text(), "\r\n") {
			t.Errorf("%q: %q", replies, err)
		}
		if at.at != stageData && strings.Contains(wire, "..dot") {
			t.Errorf("%q: the message was sent after a failure at %v", replies, at.at)
		}
	})
}

// ending is a connection that ends after some bytes.
type ending struct {
	net.Conn
	left int64
}

func (e *ending) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.Conn.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	return n, err
}

// accepted reports whether the replies to the four commands have the codes 250, 25x, 354 and 250. RFC 5321 section 4.2.1.
func accepted(replies string) bool {
	lines := bufio.NewScanner(strings.NewReader(replies))
	for _, want := range []string{"250", "25", "354", "250"} {
		code := ""
		for {
			if !lines.Scan() || len(lines.Text()) < 4 {
				return false
			}
			code = lines.Text()[:3]
			if lines.Text()[3] != '-' {
				break
			}
		}
		if !strings.HasPrefix(code, want) {
			return false
		}
	}
	return true
}
