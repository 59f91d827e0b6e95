package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/daemon"
	"signpost/internal/testdns"
	"signpost/internal/testmilter"
)

// testDaemon is a daemon in the process of the test.
type testDaemon struct {
	t      testing.TB
	socket string
	log    *syncBuffer
	stop   func()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *syncBuffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Reset()
}

func startDaemon(t testing.TB, zone, more string) *testDaemon {
	t.Helper()
	server, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d := &testDaemon{t: t, socket: filepath.Join(dir, "milter.sock"), log: &syncBuffer{}}
	conf, err := config.Parse("config", fmt.Appendf(nil, "listen = [\"unix:%s\"]\nstate_dir = %q\nsocket_group = \"\"\n[sign]\nkeys_dir = %q\n[dns]\nservers = [%q]\n%s",
		d.socket, dir, dir, server.Addr(), more))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- daemon.Run(ctx, daemon.Options{Config: conf, Stderr: d.log}) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		server.Stop()
	})
	t.Cleanup(d.stop) // also stops the daemon if the test fails early
	d.until("it serves", func() bool { return strings.Contains(d.log.String(), "signpost started") })
	return d
}

func (d *testDaemon) until(what string, ok func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("not in time: %s\n%s", what, d.log)
		}
	}
}

// ownGoroutines returns the goroutines that run code of this project, except those of the test. Only function names at the start of a line
// count. The paths of source files may contain the same text.
func ownGoroutines() (all []string) {
	function := regexp.MustCompile(`(?m)^(created by )?signpost/`)
	buf := make([]byte, 8<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if function.MatchString(stack) && !strings.Contains(stack, "testing.tRunner") && !strings.Contains(stack, "testdns") {
			all = append(all, stack)
		}
	}
	return all
}

// Whatever bytes a connection sends, and wherever it stops, the daemon continues to run. It logs at most one line and verifies the next
// message. After the connection, the daemon has no more goroutines than
// before.
func TestHostileConnections(t *testing.T) {
	// Each message starts lookups that do not end before their timeout.
	d := startDaemon(t, ";fault example.com TIMEOUT\n;fault _dmarc.example.com TIMEOUT\n;fault k._domainkey.example.com TIMEOUT\n", "timeout = \"15s\"\n")
	first := testmilter.Dial(t, "unix", d.socket) // the server keeps its goroutine for the next connection
	first.Connect()
	first.Close()
	d.until("the first connection ends", func() bool {
		return slices.ContainsFunc(ownGoroutines(), func(g string) bool {
			return strings.Contains(g, "[chan receive]") && strings.Contains(g, "serveSessions")
		})
	})
	idle, same := 0, 0
	d.until("the daemon is at rest", func() bool { // goroutines that the daemon started at first may still be running
		n := len(ownGoroutines())
		if same++; n != idle {
			idle, same = n, 0
		}
		return same == 20
	})
	signed := "DKIM-Signature\x00 v=1; a=rsa-sha256; d=example.com; s=k; h=from; bh=" + strings.Repeat("A", 43) + "=; b=AAAA\x00"
	start := []string{"M<a@example.com>\x00", "R<bob@example.net>\x00", "LFrom\x00 a@example.com\x00", "L" + signed, "Ni\x00Q\x00", "N", "Btext\r\n"}
	lines := func() int { return strings.Count(d.log.String(), "\n") }

	type attack struct {
		name  string
		sends func(m *testmilter.MTA)
		says  string // text of the log line; empty: nothing is logged
	}
	attacks := []attack{
		{"nothing", func(*testmilter.MTA) {}, ""},
		{"garbage", func(m *testmilter.MTA) { _, _ = m.Write([]byte("GET / HTTP/1.0\r\n\r\n")) }, "not a milter client"},
		{"half a packet", func(m *testmilter.MTA) {
			m.Connect()
			_, _ = m.Write(testmilter.Packet('M', "<a@example.com>\x00")[:9])
		}, "unexpected EOF"},
		{"a packet of 2 GiB", func(m *testmilter.MTA) { m.Connect(); _, _ = m.Write([]byte("\x7f\xff\xff\xffL")) }, "milter"},
	}
	attacks = append(attacks, attack{"a header field of 2 MiB in one packet", func(m *testmilter.MTA) {
		m.Connect()
		_, _ = m.Write(testmilter.Packet('L', "X-Long\x00 "+strings.Repeat("x", 2<<20)+"\x00"))
	}, "milter"})
	for i := range start {
		attacks = append(attacks, attack{fmt.Sprintf("hanging up after %q", start[i][:1]), func(m *testmilter.MTA) {
			m.Connect()
			for _, p := range start[:i+1] {
				m.Send(p[0], p[1:])
			}
		}, ""})
		attacks = append(attacks, attack{fmt.Sprintf("ABORT after %q", start[i][:1]), func(m *testmilter.MTA) {
			m.Connect()
			for _, p := range start[:i+1] {
				m.Send(p[0], p[1:])
			}
			m.Send('A', "")
			m.Send('Q', "")
			_, _ = io.Copy(io.Discard, m)
		}, ""})
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			before := lines()
			m := testmilter.Dial(t, "unix", d.socket)
			a.sends(m)
			_ = m.Conn.(*net.UnixConn).CloseWrite()
			_, _ = io.Copy(io.Discard, m)
			m.Close()
			d.until("the goroutines of the connection end", func() bool { return len(ownGoroutines()) <= idle })
			said := strings.Split(strings.TrimSpace(d.log.String()), "\n")[before:]
			if a.says == "" && len(said) > 0 || a.says != "" && (len(said) != 1 || !strings.Contains(said[0], a.says)) {
				t.Errorf("the log has %q", said)
			}
		})
	}

	// Mail that cannot be verified is rejected or deferred, and the connection can still be used.
	m := testmilter.Dial(t, "unix", d.socket)
	m.Connect()
	for _, c := range []struct {
		name, header string
		times        int
		want         string
	}{
		// Postfix truncates header fields to header_size_limit, which is 100 KiB.
		{"2 MiB of header", "X-Long\x00 " + strings.Repeat("x", 100<<10) + "\x00", 21, "y552 5.3.4"},
		{"NUL in every field", "Subject\x00 x\x00y\x00", 5, "y451 4.3.0"},
		{"a field without a name", "\x00\x00", 1, "c"},
	} {
		m.Send('M', "<x@example.org>\x00")
		m.Send('R', "<bob@example.net>\x00")
		m.Send('L', "From\x00 a@example.org\x00")
		for range c.times {
			m.Send('L', c.header)
		}
		m.Send('N', "")
		m.Send('E', "")
		if got := m.Answers(); !strings.HasPrefix(got[len(got)-1], c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	if got := m.Message("a@example.org", "From\x00 a@example.org\x00"); got[len(got)-1] != "c" || !strings.Contains(got[0], "spf=none") {
		t.Errorf("the message after them: %q", got)
	}
	m.Close()
	d.until("the goroutines of the connection end", func() bool { return len(ownGoroutines()) <= idle })
	d.stop()
	d.until("the goroutines of the daemon end", func() bool { return len(ownGoroutines()) == 0 })
	if strings.Contains(d.log.String(), `msg="internal error"`) {
		t.Error(d.log)
	}
}
