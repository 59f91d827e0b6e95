package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"signpost/internal/dkim"
)

// What Postfix 3.7 offers: milter protocol 6, all actions, all events.
const (
	version    = 6
	allActions = 0x1ff
	allEvents  = 0x1fffff
)

// Bits of the events: skipped altogether, or without a reply (sendmail's include/libmilter/mfdef.h).
const (
	noBody, noHeaders, noEOH = 0x10, 0x20, 0x40
	noReplyHeader            = 0x80
	noData                   = 0x200
	noReplyConnect           = 0x1000
	noReplyHelo              = 0x2000
	noReplyMail              = 0x4000
	noReplyRcpt              = 0x8000
	noReplyData              = 0x10000
	noReplyEOH               = 0x40000
	noReplyBody              = 0x80000
	leadingSpace             = 0x100000
)

const (
	// streamBuffer is what Postfix gathers before it writes (VSTREAM_BUFSIZE).
	streamBuffer = 4096
	// chunk is the most that Postfix puts into a packet of body (MILTER_CHUNK_SIZE).
	chunk = 65535
	// maxPacket bounds what a server may send.
	maxPacket = 1 << 20
	// patience is for one reply; the slowest peer takes a minute for 64 messages of 10 MiB at once.
	patience = 5 * time.Minute
)

// terms are what a server agreed to.
type terms struct {
	events uint32
	macros map[byte][]string // by the command that they precede; nil: Postfix's own choice
}

func (t terms) equal(u terms) bool {
	return t.events == u.events && maps.EqualFunc(t.macros, u.macros, slices.Equal)
}

// client is Postfix's side of a connection.
type client struct {
	conn  net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	terms terms
	reply []byte // reused
}

// dial connects to a unix socket and negotiates.
func dial(path string) (*client, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, r: bufio.NewReaderSize(conn, streamBuffer), w: bufio.NewWriterSize(conn, streamBuffer)}
	if err := c.negotiate(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("negotiating with %s: %w", path, err)
	}
	return c, nil
}

func (c *client) negotiate() error {
	offer := binary.BigEndian.AppendUint32(nil, version)
	offer = binary.BigEndian.AppendUint32(offer, allActions)
	offer = binary.BigEndian.AppendUint32(offer, allEvents)
	if err := c.send(packet(nil, 'O', offer)); err != nil {
		return err
	}
	code, data, err := c.next()
	if err != nil {
		return err
	}
	if code != 'O' || len(data) < 12 {
		return fmt.Errorf("answered with %q", code)
	}
	c.terms.events = binary.BigEndian.Uint32(data[8:])
	lists := data[12:]
	for len(lists) > 4 {
		// The stages' numbers are those of SMFIM_CONNECT and so on.
		stage := binary.BigEndian.Uint32(lists)
		names, rest, _ := strings.Cut(string(lists[4:]), "\x00")
		if int(stage) >= len("CHMRTEN") {
			return fmt.Errorf("asks for macros at stage %d", stage)
		}
		if c.terms.macros == nil {
			c.terms.macros = map[byte][]string{}
		}
		c.terms.macros["CHMRTEN"[stage]] = strings.Fields(strings.ReplaceAll(names, ",", " "))
		lists = []byte(rest)
	}
	return nil
}

// packet appends a packet to b.
func packet(b []byte, code byte, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)+1))
	return append(append(b, code), data...)
}

// send gathers what needs no reply as Postfix's streams do: a full buffer is written, the rest waits.
func (c *client) send(p []byte) error {
	for len(p) > 0 {
		if c.w.Available() == 0 {
			if err := c.w.Flush(); err != nil {
				return err
			}
		}
		n := min(len(p), c.w.Available())
		if _, err := c.w.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// next flushes and reads one packet; data is good until the next call.
func (c *client) next() (code byte, data []byte, err error) {
	if c.w.Buffered() > 0 {
		if err := c.w.Flush(); err != nil {
			return 0, nil, err
		}
	}
	var head [5]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, fmt.Errorf("reading a reply: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > maxPacket {
		return 0, nil, fmt.Errorf("a packet of %d octets", n)
	}
	if cap(c.reply) < int(n) {
		c.reply = make([]byte, n)
	}
	c.reply = c.reply[:n-1]
	_, err = io.ReadFull(c.r, c.reply)
	return head[4], c.reply, err
}

// answer reads the replies to what was sent: the edits, then what ends it.
func (c *client) answer(edit func(code byte, data []byte)) (code byte, text string, err error) {
	for {
		code, data, err := c.next()
		if err != nil {
			return 0, "", err
		}
		if strings.IndexByte("acdrtys", code) >= 0 {
			return code, string(data), nil
		}
		if code != 'p' && edit != nil { // 'p' asks for patience
			edit(code, data)
		}
	}
}

// play sends a script and gives the reply to its end. Any other reply than one that lets the message go on ends it early.
// added are fields that another milter has put on top before.
func (c *client) play(script []step, added []dkim.Field, edit func(code byte, data []byte)) (code byte, text string, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, "", err
	}
	for i := 0; i < len(script); i++ {
		s := &script[i]
		if s.top {
			// smtpd(8) hands the connection to cleanup(8) and leaves nothing in its buffer.
			if err := c.w.Flush(); err != nil {
				return 0, "", err
			}
			if err := c.put(added); err != nil {
				return 0, "", err
			}
		}
		if err := c.send(s.data); err != nil {
			return 0, "", err
		}
		if !s.reply {
			continue
		}
		if code, text, err = c.answer(edit); err != nil {
			return 0, "", err
		}
		switch {
		case code == 's':
			for i+1 < len(script) && script[i+1].body {
				i++
			}
		case code != 'c':
			return code, text, nil
		}
	}
	return code, text, nil
}

// put sends header fields.
func (c *client) put(fields []dkim.Field) error {
	for _, f := range fields {
		if err := c.send(packet(nil, 'L', header(c.terms, f))); err != nil {
			return err
		}
		if c.terms.events&noReplyHeader != 0 {
			continue
		}
		if code, text, err := c.answer(nil); err != nil || code != 'c' {
			return fmt.Errorf("a header field was answered with %q %q, %w", code, text, err)
		}
	}
	return nil
}

// close ends the connection as Postfix does: ABORT after the message, and once more for good measure.
func (c *client) close() {
	if c.send(packet(packet(packet(nil, 'A', nil), 'A', nil), 'Q', nil)) == nil {
		_ = c.w.Flush()
	}
	c.conn.Close()
}
