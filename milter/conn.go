package milter

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// conn stands between the milter library and the socket. It buffers reads, gathers writes until the next read, gives each
// a deadline, looks at the handshake, and lets nothing out that Postfix did not ask for: the library answers some malformed
// packets on its own, and a reply out of turn would be taken for the answer to the next event.
type conn struct {
	net.Conn
	r      *bufio.Reader // nil before the handshake
	w      []byte
	mute   bool   // between the handshake and an end of message nothing may be written
	spoke  bool   // something was written while mute: the stream of events has lost one
	ending bool   // an end of message was answered and the answer is not flushed yet
	cancel func() // ends the connection's context

	mu       sync.Mutex
	busy     bool // a message is under way
	draining bool
	fault    error // why the connection ended, if it was not the peer's wish
	once     sync.Once
}

func newConn(nc net.Conn, cancel context.CancelFunc) *conn {
	return &conn{Conn: nc, cancel: cancel}
}

// readBuffer is the size in octets of what is read at a time; a packet of header fields is far smaller, and the octets of
// larger ones pass it by.
const readBuffer = 8 << 10

// maxGathered bounds what is gathered for one write.
const maxGathered = 1 << 20

type deadlineReader struct{ net.Conn }

func (d deadlineReader) Read(p []byte) (int, error) {
	if err := d.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
		return 0, err
	}
	return d.Conn.Read(p)
}

func (c *conn) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, c.fail(err)
	}
	if c.ending {
		c.ending, c.mute = false, true
		if c.idle() {
			return 0, io.EOF
		}
	}
	if c.r == nil {
		if err := c.handshake(); err != nil {
			return 0, c.fail(err)
		}
	}
	n, err := c.r.Read(p)
	if err != nil {
		return n, c.fail(err)
	}
	return n, nil
}

// fail notes why the connection ends. The library sees every failure as the end of the stream: it would log others on its
// own, without saying whose they are.
func (c *conn) fail(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		c.mu.Lock()
		c.fault = err
		c.mu.Unlock()
	}
	return io.EOF
}

func (c *conn) Write(p []byte) (int, error) {
	if c.mute {
		c.spoke = true
		return len(p), nil
	}
	c.w = append(c.w, p...)
	if len(c.w) > maxGathered {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (c *conn) flush() error {
	if len(c.w) == 0 {
		return nil
	}
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.Conn.Write(c.w)
	c.w = c.w[:0]
	return err
}

// What the option negotiation must offer (milter protocol 6: Postfix 2.6 and later, milter_protocol as it comes).
const needVersion = 6

// handshake looks at the first packet before the library does. Whoever connects and says nothing is let go in silence: that
// is what port probes and monitoring do.
func (c *conn) handshake() error {
	if err := c.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	head := make([]byte, 17)
	n, err := io.ReadFull(c.Conn, head)
	if n == 0 && err != nil {
		return io.EOF
	}
	if n > 4 && (binary.BigEndian.Uint32(head) != 13 || head[4] != 'O') || n < 5 {
		return errors.New("this is no milter client: the first packet is no option negotiation")
	}
	if err != nil {
		return errors.New("the first packet is incomplete")
	}
	version, actions, events := binary.BigEndian.Uint32(head[5:]), binary.BigEndian.Uint32(head[9:]), binary.BigEndian.Uint32(head[13:])
	if version < needVersion {
		return fmt.Errorf("the MTA speaks milter protocol %d; set milter_protocol = %d in main.cf", version, needVersion)
	}
	if missing := needActions &^ actions; missing != 0 {
		return fmt.Errorf("the MTA does not offer the milter actions %#x; Postfix 2.6 or later is needed", missing)
	}
	if missing := needEvents &^ events; missing != 0 {
		return fmt.Errorf("the MTA does not offer the milter events %#x; Postfix 2.6 or later is needed", missing)
	}
	c.r = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(head), deadlineReader{c.Conn}), readBuffer)
	return nil
}

// begin says that a message is under way.
func (c *conn) begin() {
	c.mu.Lock()
	c.busy = true
	c.mu.Unlock()
}

// idle says that none is, and whether the connection is to end for that.
func (c *conn) idle() (end bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	return c.draining
}

// drain ends the connection after its next message.
func (c *conn) drain() {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
}

// closeIdle ends the connection if no message is under way.
func (c *conn) closeIdle() {
	c.mu.Lock()
	busy := c.busy
	c.mu.Unlock()
	if !busy {
		c.Close()
	}
}

// Close is called by the library when it is done, and by a drain.
func (c *conn) Close() error {
	var err error
	c.once.Do(func() {
		c.cancel()
		err = c.Conn.Close()
	})
	return err
}

// ended gives why the connection ended, nil for the peer's wish.
func (c *conn) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault
}
