package main

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-milter"
)

// fake is a milter that negotiates given options and records the packets.
type fake struct {
	events  milter.OptProtocol
	lists   string // the requested macros, in the format of the negotiation
	answers map[byte]string
	got     []string // the commands, with the names of its macros before each command
	done    chan struct{}
	stop    func() // waits for the end of the current connection
}

// serve starts the milter and returns its socket. It serves one connection at a time.
func (f *fake) serve(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f.done = make(chan struct{})
	go func() {
		defer close(f.done)
		defer ln.Close()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			for f.packet(conn) == nil {
			}
			conn.Close()
		}
	}()
	f.stop = func() {
		ln.Close()
		<-f.done
	}
	t.Cleanup(f.stop)
	return path
}

func (f *fake) packet(conn net.Conn) error {
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	data := make([]byte, binary.BigEndian.Uint32(head[:])-1)
	if _, err := io.ReadFull(conn, data); err != nil {
		return err
	}
	f.got = append(f.got, string(head[4])+string(data))
	code := head[4]
	if code == 'O' {
		terms := binary.BigEndian.AppendUint32(nil, 6)
		terms = binary.BigEndian.AppendUint32(terms, allActions)
		terms = binary.BigEndian.AppendUint32(terms, uint32(f.events))
		_, err := conn.Write(packet(nil, 'O', append(terms, f.lists...)))
		return err
	}
	for _, answer := range strings.Fields(f.answers[code]) {
		if _, err := conn.Write(packet(nil, answer[0], []byte(answer[1:]))); err != nil {
			return err
		}
	}
	return nil
}

// talk sends a session of two messages to f. It returns the edits, and the codes of the packets that followed the negotiation.
func (f *fake) talk(t *testing.T, m *mail) (commands string, edits []string) {
	t.Helper()
	c, err := dial(f.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.open(m.from); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if i > 0 {
			if err := c.Abort(); err != nil {
				t.Fatal(err)
			}
		}
		made, action, err := c.message(m, nil)
		if err != nil || action.Code != milter.ActContinue {
			t.Fatalf("%s %v", said(action), err)
		}
		for _, e := range made {
			edits = append(edits, string(e.Code)+e.HeaderName+"="+e.HeaderValue)
		}
	}
	c.close()
	f.stop()
	var b strings.Builder
	for _, g := range f.got[1:] {
		b.WriteByte(g[0])
	}
	return b.String(), edits
}

// Without protocol bits, each event is sent and has a reply, except for Postfix's ABORT, macros and QUIT.
func TestEveryReply(t *testing.T) {
	m := letter(1, 4<<10, sender(), "ann@example.com")
	m.fields = m.fields[:2]
	f := &fake{answers: map[byte]string{'C': "c", 'H': "c", 'M': "c", 'R': "c", 'T': "c", 'L': "c", 'N': "c", 'B': "c", 'E': "p hX\x00y\x00 c"}}
	commands, edits := f.talk(t, m)
	if want := "DCDH" + "DMDRDTDLDLDNDBDE" + "A" + "DMDRDTDLDLDNDBDE" + "AAQ"; commands != want {
		t.Errorf("sent %s, want %s", commands, want)
	}
	if want := []string{"hX=y", "hX=y"}; !slices.Equal(edits, want) {
		t.Errorf("edits %q, want %q", edits, want)
	}
}

// If all no-reply bits are set, only the end of a message gets a reply. Only the requested macros are sent.
func TestNoReply(t *testing.T) {
	m := letter(1, 100<<10, sender(), "ann@example.com")
	m.fields = m.fields[:2]
	const bits = milter.OptNoConnReply | milter.OptNoHeloReply | milter.OptNoMailReply | milter.OptNoRcptReply | milter.OptNoDataReply | milter.OptNoHeaderReply |
		milter.OptNoEOHReply | milter.OptNoBodyReply | milter.OptNoData
	f := &fake{events: bits, lists: "\x00\x00\x00\x00j {client_addr}\x00\x00\x00\x00\x05i\x00", answers: map[byte]string{'E': "c"}}
	commands, _ := f.talk(t, m)
	if want := "DCDH" + "DMDRDLDLDNDBDBDE" + "A" + "DMDRDLDLDNDBDBDE" + "AAQ"; commands != want {
		t.Errorf("sent %s, want %s", commands, want)
	}
	if want := "DCj\x00mx.example.net\x00{client_addr}\x00203.0.113.9\x00"; f.got[1] != want {
		t.Errorf("macros of CONNECT are %q, want %q", f.got[1], want)
	}
}

// A message has the requested size and a unique text, and each line ends with CRLF.
func TestLetter(t *testing.T) {
	for size := 4 << 10; size < 4<<10+200; size++ {
		text := string(letter(1, size, sender(), "ann@example.com").wire())
		if lines := strings.Count(text, "\r\n"); strings.Count(text, "\r") != lines || strings.Count(text, "\n") != lines {
			t.Errorf("%d bytes: incomplete line end near %q", size, text[len(text)-10:])
		}
	}
	for _, size := range []int{4 << 10, 100 << 10, 1 << 20} {
		m, other := letter(1, size, sender(), "ann@example.com"), letter(2, size, sender(), "ann@example.com")
		if got := len(m.wire()); got != size {
			t.Errorf("%d bytes, want %d", got, size)
		}
		if string(m.body) == string(other.body) {
			t.Error("two messages have the same body")
		}
	}
}

// The second milter gets the fields that the first one added at the top.
func TestAdded(t *testing.T) {
	m := letter(1, 4<<10, sender(), "ann@example.com")
	m.fields = m.fields[:1]
	f := &fake{events: allReplies &^ (milter.OptNoHeaderReply | milter.OptHeaderLeadingSpace), answers: map[byte]string{'L': "c", 'E': "c"}}
	c, err := dial(f.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	added := answer{}
	added.edit([]milter.ModifyAction{{Code: milter.ActInsertHeader, HeaderIndex: 1, HeaderName: "Authentication-Results", HeaderValue: "mx; dkim=pass\n\theader.d=a"}})
	if _, action, err := c.message(m, added.fields); err != nil || action.Code != milter.ActContinue {
		t.Fatalf("%s %v", said(action), err)
	}
	c.close()
	f.stop()
	headers := slices.DeleteFunc(f.got, func(g string) bool { return g[0] != 'L' })
	if want := "LAuthentication-Results\x00mx; dkim=pass\n\theader.d=a\x00"; len(headers) != 2 || headers[0] != want {
		t.Errorf("header fields %q, want first %q", headers, want)
	}
}

// packet appends a packet to b.
func packet(b []byte, code byte, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)+1))
	return append(append(b, code), data...)
}
