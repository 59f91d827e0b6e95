package dkim

import "bytes"

// canon is a canonicalisation algorithm of RFC 6376 section 3.4.
type canon uint8

const (
	simple canon = iota
	relaxed
	canons // how many there are
)

// appendField appends the canonical form of a header field, its CRLF included, to dst.
func (c canon) appendField(dst []byte, f Field) []byte {
	if c == simple {
		// Section 3.4.1: not changed in any way.
		dst = append(dst, f.Name...)
		dst = append(dst, ':')
		dst = append(dst, f.Value...)
		return append(dst, '\r', '\n')
	}
	dst = appendLower(dst, f.Name)
	dst = append(dst, ':')
	dst = appendRelaxedValue(dst, f.Value)
	return append(dst, '\r', '\n')
}

// appendLower appends a field name in lower case and without white space before the colon: section 3.4.2.
func appendLower(dst []byte, name string) []byte {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return bytes.TrimRight(dst, " \t")
}

// appendRelaxedValue unfolds, makes each run of white space one space, and drops it at both ends: section 3.4.2.
func appendRelaxedValue(dst []byte, v string) []byte {
	start, space := len(dst), false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == ' ' || c == '\t':
			space = true
			continue
		case c == '\r' && i+1 < len(v) && v[i+1] == '\n':
			// A fold's line end goes; one that no white space follows can stand only at the very end.
			i++
			continue
		default:
			if space && len(dst) > start {
				dst = append(dst, ' ')
			}
			space = false
			dst = append(dst, c)
		}
	}
	return dst
}

// body canonicalises one message body and hashes it. Whatever the body is, it keeps no more of it than its buffer: line
// ends that may turn out to be trailing are a counter, white space that may turn out to be trailing is a flag.
type body struct {
	canon canon
	sink  sink
	crlfs int  // line ends seen and not written
	cr    bool // a CR seen, not known yet whether LF follows
	wsp   bool // relaxed: white space seen and not written
	any   bool // something was written
}

// Write takes the next piece of the body, CRLF line ends, cut anywhere. It never fails.
func (b *body) Write(p []byte) (int, error) {
	n := len(p)
	if b.canon == simple {
		b.writeSimple(p)
	} else {
		b.writeRelaxed(p)
	}
	return n, nil
}

func (b *body) writeSimple(p []byte) {
	for len(p) > 0 {
		line, rest := b.nextLine(p)
		if len(line) > 0 {
			b.text(line)
		}
		p = rest
	}
}

func (b *body) writeRelaxed(p []byte) {
	for len(p) > 0 {
		line, rest := b.nextLine(p)
		b.relaxedText(line)
		p = rest
	}
}

// nextLine takes the line end off p that it begins with, and gives the text up to the next CR, all of it found with one
// search. The CR is remembered: whether a LF follows shows in the rest, or in the next piece.
func (b *body) nextLine(p []byte) (line, rest []byte) {
	for len(p) > 0 {
		if b.cr {
			b.cr = false
			if p[0] == '\n' {
				b.wsp = false // section 3.4.4: white space at a line's end is ignored
				b.crlfs++
				p = p[1:]
			} else {
				b.text([]byte{'\r'}) // a lone CR is text
			}
			continue
		}
		if p[0] == '\r' {
			b.cr = true
			p = p[1:]
			continue
		}
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			return p, nil
		}
		return p[:i], p[i:]
	}
	return nil, nil
}

// relaxedText writes a piece of a line with each run of white space as one space. Most lines have single spaces only,
// and go through as they stand.
func (b *body) relaxedText(line []byte) {
	if !b.wsp && bytes.IndexByte(line, '\t') < 0 && !bytes.HasSuffix(line, []byte(" ")) && !bytes.Contains(line, []byte("  ")) {
		if len(line) > 0 {
			b.text(line)
		}
		return
	}
	for len(line) > 0 {
		i := 0
		for i < len(line) && (!wsp(line[i]) || i > 0 && line[i] == ' ' && i+1 < len(line) && !wsp(line[i+1])) {
			i++ // a single space between words is text as it stands
		}
		if i > 0 {
			b.text(line[:i])
		}
		for line = line[i:]; len(line) > 0 && wsp(line[0]); line = line[1:] {
			b.wsp = true
		}
	}
}

func wsp(c byte) bool { return c == ' ' || c == '\t' }

// text writes what was held back and then p.
func (b *body) text(p []byte) {
	if b.crlfs > 0 {
		b.sink.lineEnds(b.crlfs)
		b.crlfs = 0
	}
	if b.wsp {
		b.sink.octet(' ')
		b.wsp = false
	}
	b.sink.write(p)
	b.any = true
}

// close ends the body: empty lines at the end go, and a last line without its CRLF gets one (sections 3.4.3, 3.4.4). An
// empty body is one CRLF in simple and nothing at all in relaxed.
func (b *body) close() {
	if b.cr {
		b.cr = false
		b.text([]byte{'\r'})
	}
	b.wsp, b.crlfs = false, 0
	if b.any || b.canon == simple {
		b.sink.write([]byte{'\r', '\n'})
	}
	b.sink.finish()
}
