package dkim

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadMessage(t *testing.T) {
	for _, c := range []struct{ in, fields, body, err string }{
		{"A: 1\nB:2\n 3\n\nbody\n\n.\n", `[{"A" " 1"} {"B" "2\r\n 3"}]`, "body\r\n\r\n.\r\n", ""},
		{"A: 1\r\nB:2\r\n\t3\r\n\r\nbody\r\nx\ry\n", `[{"A" " 1"} {"B" "2\r\n\t3"}]`, "body\r\nx\ry\r\n", ""},
		{"From a@b Mon\nA: 1\n\nx", `[{"A" " 1"}]`, "x", ""},
		{"A: 1", `[{"A" " 1"}]`, "", ""},
		{"", "[]", "", ""},
		{"\nbody", "[]", "body", ""},
		{"A: 1\nno field\n\n", "", "", `line 2: "no field" is not a header field`},
		{" folded\n\n", "", "", "line 1: the header begins with a space"},
		{"A: " + strings.Repeat("x", maxHeader), "", "", "the header exceeds 4194304 bytes"},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			fields, body, err := ReadMessage(r)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%.40q: %v", c.in, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%q: %v", c.in, err)
				continue
			}
			if got := fmt.Sprintf("%q", fields); got != c.fields {
				t.Errorf("%q: %s", c.in, got)
			}
			if got, err := io.ReadAll(body); err != nil || string(got) != c.body {
				t.Errorf("%q: body %q %v", c.in, got, err)
			}
		}
	}
}

// endless is a reader without an end and without line ends.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.read += int64(len(p))
	return len(p), nil
}

// A header without an end is an error. A body of any length is read completely.
func TestReadMessageBounds(t *testing.T) {
	e := &endless{}
	if _, _, err := ReadMessage(e); err == nil || e.read > 2*maxHeader {
		t.Errorf("%d bytes read, %v", e.read, err)
	}
	const size = maxHeader + 1<<20
	_, body, err := ReadMessage(io.MultiReader(strings.NewReader("A: 1\n\n"), io.LimitReader(&endless{}, size)))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, body); err != nil || n != size {
		t.Errorf("%d bytes of body, %v", n, err)
	}
}
