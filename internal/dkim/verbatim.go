package dkim

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// verbatim says how many octets of p stand in the relaxed body as they stand here: words with single spaces between
// them, lines that end in CRLF. p begins with text, so there is at least one, and the last one is text: what comes behind
// it may turn out to be trailing.
func verbatim(p []byte) int {
	n := changes(p)
	if p[n-1] == ' ' || n > 1 && n == len(p) && p[n-1] == '\r' { // a LF may follow
		n--
	}
	return withoutLineEnds(p[:n])
}

// fourLineEnds is how CRLFs are looked for, since they may be all that there is.
const fourLineEnds = 0x0a0d0a0d0a0d0a0d

// lineEnds is how much of p are the CRLFs that it begins with.
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

// withoutLineEnds is how much of p stands before the CRLFs at its end.
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

// changes finds the first octet behind p[0] that does not stand as it is, or len(p). Eight octets are looked at together,
// the answer for each being the top bit of its place.
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
		// An octet is looked at that follows a space and is above a LF and not above a space, or that is not above a tab.
		// Each difference may borrow from the next place, so that a VT may be passed over, and more be looked at than need be.
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

// changesAt says whether p[i] is a tab, a second space, or a line end behind a space.
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

// squeeze writes the line that p begins with, up to its CR, octet by octet, each run of white space as one space. It says
// how much of p it took, and whether that did not stand as it was.
func (b *body) squeeze(p []byte) (taken int, changed bool) {
	p = p[:min(len(p), sinkBuffer)]
	if i := bytes.IndexByte(p, '\r'); i >= 0 {
		p = p[:i]
	}
	to := b.sink.room(len(p))
	n, was, tabs := 0, 0, 0
	for _, c := range p {
		// Numbers and no branches, which would be mispredicted at each word.
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
	b.wsp = was == 1 // it may turn out to be trailing
	b.sink.take(n - was)
	return len(p), n-was < len(p) || tabs > 0
}
