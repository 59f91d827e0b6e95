package milter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// conn reads and writes milter packets. One read takes all bytes that have arrived, up to the size of the buffer. The connection keeps
// the buffer only while it contains unread bytes, so an idle connection uses little memory.
type conn struct {
	net.Conn
	raw     syscall.RawConn
	cancel  func() // ends the connection's context
	buffers buffers

	lent     *[bufferSize]byte // a buffer from the pool; nil if there are no unread bytes, or if buf is a larger buffer
	buf      []byte            // the memory of lent, or a larger buffer of this connection
	from, to int               // the unread bytes are buf[from:to]
	got      int               // number of bytes that the last read returned
	gotErr   error             // error of the last read
	readFD   func(fd uintptr) bool
	deadline time.Time // of reads, as last set
	out      []byte    // empty between answers; the next answer reuses its memory

	mu       sync.Mutex
	busy     bool // a message is in progress
	draining bool
	once     sync.Once
}

func newConn(nc net.Conn, buffers buffers, cancel context.CancelFunc) (*conn, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("a %T has no descriptor", nc)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, raw: raw, cancel: cancel, buffers: buffers}
	c.readFD = c.tryRead
	return c, nil
}

// next reads the head of a packet, and returns the code and the size of the data. The caller must read the data before the next call, with
// take or piece.
func (c *conn) next() (code byte, size int, err error) {
	if err := c.need(packetHead); err != nil {
		if c.to > c.from {
			err = cut(err)
		}
		return 0, 0, err
	}
	n := binary.BigEndian.Uint32(c.buf[c.from:])
	if n == 0 || n > maxPacket {
		return 0, 0, fmt.Errorf("invalid length of a milter packet: %d bytes", n)
	}
	code = c.buf[c.from+4]
	c.from += packetHead
	return code, int(n) - 1, nil
}

// take returns the data of a packet, which is valid until the next read.
func (c *conn) take(size int) ([]byte, error) {
	if err := c.need(size); err != nil {
		return nil, cut(err)
	}
	data := c.buf[c.from : c.from+size]
	c.from += size
	return data, nil
}

// piece returns the data that has arrived, at least one byte and at most size bytes. It is valid until the next read.
func (c *conn) piece(size int) ([]byte, error) {
	if err := c.need(min(size, 1)); err != nil {
		return nil, cut(err)
	}
	return c.take(min(size, c.to-c.from))
}

// cut returns err, or io.ErrUnexpectedEOF if the stream ended within a packet.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// need reads until buf has at least n unread bytes.
func (c *conn) need(n int) error {
	for c.to-c.from < n {
		if err := c.read(n); err != nil {
			return err
		}
	}
	return nil
}

// read waits for more bytes and adds them to buf. n is the number of unread bytes that the caller needs. The buffer grows only as bytes
// arrive, because a client can announce a long packet and send little of it.
func (c *conn) read(n int) error {
	if now := time.Now(); c.deadline.Sub(now) < readTimeout-time.Minute {
		c.deadline = now.Add(readTimeout)
		if err := c.SetReadDeadline(c.deadline); err != nil {
			return err
		}
	}
	c.releaseEmpty()
	switch there := c.to - c.from; {
	case there > 0 && there == len(c.buf):
		larger := make([]byte, min(2*len(c.buf), n))
		copy(larger, c.buf[c.from:c.to])
		c.release()
		c.buf, c.to = larger, there
	case c.from > 0:
		c.from, c.to = 0, copy(c.buf, c.buf[c.from:c.to])
	}
	if err := c.raw.Read(c.readFD); err != nil {
		return err
	}
	if c.gotErr != nil {
		return c.gotErr
	}
	if c.got == 0 {
		return io.EOF
	}
	c.to += c.got
	return nil
}

// tryRead reads the bytes that have arrived. It returns false if the read would block. The runtime then calls it again when the
// descriptor becomes readable. In the meantime, an empty buffer is released.
func (c *conn) tryRead(fd uintptr) bool {
	if c.buf == nil {
		c.lent = c.buffers.get()
		c.buf = c.lent[:]
	}
	for {
		c.got, c.gotErr = syscall.Read(int(fd), c.buf[c.to:])
		if c.gotErr != syscall.EINTR {
			break
		}
	}
	if c.gotErr == syscall.EAGAIN {
		c.releaseEmpty()
		return false
	}
	return true
}

// releaseEmpty releases the buffer if it has no unread bytes. It is called before waits that may be long.
func (c *conn) releaseEmpty() {
	if c.from == c.to {
		c.release()
	}
}

// release returns the buffer to the pool.
func (c *conn) release() {
	if c.lent != nil {
		c.buffers.put(c.lent)
	}
	c.lent, c.buf, c.from, c.to = nil, nil, 0, 0
}

// send writes an answer with one call of Write.
func (c *conn) send(answer []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.Write(answer)
	if c.out = answer[:0]; cap(answer) > maxKept {
		c.out = nil
	}
	return err
}

// maxKept limits the memory for answers, in bytes, that a connection keeps between messages.
const maxKept = 4 << 10

// handshake negotiates version, actions and events. If the client sends nothing, handshake returns io.EOF, which is not logged: port
// scans and monitoring connect without sending anything.
func (c *conn) handshake() error {
	c.deadline = time.Now().Add(handshakeTimeout)
	if err := c.SetReadDeadline(c.deadline); err != nil {
		return err
	}
	const size = packetHead + 12
	err := c.need(size)
	head := c.buf[c.from:c.to]
	switch n := len(head); {
	case n == 0:
		return io.EOF
	case n < packetHead, binary.BigEndian.Uint32(head) != size-4, head[4] != eventOptions:
		return errors.New("not a milter client: the first packet is not an option negotiation")
	case err != nil:
		return errors.New("the client sent an incomplete option negotiation")
	}
	version, actions, events := binary.BigEndian.Uint32(head[5:]), binary.BigEndian.Uint32(head[9:]), binary.BigEndian.Uint32(head[13:])
	c.from += size
	c.deadline = time.Time{}
	if version < needVersion {
		return fmt.Errorf("the MTA uses milter protocol %d; set milter_protocol = %d in main.cf", version, needVersion)
	}
	if missing := needActions &^ actions; missing != 0 {
		return fmt.Errorf("the MTA does not offer the milter actions %#x; Postfix 2.6 or later is needed", missing)
	}
	if missing := needEvents &^ events; missing != 0 {
		return fmt.Errorf("the MTA does not offer the milter events %#x; Postfix 2.6 or later is needed", missing)
	}
	return c.send(appendOptions(c.out))
}

// begin notes that a message is in progress.
func (c *conn) begin() {
	c.mu.Lock()
	c.busy = true
	c.mu.Unlock()
}

// idle notes that no message is in progress. It reports whether the connection must be closed now.
func (c *conn) idle() (end bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	return c.draining
}

// drain makes idle return true, so that the connection is closed at the end of its current or next message.
func (c *conn) drain() {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
}

// closeIdle closes the connection if no message is in progress.
func (c *conn) closeIdle() {
	c.mu.Lock()
	busy := c.busy
	c.mu.Unlock()
	if !busy {
		c.Close()
	}
}

// Close closes the connection and cancels its context. Further calls do nothing.
func (c *conn) Close() error {
	var err error
	c.once.Do(func() {
		c.cancel()
		err = c.Conn.Close()
	})
	return err
}
