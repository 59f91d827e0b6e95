package dkim

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// maxHeader limits the size in bytes of the header that ReadMessage accepts. This limit also applies to the length of a single line.
const maxHeader = 4 << 20

const readSize = 64 << 10

// ReadMessage reads a message with LF or CRLF line ends. It returns the header fields, and a reader of the body. The reader returns CRLF
// line ends, as on the wire. The error names the line that is not a header field. A "From " line of an mbox is ignored.
func ReadMessage(r io.Reader) (fields []Field, body io.Reader, err error) {
	// An endless line, as in a device file, must not be read into memory.
	bounded := &io.LimitedReader{R: r, N: maxHeader + 2*readSize}
	defer func() { bounded.N = math.MaxInt64 }()
	br := bufio.NewReaderSize(bounded, readSize)
	size := 0
	for n := 1; ; n++ {
		line, err := br.ReadString('\n')
		if size += len(line); size > maxHeader {
			return nil, nil, fmt.Errorf("the header exceeds %d bytes", maxHeader)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, err
		}
		end := errors.Is(err, io.EOF)
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		switch {
		case line == "":
			return fields, &crlfReader{r: br}, nil
		case n == 1 && strings.HasPrefix(line, "From "):
		case line[0] == ' ' || line[0] == '\t':
			if len(fields) == 0 {
				return nil, nil, fmt.Errorf("line %d: the header begins with a space", n)
			}
			fields[len(fields)-1].Value += "\r\n" + line
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok || strings.TrimRight(name, " \t") == "" {
				return nil, nil, fmt.Errorf("line %d: %.40q is not a header field; an empty line ends the header", n, line)
			}
			fields = append(fields, Field{name, value})
		}
		if end {
			return fields, &crlfReader{r: br}, nil
		}
	}
}

// CRLF returns text with CRLF line ends, as on the wire. The line ends of text may be CRLF or LF. Postfix passes folds to milters with LF.
func CRLF(text string) string {
	if !strings.Contains(text, "\n") {
		return text
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
}

// Wire returns a field as on the wire, with the CRLF that ends it.
func (f Field) Wire() string { return f.Name + ":" + CRLF(f.Value) + "\r\n" }

// crlfReader inserts a CR before each LF that has none.
type crlfReader struct {
	r    io.Reader
	last byte
	rest []byte // converted, but not read yet
	buf  [32 << 10]byte
}

func (c *crlfReader) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		n, err := c.r.Read(c.buf[:])
		var out bytes.Buffer
		for _, b := range c.buf[:n] {
			if b == '\n' && c.last != '\r' {
				out.WriteByte('\r')
			}
			out.WriteByte(b)
			c.last = b
		}
		c.rest = out.Bytes()
		if err != nil && len(c.rest) == 0 {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
