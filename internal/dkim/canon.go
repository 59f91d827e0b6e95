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
	start := len(dst)
	dst = append(dst, name...)
	for i, c := range dst[start:] {
		if c >= 'A' && c <= 'Z' {
			dst[start+i] += 'a' - 'A'
		}
	}
	return dst[:start+len(bytes.TrimRight(dst[start:], " \t"))]
}

// appendRelaxedValue unfolds, makes each run of white space one space, and drops it at both ends: section 3.4.2.
func appendRelaxedValue(dst []byte, v string) []byte {
	start, space := len(dst), false
	for i := 0; i < len(v); {
		switch c := v[i]; {
		case wsp(c):
			space = true
			i++
		case c == '\r' && i+1 < len(v) && v[i+1] == '\n':
			// A fold's line end goes; one that no white space follows can stand only at the very end.
			i += 2
		default:
			if space && len(dst) > start {
				dst = append(dst, ' ')
			}
			space = false
			end := i + 1
			for end < len(v) && (v[end] > ' ' || v[end] == ' ' && end+1 < len(v) && v[end+1] > ' ') {
				end++ // a single space between words stands as it is
			}
			dst = append(dst, v[i:end]...)
			i = end
		}
	}
	return dst
}

// body canonicalises one message body and hashes it. Whatever the body is, it keeps no more of it than its buffer: line
// ends that may turn out to be trailing are a counter, white space that may turn out to be trailing is a flag. What needs
// no change goes to the hash in runs as long as they come, not line by line.
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
	if b.cr && n > 0 {
		b.cr = false
		if p[0] == '\n' {
			b.lineEnds(1)
			p = p[1:]
		} else {
			b.loneCR()
		}
	}
	if b.canon == simple {
		b.writeSimple(p)
	} else {
		b.writeRelaxed(p)
	}
	return n, nil
}

// writeSimple holds back the line ends that p ends with. All before them stands as it is: section 3.4.3.
func (b *body) writeSimple(p []byte) {
	end := len(p)
	if end > 0 && p[end-1] == '\r' {
		end--
		b.cr = true
	}
	n := withoutLineEnds(p[:end])
	if n > 0 {
		b.text(p[:n])
	}
	b.crlfs += (end - n) / 2
}

func (b *body) writeRelaxed(p []byte) {
	near := false // the changes come close to each other
	for len(p) > 0 {
		switch c := p[0]; {
		case wsp(c):
			b.wsp = true
			p = afterSpace(p)
		case c == '\r' && len(p) == 1:
			b.cr = true
			return
		case c == '\r' && p[1] == '\n':
			n := lineEnds(p)
			b.lineEnds(n / 2)
			p = p[n:]
		case near && c != '\r':
			b.held()
			var n int
			n, near = b.squeeze(p)
			p = p[n:]
		default:
			n := verbatim(p)
			b.text(p[:n])
			p = p[n:]
			near = n < dense
		}
	}
}

// dense is how many octets have to stand as they are for it to be cheaper to look for more of them than to go octet by
// octet.
const dense = 24

func afterSpace(p []byte) []byte {
	for i, c := range p {
		if !wsp(c) {
			return p[i:]
		}
	}
	return nil
}

func wsp(c byte) bool { return c == ' ' || c == '\t' }

// lineEnds takes n CRLF. White space at a line's end is ignored: section 3.4.4.
func (b *body) lineEnds(n int) {
	b.wsp = false
	b.crlfs += n
}

// loneCR writes a CR that no LF follows: it is text.
func (b *body) loneCR() {
	b.held()
	b.sink.octet('\r')
}

// text writes what was held back and then p.
func (b *body) text(p []byte) {
	b.held()
	b.sink.write(p)
}

// held writes what was held back, since text follows.
func (b *body) held() {
	b.any = true
	if b.crlfs > 0 {
		b.sink.lineEnds(b.crlfs)
		b.crlfs = 0
	}
	if b.wsp {
		b.sink.octet(' ')
		b.wsp = false
	}
}

// close ends the body: empty lines at the end go, and a last line without its CRLF gets one (sections 3.4.3, 3.4.4). An
// empty body is one CRLF in simple and nothing at all in relaxed.
func (b *body) close() {
	if b.cr {
		b.cr = false
		b.loneCR()
	}
	b.wsp, b.crlfs = false, 0
	if b.any || b.canon == simple {
		b.sink.write([]byte{'\r', '\n'})
	}
	b.sink.finish()
}
