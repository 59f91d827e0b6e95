package dkim

import (
	"crypto/sha256"
	"hash"
	"slices"
)

// sink hashes the canonical body. It stores the hash of the first bytes of the body for each length in limits. So one pass is sufficient
// for any number of signatures with l=.
type sink struct {
	hash   hash.Hash
	length int64   // bytes hashed
	limits []int64 // remaining lengths, ascending, distinct
	sums   map[int64][]byte
	total  []byte // set by finish: the hash of the whole body
	buf    []byte // collects small parts, because hashing each separately would be slow
}

// sinkBuffer is the size of the buffer, in bytes.
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

func (s *sink) writeByte(c byte) {
	if len(s.buf) == cap(s.buf) {
		s.flush()
	}
	s.buf = append(s.buf, c)
}

// room returns n bytes of the buffer for writing. n is at most sinkBuffer. The caller then calls take with the number of bytes that it has
// written.
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
