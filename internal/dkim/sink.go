package dkim

import (
	"crypto/sha256"
	"hash"
	"slices"
)

// sink hashes canonical body octets and takes the sum at each of some lengths on the way, so that any number of
// signatures with an l= costs one pass.
type sink struct {
	hash   hash.Hash
	length int64   // octets hashed
	limits []int64 // lengths still to come, ascending, distinct
	sums   map[int64][]byte
	total  []byte // after finish: the sum over everything
	buf    []byte // gathers small pieces; hashing them one by one would cost more than the hash
}

// sinkBuffer is the size in octets of what is gathered before it is hashed.
const sinkBuffer = 1 << 10

func newSink(limits []int64) sink {
	slices.Sort(limits)
	limits = slices.Compact(limits)
	s := sink{hash: sha256.New(), limits: limits, buf: make([]byte, 0, sinkBuffer)}
	if len(limits) > 0 {
		s.sums = make(map[int64][]byte, len(limits))
	}
	return s
}

func (s *sink) write(p []byte) {
	if len(s.buf)+len(p) <= cap(s.buf) {
		s.buf = append(s.buf, p...)
		return
	}
	s.flush()
	if len(p) >= cap(s.buf) {
		s.add(p)
		return
	}
	s.buf = append(s.buf, p...)
}

// lineEnds writes n CRLF.
func (s *sink) lineEnds(n int) {
	const run = "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"
	for n > 0 {
		k := min(2*n, len(run))
		if len(s.buf)+k > cap(s.buf) {
			s.flush()
		}
		s.buf = append(s.buf, run[:k]...)
		n -= k / 2
	}
}

func (s *sink) octet(c byte) {
	if len(s.buf) == cap(s.buf) {
		s.flush()
	}
	s.buf = append(s.buf, c)
}

// room gives n octets of the buffer to write to, at most sinkBuffer. What take says of them is written.
func (s *sink) room(n int) []byte {
	if len(s.buf)+n > cap(s.buf) {
		s.flush()
	}
	return s.buf[len(s.buf):][:n]
}

func (s *sink) take(n int) { s.buf = s.buf[:len(s.buf)+n] }

func (s *sink) flush() {
	s.add(s.buf)
	s.buf = s.buf[:0]
}

func (s *sink) add(p []byte) {
	for len(s.limits) > 0 && s.length+int64(len(p)) >= s.limits[0] {
		n := s.limits[0] - s.length
		s.hash.Write(p[:n])
		s.length += n
		p = p[n:]
		s.sums[s.limits[0]] = s.hash.Sum(nil)
		s.limits = s.limits[1:]
	}
	s.hash.Write(p)
	s.length += int64(len(p))
}

func (s *sink) finish() {
	s.flush()
	s.total = s.hash.Sum(nil)
	s.hash, s.buf = nil, nil
}
