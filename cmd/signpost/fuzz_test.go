package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signpost/internal/testmilter"
)

// packets converts fuzzed bytes to the packets of a connection. Each packet is a command, a length, and that number of bytes.
func packets(data []byte) []byte {
	var wire []byte
	for len(data) >= 2 {
		n := min(int(data[1]), len(data)-2)
		wire = append(wire, testmilter.Packet(data[0], string(data[2:2+n]))...)
		data = data[2+n:]
	}
	return append(wire, data...) // a truncated packet
}

// script is the inverse of packets. It creates the seeds.
func script(packets ...string) []byte {
	var data []byte
	for _, p := range packets {
		data = append(append(data, p[0], byte(len(p)-1)), p[1:]...)
	}
	return data
}

// FuzzConnection sends arbitrary bytes to a daemon. The daemon continues to run, answers only well-formed packets, and no message fails
// because of an internal error. No result is pass, because no record in the daemon's DNS allows that result.
func FuzzConnection(f *testing.F) {
	d := startDaemon(f, "example.com. TXT \"v=spf1 -all\"\n_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\nk._domainkey.example.com. TXT \"v=DKIM1; p=\"\n", "timeout = \"1s\"\n")
	f.Cleanup(d.stop)
	connect := []string{"DC{client_connections}\x001\x00{client_name}\x00c.example\x00j\x00mx.example\x00", "Cc.example\x004\x00\x19192.0.2.10\x00", "Hhelo.example\x00"}
	message := []string{"M<a@example.com>\x00", "R<b@example.net>\x00", "LFrom\x00 a@example.com\x00", "LSubject\x00 x\x00", "DNi\x00Q\x00", "N", "Btext\r\n", "E"}
	f.Add(script(append(connect, message...)...))
	f.Add(script(append(append(connect, message...), message...)...))
	f.Add(script(append(connect, "M<>\x00", "R<b@example.net>\x00", "LAuthentication-Results\x00 mx.example; dmarc=pass header.from=example.com\x00", "LFrom\x00 a@example.com\x00", "N", "E", "A", "Q")...))
	f.Add(script(append(connect, "M<a@example.com>\x00", "R<b@example.net>\x00",
		"LDKIM-Signature\x00 v=1; a=rsa-sha256; d=example.com; s=k; h=from; bh="+strings.Repeat("A", 43)+"=; b=AAAA\x00",
		"LARC-Seal\x00 i=1; cv=none; a=rsa-sha256; d=example.com; s=k; b=AAAA\x00", "LFrom\x00 <a@example.com>\x00", "N", "E")...))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := net.Dial("unix", d.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		// The daemon may close the connection at any time.
		_, _ = c.Write(append(testmilter.Packet('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff"), packets(data)...))
		if err := c.(*net.UnixConn).CloseWrite(); err != nil {
			return
		}
		answers, err := io.ReadAll(c)
		if err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatal("the daemon neither answers nor closes the connection:", err)
		}
		checkAnswers(t, answers)
		if log := d.log.String(); strings.Contains(log, `msg="internal error"`) || strings.Contains(log, "panic") {
			t.Fatal(log)
		}
		d.log.reset()
	})
	m := testmilter.Dial(f, "unix", d.socket)
	m.ConnectFrom(netip.MustParseAddr("192.0.2.10"), "helo.example")
	if got := m.Message("a@nothing.example", "From\x00 a@nothing.example\x00"); !strings.Contains(strings.Join(got, ""), "spf=none") {
		f.Errorf("the message after all of them: %q", got)
	}
}

// checkAnswers parses the answers as Postfix does.
func checkAnswers(t *testing.T, answers []byte) {
	t.Helper()
	for len(answers) > 0 {
		if len(answers) < 5 {
			t.Fatalf("half a packet: %q", answers)
		}
		n := int(binary.BigEndian.Uint32(answers))
		if n < 1 || n > len(answers)-4 {
			t.Fatalf("a packet of %d bytes, but %d bytes are left", n, len(answers)-4)
		}
		code, body := answers[4], answers[5:4+n]
		answers = answers[4+n:]
		switch code {
		case 'O', 'c', 'a', 't', 'd', 'r':
		case 'm', 'q': // a changed field is deleted; a reason for the hold queue
		case 'y':
			if bytes.Count(body, []byte{0}) != 1 || body[len(body)-1] != 0 || bytes.ContainsAny(body, "\r\n") {
				t.Fatalf("a reply that Postfix takes for malformed: %q", body)
			}
		case 'i':
			name, value, _ := strings.Cut(string(body[4:]), "\x00")
			value, after, ended := strings.Cut(value, "\x00")
			if !ended || after != "" || strings.ContainsAny(name+value, "\r") || strings.Contains(strings.NewReplacer("\n\t", "", "\n ", "").Replace(value), "\n") {
				t.Fatalf("a field that ends before its end: %q", body)
			}
			for _, wrong := range []string{"spf=pass", "dkim=pass", "dmarc=pass", "arc=pass"} {
				if strings.HasPrefix(value, " ") && strings.Contains(value, "\n\t"+wrong) {
					t.Fatalf("%s, where nothing can pass: %q", wrong, value)
				}
			}
		default:
			t.Fatalf("an answer %q: %q", code, body)
		}
	}
}
