package dkim

import (
	"slices"
	"strings"
	"testing"
)

// brokenByPostfix returns a message as Postfix sends it: CRLF and a space are inserted into lines over 998 bytes, as observed with
// Postfix 3.7. internal/e2e verifies the same with Postfix itself.
func brokenByPostfix(msg string) string {
	var out []string
	for line := range strings.SplitSeq(msg, "\r\n") {
		for len(line) > MaxLine {
			out = append(out, line[:MaxLine])
			line = " " + line[MaxLine:]
		}
		out = append(out, line)
	}
	return strings.Join(out, "\r\n")
}

// A line of 998 bytes without CRLF is the longest that RFC 5322 section 2.1.1 allows. The signature breaks if and only if LongLines finds
// a long line that is signed. A long field that need not be signed is left unsigned and breaks no signature.
func TestLongLines(t *testing.T) {
	k := newKeys(t)
	rec := zone(map[string]string{"r1._domainkey.example.org": record(t, k.rsa)})
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name, header, body string
		want               LongLines
		survives           bool
	}{
		{"nothing", "", "text\r\n", LongLines{}, true},
		{"the longest line of a body", "", x(998) + "\r\ntext\r\n", LongLines{}, true},
		{"one byte more", "", "text\r\n" + x(999) + "\r\ntext\r\n", LongLines{LongestLineBytes: 999}, false},
		{"the last line, without its end", "", x(1500), LongLines{LongestLineBytes: 1500}, false},
		{"the longest of several", "", x(1200) + "\r\n" + x(2000) + "\r\n" + x(1100) + "\r\n", LongLines{LongestLineBytes: 2000}, false},
		{"a CR inside a line", "", x(500) + "\r" + x(498) + "\r\n", LongLines{LongestLineBytes: 999}, false},
		{"the longest line of a field", "To: " + x(994) + "\r\n", "text\r\n", LongLines{}, true},
		{"one byte more in To", "To: " + x(995) + "\r\n", "text\r\n", LongLines{LongestLineBytes: 999, Field: "To"}, false},
		{"a long field of short lines", "To: " + x(900) + "\r\n " + x(900) + "\r\n\t" + x(997) + "\r\n", "text\r\n", LongLines{}, true},
		{"a long second line", "To: x\r\n " + x(998) + "\r\n", "text\r\n", LongLines{LongestLineBytes: 999, Field: "To"}, false},
		{"From", "From: " + x(1000) + " <ann@example.org>\r\n", "text\r\n", LongLines{LongestLineBytes: 1024, Field: "From"}, false},
		{"References", "References: " + x(1000) + "\r\n", "text\r\n", LongLines{Unsigned: []string{"References"}}, true},
		{"one of two fields", "List-Id: x\r\nList-Id: " + x(1000) + "\r\n", "text\r\n", LongLines{Unsigned: []string{"List-Id"}}, true},
		{"a field that is never signed", "X-Spam: " + x(1000) + "\r\n", "text\r\n", LongLines{}, true},
		{"body and fields", "Message-ID: <" + x(1000) + ">\r\nSubject: " + x(1100) + "\r\n", x(1200) + "\r\n",
			LongLines{LongestLineBytes: 1200, Unsigned: []string{"Message-ID"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := c.header
			if !strings.HasPrefix(header, "From:") {
				header = "From: ann@example.org\r\n" + header
			}
			msg := header + "\r\n" + c.body
			fields, body := splitMessage(t, []byte(msg))
			for _, size := range []int{1, 2, 997, 998, 999, 1000, len(body) + 1} {
				s, err := NewSigner(fields, nil, testTime(), 0)
				if err != nil {
					t.Fatal(err)
				}
				for piece := range slices.Chunk(body, size) {
					s.Write(piece)
				}
				if got := s.LongLines(); got.LongestLineBytes != c.want.LongestLineBytes || got.Field != c.want.Field || !slices.Equal(got.Unsigned, c.want.Unsigned) {
					t.Errorf("in pieces of %d bytes: %+v, want %+v", size, got, c.want)
				}
			}
			sent := brokenByPostfix(string(sign(t, []byte(msg), Key{"example.org", "r1", k.rsa})))
			if got := verifyIn(t, []byte(sent), 100, testTime(), rec)[0]; (got.Status == Pass) != c.survives {
				t.Errorf("after Postfix broke the lines: %v %s", got.Status, got.Cause)
			}
		})
	}
}

// Measuring line lengths does not allocate memory for each line.
func TestLongLinesAllocations(t *testing.T) {
	body := []byte(strings.Repeat(strings.Repeat("x", 1200)+"\r\n", 100))
	var m lineMeter
	if n := testing.AllocsPerRun(10, func() { m.write(body) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// The longest line of a body does not depend on how the body was cut.
func FuzzLineMeter(f *testing.F) {
	f.Add("a\r\nbcd\r\nef", 3)
	f.Add("a\rb\nc\r\r\n\r", 5)
	f.Fuzz(func(t *testing.T, body string, cut int) {
		cut = min(max(cut, 0), len(body))
		var m lineMeter
		m.write([]byte(body[:cut]))
		m.write([]byte(body[cut:]))
		want := 0
		lines := strings.Split(body, "\n")
		for i, line := range lines {
			if i < len(lines)-1 {
				line = strings.TrimSuffix(line, "\r")
			}
			want = max(want, len(line))
		}
		if got := m.longest(); got != want {
			t.Errorf("%q cut at %d: %d bytes, want %d", body, cut, got, want)
		}
	})
}
