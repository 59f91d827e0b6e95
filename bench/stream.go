package main

import (
	"bufio"
	"net"
)

// streamBuffer is the number of bytes that Postfix gathers before it writes (VSTREAM_BUFSIZE).
const streamBuffer = 4096

// stream is a connection that writes as Postfix does: what needs no reply waits in a buffer, which is written when it is full and before
// a read.
type stream struct {
	net.Conn
	r           *bufio.Reader
	w           *bufio.Writer
	negotiating bool
	negotiated  []byte // what was read while negotiating
}

func newStream(conn net.Conn) *stream {
	return &stream{Conn: conn, r: bufio.NewReaderSize(conn, streamBuffer), w: bufio.NewWriterSize(conn, streamBuffer), negotiating: true}
}

// Dial returns the stream itself. It is milter.Dialer's.
func (s *stream) Dial(string, string) (net.Conn, error) { return s, nil }

// Write never writes more than a full buffer at once.
func (s *stream) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if s.w.Available() == 0 {
			if err = s.w.Flush(); err != nil {
				break
			}
		}
		var wrote int
		wrote, err = s.w.Write(p[n:min(len(p), n+s.w.Available())])
		n += wrote
	}
	return n, err
}

func (s *stream) Read(p []byte) (int, error) {
	if s.w.Buffered() > 0 {
		if err := s.w.Flush(); err != nil {
			return 0, err
		}
	}
	n, err := s.r.Read(p)
	if s.negotiating {
		s.negotiated = append(s.negotiated, p[:n]...)
	}
	return n, err
}

func (s *stream) Close() error {
	_ = s.w.Flush() // the milter may have closed the connection
	return s.Conn.Close()
}
