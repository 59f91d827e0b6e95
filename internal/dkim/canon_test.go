package dkim

import (
	"bytes"
	"crypto/sha256"
	"hash"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// cutBody returns the hashes of a body and of its first bytes. It writes the body in parts; next returns the length of each part.
func cutBody(c canon, data []byte, limits []int64, next func(left int) int) *sink {
	b := &body{canon: c, sink: newSink(limits)}
	for len(data) > 0 {
		n := next(len(data))
		b.Write(data[:n])
		data = data[n:]
	}
	b.close()
	return &b.sink
}

func checkBody(t *testing.T, c canon, data []byte, s *sink) {
	t.Helper()
	slow := slowBody(c, data)
	if want := sha256.Sum256(slow); !bytes.Equal(s.total, want[:]) || s.length != int64(len(slow)) {
		t.Fatalf("canonicalization %d of %d bytes: %.200q", c, len(data), data)
	}
	for n, sum := range s.sums {
		if want := sha256.Sum256(slow[:n]); !bytes.Equal(sum, want[:]) {
			t.Fatalf("canonicalization %d, the first %d bytes of %d: %.200q", c, n, len(data), data)
		}
	}
}

// The test uses all short bodies that consist of bytes in the rules. The code checks eight bytes at a time, so each body starts at each
// offset within eight bytes.
func TestEveryShortBody(t *testing.T) {
	const letters, length = "x \t\r\n", 5
	for shift := range 9 {
		data := bytes.Repeat([]byte("x"), shift+length)
		for i := range 5 * 5 * 5 * 5 * 5 {
			for j := range length {
				data[shift+j] = letters[i%5]
				i /= 5
			}
			for _, c := range []canon{simple, relaxed} {
				checkBody(t, c, data, cutBody(c, data, nil, func(left int) int { return left }))
			}
		}
	}
}

// Random bodies of several buffers, cut at random places, with one or two l=.
func TestRandomBodies(t *testing.T) {
	rnd := mathrand.New(mathrand.NewPCG(3, 4))
	for range 1500 {
		data := oddText(rnd, rnd.IntN(3*sinkBuffer))
		for _, c := range []canon{simple, relaxed} {
			size := len(slowBody(c, data))
			limits := []int64{int64(rnd.IntN(size + 1)), int64(rnd.IntN(size + 1))}
			most := 1 << rnd.IntN(15)
			checkBody(t, c, data, cutBody(c, data, limits, func(left int) int { return min(left, rnd.IntN(most)+1) }))
		}
	}
}

// oddText returns text of repetitive parts, like that of messages.
func oddText(rnd *mathrand.Rand, size int) []byte {
	pieces := [][]string{
		{"word", " ", "longer", " ", "\r\n"},
		{"word", " ", "  ", "\t", "\r\n", " \r\n", "\r\n\r\n"},
		{"\r\n"}, {" ", "\t"},
		{"x", "!", " ", "\t", "\r", "\n", "\v", "\b", "\x00", "\x80", "\xa0", "\r\n"},
	}
	var text []byte
	for len(text) < size {
		kind := pieces[rnd.IntN(len(pieces))]
		for range rnd.IntN(200) {
			text = append(text, kind[rnd.IntN(len(kind))]...)
		}
	}
	return text[:size]
}

// The fuzzer chooses the body and its cuts: each byte selects a piece of text and whether a Write ends after it.
func FuzzBodyCuts(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04"), int64(3))
	f.Add([]byte("\x00\x81\x02\x83\x04\x05\x46\x47\x08\x89"), int64(40))
	f.Fuzz(func(t *testing.T, program []byte, limit int64) {
		pieces := []string{"x", " ", "\t", "\r", "\n", "\r\n", "eight or nine", "!", "\b\v", strings.Repeat("\r\n", 40), strings.Repeat("A", 500)}
		for _, c := range []canon{simple, relaxed} {
			var data []byte
			var cuts []int
			for _, op := range program[:min(len(program), 200)] {
				piece := pieces[int(op&0x7f)%len(pieces)]
				data = append(data, piece...)
				if op >= 0x80 {
					cuts = append(cuts, len(piece))
				} else if len(cuts) > 0 {
					cuts[len(cuts)-1] += len(piece)
				}
			}
			next := func(left int) int {
				n := left
				if len(cuts) > 0 {
					n, cuts = min(left, cuts[0]), cuts[1:]
				}
				return n
			}
			checkBody(t, c, data, cutBody(c, data, []int64{max(0, limit)}, next))
		}
	})
}

// writes records the data that is hashed.
type writes struct {
	hash.Hash
	all [][]byte
}

func (w *writes) Write(p []byte) (int, error) {
	w.all = append(w.all, p)
	return w.Hash.Write(p)
}

// A packet that canonicalization does not change is hashed without a copy.
func TestUnchangedTextIsNotCopied(t *testing.T) {
	text := strings.Repeat(strings.Repeat("eight or ", 7)+"nine\r\n\r\n", 1000)
	for _, c := range []canon{simple, relaxed} {
		b := &body{canon: c, sink: newSink(nil)}
		w := &writes{Hash: sha256.New()}
		b.sink.hash = w
		for range 2 {
			data := []byte(text)
			w.all = nil
			b.Write(data)
			last := w.all[len(w.all)-1]
			if len(w.all) > 2 || &last[0] != &data[0] || len(last) != len(data)-len("\r\n\r\n") {
				t.Errorf("canonicalization %d: %d writes, the last of %d bytes of %d", c, len(w.all), len(last), len(data))
			}
		}
	}
}

// slowName and slowValue implement RFC 6376 section 3.4.2 literally.
func slowName(s string) string { return strings.TrimRight(strings.ToLower(s), " \t") }

func slowValue(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", ""), "\t", " ")
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return strings.Trim(s, " ")
}

func FuzzField(f *testing.F) {
	f.Add("SubJect \t", " a  b\r\n\tc\r\n d \t ")
	f.Add("X", "\r\n\r\r\n \n\v!")
	f.Fuzz(func(t *testing.T, name, value string) {
		if !utf8.ValidString(name) || strings.ToLower(name) != asciiLower(name) {
			name = "x"
		}
		want := slowName(name) + ":" + slowValue(value) + "\r\n"
		if got := string(relaxed.appendField([]byte("before  "), Field{name, value})); got != "before  "+want {
			t.Errorf("%q: %q: got %q, want %q", name, value, got, want)
		}
	})
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// The index finds the same fields as a linear search, in the same order.
func TestIndex(t *testing.T) {
	rnd := mathrand.New(mathrand.NewPCG(5, 6))
	for range 300 {
		fields := make([]Field, rnd.IntN(40))
		for i := range fields {
			fields[i].Name = []string{"To", "tO", "TO \t", "Cc", "", " ", "Received", "\u212Aind", "kind", "Gr\xfc\xdfe", "\u0130"}[rnd.IntN(11)]
		}
		want := map[string][]int{"absent": nil}
		for i, f := range fields {
			name := strings.ToLower(strings.TrimRight(f.Name, " \t"))
			want[name] = append(want[name], i)
		}
		x := newIndex(fields)
		for name, at := range want {
			if got := x.all(name); !slices.Equal(got, at) {
				t.Fatalf("%q at %v, want %v, in %q", name, got, at, fields)
			}
		}
	}
}
