package dkim

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// verbatim returns the number of bytes at the start of p that relaxed canonicalization does not change. These bytes are words with single
// spaces between them, and lines that end in CRLF. p begins with text, so the number is at least 1. The last of these bytes is text,
// because white space and line ends after it may be trailing.
func verbatim(p []byte) int {
	n := changes(p)
	if p[n-1] == ' ' || n > 1 && n == len(p) && p[n-1] == '\r' { // an LF may follow
		n--
	}
	return withoutLineEnds(p[:n])
}

// fourLineEnds is four CRLFs as a number. A body may consist of CRLFs only, so four are compared at a time.
const fourLineEnds = 0x0a0d0a0d0a0d0a0d

// lineEnds returns the number of bytes of the CRLFs at the start of p.
func lineEnds(p []byte) int {
	n := 0
	for n+8 <= len(p) && binary.LittleEndian.Uint64(p[n:]) == fourLineEnds {
		n += 8
	}
	for n+2 <= len(p) && p[n] == '\r' && p[n+1] == '\n' {
		n += 2
	}
	return n
}

// withoutLineEnds returns the number of bytes before the CRLFs at the end of p.
func withoutLineEnds(p []byte) int {
	n := len(p)
	for n >= 8 && binary.LittleEndian.Uint64(p[n-8:]) == fourLineEnds {
		n -= 8
	}
	for n >= 2 && p[n-1] == '\n' && p[n-2] == '\r' {
		n -= 2
	}
	return n
}

// changes returns the index of the first byte after p[0] that canonicalization changes, or len(p). It checks eight bytes at a time, as
// one number. The result for each byte is the top bit at its position in that number.
func changes(p []byte) int {
	const (
		ones = 0x0101010101010101
		top  = ones * 0x80
	)
	i := 1
	for i+8 <= len(p) {
		q := p[i-1 : i+8]
		before, here := binary.LittleEndian.Uint64(q), binary.LittleEndian.Uint64(q[1:])
		space := before ^ ones*' '
		// A byte is a candidate if its value is at most that of a tab. A byte after a space is also a candidate if its value is above LF
		// and at most that of a space. A subtraction may borrow from the next byte. This has two possible effects: a VT is not a candidate,
		// which is correct, or there is an unnecessary candidate.
		look := ((here-ones*(' '+1))&^(here-ones*('\n'+1))&(space-ones)&^space | (here - ones*('\t'+1))) &^ here & top
		if look == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(look) / 8
		if changesAt(p, i) {
			return i
		}
		i++
	}
	for i < len(p) && !changesAt(p, i) {
		i++
	}
	return i
}

// changesAt reports whether p[i] is a tab, a second space, or a line end after a space.
func changesAt(p []byte, i int) bool {
	switch p[i] {
	case '\t':
		return true
	case ' ':
		return p[i-1] == ' '
	case '\r':
		return p[i-1] == ' ' && (i+1 == len(p) || p[i+1] == '\n')
	}
	return false
}

// squeeze writes the first line of p, up to the CR, one byte at a time. It writes each run of white space as one space. It returns the
// number of bytes that it has read from p, and whether it has changed any of them.
func (b *body) squeeze(p []byte) (taken int, changed bool) {
	p = p[:min(len(p), sinkBuffer)]
	if i := bytes.IndexByte(p, '\r'); i >= 0 {
		p = p[:i]
	}
	to := b.sink.room(len(p))
	n, was, tabs := 0, 0, 0
	for _, c := range p {
		// Arithmetic is used instead of branches, because the processor would mispredict branches at each word.
		is := 0
		if c == ' ' {
			is = 1
		}
		if c == '\t' {
			is, tabs, c = 1, 1, ' '
		}
		to[n] = c
		n += 1 - is&was
		was = is
	}
	b.wsp = was == 1 // it may be trailing
	b.sink.take(n - was)
	return len(p), n-was < len(p) || tabs > 0
}
