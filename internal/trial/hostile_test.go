package trial

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/doctor"
	"signpost/keys"
)

// serve starts a server on a loopback address, and returns its HOST:PORT.
func serve(t *testing.T, f func(c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var workers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	workers.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			workers.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		stop()
		_ = ln.Close()
		workers.Wait()
	})
	return ln.Addr().String()
}

// talk is an SMTP server with one reply for each command, by its first word.
func talk(c net.Conn, seen func(string), replies map[string]string) {
	_, _ = io.WriteString(c, "220 mx.example.org ESMTP\r\n")
	r := bufio.NewScanner(c)
	data := false
	for r.Scan() {
		line := r.Text()
		if data = data && line != "."; data {
			continue
		}
		seen(line)
		verb, _, _ := strings.Cut(line, " ")
		reply, ok := replies[verb]
		if !ok {
			reply = "250 2.0.0 Ok"
		}
		if verb == "DATA" && !ok {
			reply, data = "354 go on", true
		}
		if _, err := io.WriteString(c, reply+"\r\n"); err != nil {
			return
		}
	}
}

// A server that sends replies without an end, or one byte at a time, ends the session: after a megabyte, or at the timeout.
func TestHostileServer(t *testing.T) {
	flood := strings.Repeat("250-"+strings.Repeat("x", 60)+"\r\n", 1000)
	for name, server := range map[string]func(c net.Conn){
		"a reply without an end": func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, strings.ReplaceAll(flood, "250", "220")); err != nil {
					return
				}
			}
		},
		"a line without an end": func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, strings.Repeat("2", 1<<16)); err != nil {
					return
				}
			}
		},
		"slow bytes": func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "2"); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		},
		"silence": func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"EHLO without an end": func(c net.Conn) {
			_, _ = io.WriteString(c, "220 mx.example.org\r\n")
			for {
				if _, err := io.WriteString(c, flood); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, server)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begin := time.Now()
			_, _, err := submit(ctx, service{address: address}, Options{Login: "ann", Password: "secret"}, "mx.example.org", "x")
			var f *failure
			if !errors.As(err, &f) || len(f.text()) > maxReply+10 || time.Since(begin) > 5*time.Second {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
			if _, err := forged(ctx, address, []string{"mx.example.org"}, "x@example.org", "x"); err == nil {
				t.Error("no error")
			}
		})
	}
}

// The reply of a server is one line. It cannot look like another finding.
func TestReplyIsOneLine(t *testing.T) {
	for verb, replies := range map[string]map[string]string{
		"DATA": {"EHLO": "250-mx\r\n250 AUTH PLAIN", "AUTH": "235 ok", ".": "250-ok\r\n250-green  delivery: \x1b[2Jdelivered\r\n250 end"},
		"RCPT": {"EHLO": "250-mx\r\n250 AUTH PLAIN", "AUTH": "235 ok", "RCPT": "550-no\r\n550-green  delivery: \x1b[2Jdelivered\r\n550 end"},
	} {
		address := serve(t, func(c net.Conn) { talk(c, func(string) {}, replies) })
		s := site(map[string]string{"master.cf": ""}, nil)
		m := newMessage(bySubmission, Options{From: "a@example.org", To: "b@example.org"})
		s.submitted(t.Context(), m, Options{From: "a@example.org", To: "b@example.org", Login: "ann", Password: "secret", Server: address}, "mx.example.org", "x\n")
		if len(m.Findings) != 1 || !strings.Contains(m.Findings[0].What+m.Findings[0].Where, "green delivery") || strings.ContainsAny(m.Findings[0].What+m.Findings[0].Where, "\n\x1b") {
			t.Errorf("%s: %+v", verb, m.Findings)
		}
	}
}

// A daemon at --socket that never ends its answer, or sends changes without an end, ends the session.
func TestHostileDaemon(t *testing.T) {
	packet := func(text string) string { return string([]byte{0, 0, 0, byte(len(text))}) + text }
	negotiated := packet("O\x00\x00\x00\x06\x00\x00\x01\xff\x00\x00\x00\x00")
	for name, answer := range map[string]string{"progress": packet("p"), "changes": packet("hX\x00y\x00")} {
		address := serve(t, func(c net.Conn) {
			_, _ = io.WriteString(c, negotiated)
			go func() { _, _ = io.Copy(io.Discard, c) }()
			for {
				if _, err := io.WriteString(c, answer); err != nil {
					return
				}
			}
		})
		s := site(nil, nil)
		begin := time.Now()
		_, err := s.play(t.Context(), newMessage("socket", Options{From: "a@example.org", To: "b@example.org"}), "tcp", address, milterClient{"192.0.2.1", "x", "", ""}, "From: a@example.org\n\nx\n")
		if err == nil || time.Since(begin) > 5*time.Second {
			t.Errorf("%s: %v after %v", name, err, time.Since(begin))
		}
	}
}

// A program that is not Postfix gets no forged message.
func TestForgedMailForPostfixOnly(t *testing.T) {
	var mutex sync.Mutex
	var commands []string
	address := serve(t, func(c net.Conn) {
		talk(c, func(line string) {
			mutex.Lock()
			defer mutex.Unlock()
			commands = append(commands, line)
		}, map[string]string{"EHLO": "250-relay.example.net\r\n250 XCLIENT ADDR"})
	})
	_, err := forged(t.Context(), address, []string{"mx.example.org"}, "x@example.org", "x")
	mutex.Lock()
	defer mutex.Unlock()
	if err == nil || !strings.Contains(err.Error(), "calls itself relay.example.net") || slices.ContainsFunc(commands, func(line string) bool { return !strings.HasPrefix(line, "EHLO") }) {
		t.Errorf("%v, %q", err, commands)
	}
	main := localSettings()
	for server, good := range map[string]bool{"127.0.0.1:25": true, "localhost:25": true, "127.0.0.1:2525": false, "127.0.0.2:25": false, "203.0.113.1:25": false, "": true} {
		main["inet_interfaces"] = "127.0.0.1"
		if to, err := site(main, nil).inbound(t.Context(), server); (err == nil) != good || good && to.address != "127.0.0.1:25" {
			t.Errorf("%s: %+v %v", server, to, err)
		}
	}
}

// A password is sent to another host only if its certificate is valid for its name. On this host, any certificate is accepted.
func TestWrongCertificate(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.org"}, NotBefore: time.Now().AddDate(0, 0, -1), NotAfter: time.Now().AddDate(0, 0, 1)}
	der, err := x509.CreateCertificate(nil, c, c, public, private)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}
	for _, wrapped := range []bool{false, true} {
		for host, want := range map[string]stage{"127.0.0.1": "", "LOCALHOST": stageTLS} { // only localhost in lower case is known to be this host
			var mutex sync.Mutex
			var commands []string
			seen := func(line string) {
				mutex.Lock()
				defer mutex.Unlock()
				commands = append(commands, line)
			}
			address := serve(t, func(c net.Conn) {
				inner := c
				if !wrapped {
					_, _ = io.WriteString(c, "220 mx.example.org ESMTP\r\n")
					r := bufio.NewReader(c)
					_, _ = r.ReadString('\n')
					_, _ = io.WriteString(c, "250-mx.example.org\r\n250 STARTTLS\r\n")
					_, _ = r.ReadString('\n')
					_, _ = io.WriteString(c, "220 go on\r\n")
				}
				server := tls.Server(inner, config)
				if server.Handshake() != nil {
					return
				}
				if wrapped {
					talk(server, seen, map[string]string{"EHLO": "250-mx\r\n250 AUTH PLAIN", "AUTH": "235 ok"})
					return
				}
				talk(&quiet{server, len("220 mx.example.org ESMTP\r\n")}, seen, map[string]string{"EHLO": "250-mx\r\n250 AUTH PLAIN", "AUTH": "235 ok"})
			})
			_, port, _ := net.SplitHostPort(address)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, certificate, err := submit(ctx, service{address: host + ":" + port, tls: wrapped}, Options{From: "a@example.org", To: "b@example.org", Login: "ann", Password: "secret"}, "mx.example.org", "x\n")
			cancel()
			var f *failure
			errors.As(err, &f)
			mutex.Lock()
			sent := slices.ContainsFunc(commands, func(line string) bool { return strings.HasPrefix(line, "AUTH") })
			mutex.Unlock()
			if want == "" && (err != nil || certificate == nil || !sent) || want != "" && (f == nil || f.at != want || sent || !strings.Contains(f.text(), "certificate")) {
				t.Errorf("wrapped %v, %s: %v, AUTH %v", wrapped, host, err, sent)
			}
		}
	}
}

// quiet omits the first bytes that are written.
type quiet struct {
	net.Conn
	omit int
}

func (q *quiet) Write(p []byte) (int, error) {
	n := min(q.omit, len(p))
	q.omit -= n
	m, err := q.Conn.Write(p[n:])
	return n + m, err
}

// The status of a delivery is Postfix's, whatever the other server replied. All recipients of an alias count.
func TestDeliveries(t *testing.T) {
	const id = "<signpost-test.x@example.org>"
	log := "mx postfix/cleanup[1]: A1: message-id=" + id + "\n" +
		"mx postfix/smtp[1]: A1: to=<ann@example.net>, orig_to=<x@example.org>, relay=mx[192.0.2.1]:25, conn_use=2, delay=1, delays=0/0/0/1, dsn=4.0.0, status=deferred (host mx said: 450 status=sent (250 ok))\n" +
		"mx postfix/local[1]: A1: to=<bob@example.org>, relay=local, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (forwarded as B2)\n" +
		"mx postfix/cleanup[1]: B2: message-id=" + id + "\nmx postfix/cleanup[1]: C3: message-id=" + id + "\n" +
		"mx postfix/smtp[1]: C3: to=<evil@example.net>, relay=x, delay=1, dsn=2.0.0, status=sent (250 ok)\n" +
		"mx postfix/smtp[1]: B2: to=<carol@example.net>, relay=x, delay=1, dsn=5.0.0, status=bounced (no status=sent (queued as C4))\nmx postfix/qmgr[1]: B2: removed\n"
	path, forwarded, all, tried := trace(log, "A1", id)
	want := []delivery{{"ann@example.net", "deferred", "host mx said: 450 status=sent (250 ok)"}, {"carol@example.net", "bounced", "no status=sent (queued as C4)"}}
	if !slices.Equal(path, []string{"A1", "B2"}) || !slices.Equal(forwarded, []string{"B2"}) || !slices.Equal(all, want) || !tried {
		t.Errorf("%q %+v %v", path, all, tried)
	}
	if _, _, _, tried = trace(strings.ReplaceAll(log, "B2: removed", "B2: x"), "A1", id); tried {
		t.Error("B2 is still in the queue")
	}
}

// Of several records of a message, the oldest is that of the message as it was sent. The others are shown.
func TestFirstRecord(t *testing.T) {
	first, second := decision.Record{}, decision.Record{}
	first.QueueID, second.QueueID = "A1", "B2"
	s := site(map[string]string{"content_filter": ""}, nil)
	s.Find = func(context.Context, string) ([]decision.Record, error) { return []decision.Record{first, second}, nil }
	s.Look = func(context.Context, string, string) (string, keys.Outcome) { return "", keys.Outcome{} }
	m := newMessage(bySubmission, Options{From: "a@example.org", To: "b@example.org"})
	s.await(t.Context(), m, mailLog{file: "/dev/null"})
	s.deliveredTo(t.Context(), m, mailLog{file: "/dev/null"})
	if m.QueueID != "A1" || !slices.ContainsFunc(m.Findings, func(f doctor.Finding) bool { return strings.Contains(f.What, "processed the message again, as B2") }) {
		t.Errorf("%s %+v", m.QueueID, m.Findings)
	}
}
