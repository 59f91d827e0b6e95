package dkim

import "bytes"

// canon is a canonicalization algorithm of RFC 6376 section 3.4.
type canon uint8

const (
	simple canon = iota
	relaxed
	canons // the number of algorithms
)

// appendField appends the canonical form of a header field, including its CRLF, to dst.
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

// appendRelaxedValue unfolds the value, replaces each run of white space by one space, and removes white space at both ends: section
// 3.4.2.
func appendRelaxedValue(dst []byte, v string) []byte {
	start, space := len(dst), false
	for i := 0; i < len(v); {
		switch c := v[i]; {
		case wsp(c):
			space = true
			i++
		case c == '\r' && i+1 < len(v) && v[i+1] == '\n':
			// The line end of a fold is removed. In a header field, white space follows every line end except the last one.
			i += 2
		default:
			if space && len(dst) > start {
				dst = append(dst, ' ')
			}
			space = false
			end := i + 1
			for end < len(v) && (v[end] > ' ' || v[end] == ' ' && end+1 < len(v) && v[end+1] > ' ') {
				end++ // a single space between words is not changed
			}
			dst = append(dst, v[i:end]...)
			i = end
		}
	}
	return dst
}

// body canonicalizes one message body and hashes it. It keeps at most one buffer of the body. Line ends that may be trailing are only
// counted, and white space that may be trailing only sets a flag. Text that needs no change is passed to the hash in long runs, not line
// by line.
type body struct {
	canon canon
	sink  sink
	crlfs int  // line ends that were read but not yet written
	cr    bool // the last byte was CR; an LF may follow
	wsp   bool // relaxed: white space that was read but not yet written
	any   bool // something was written
}

// Write adds the next part of the body. The body has CRLF line ends, and a part may end anywhere, even between CR and LF. It never fails.
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

// writeSimple counts the line ends at the end of p, and writes the rest of p unchanged: section 3.4.3.
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
	near := false // the next change is close
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

// dense is the minimum number of unchanged bytes for which searching for the next change is faster than copying byte by byte.
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

// lineEnds adds n CRLF. White space at the end of a line is ignored: section 3.4.4.
func (b *body) lineEnds(n int) {
	b.wsp = false
	b.crlfs += n
}

// loneCR writes a CR that is not followed by LF. Such a CR is text.
func (b *body) loneCR() {
	b.held()
	b.sink.writeByte('\r')
}

// text writes the pending white space and line ends, and then p.
func (b *body) text(p []byte) {
	b.held()
	b.sink.write(p)
}

// held writes the pending white space and line ends, because text follows.
func (b *body) held() {
	b.any = true
	if b.crlfs > 0 {
		b.sink.lineEnds(b.crlfs)
		b.crlfs = 0
	}
	if b.wsp {
		b.sink.writeByte(' ')
		b.wsp = false
	}
}

// close ends the body. It removes empty lines at the end, and adds a missing CRLF to the last line (sections 3.4.3, 3.4.4). The
// canonical form of an empty body is one CRLF in simple, and empty in relaxed.
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
