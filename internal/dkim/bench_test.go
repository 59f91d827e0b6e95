package dkim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

// perByte reports the cost per byte. Linear code has the same cost per byte at every size.
func perByte(b *testing.B, size int) {
	b.SetBytes(int64(size))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size), "ns/byte")
}

// bodies returns texts for measuring the canonicalizations. The ordinary texts come first.
func bodies() []struct{ name, text string } {
	return []struct{ name, text string }{
		{"attachment", strings.Repeat("A", 76) + "\r\n"},       // base64
		{"plain", strings.Repeat("eight or ", 7) + "nine\r\n"}, // a space every five bytes
		{"mixed", "Most lines of a letter have single spaces, and a length that varies.\r\nSome are short.  Some sentences\r\nare two spaces apart, as was the custom once,\r\nand paragraphs too:\r\n\r\n"},
		{"flowed", strings.Repeat("eight or ", 8) + "\r\n"},                // lines that end with a space: RFC 3676
		{"doubled", strings.Repeat("eight  or  ", 6) + "nine\r\n"},         // two spaces between words
		{"indented", "\t\t" + strings.Repeat("eight or ", 6) + "nine\r\n"}, // like source code
		{"tabs", strings.Repeat("eight\tor\t", 8) + "nine\r\n"},            // like tables
		{"spaces", " \t"}, // white space that may be trailing
		{"blank", "\r\n"}, // go-msgauth needs 9 seconds for 4 MB of such lines
		{"gaps", strings.Repeat("\r\n", 511) + "x\n"}, // blank lines before text
		{"short", "x\r\n"},
		{"lone-cr", "x\r"},
		{"lone-lf", "x \n"},
		{"worst", "x \t\r\n\r\n"}, // only bytes that are changed
	}
}

// benchBody canonicalizes bodies of two sizes, in packets of the size that Postfix sends. Linear code has the same cost per byte at both
// sizes.
func benchBody(b *testing.B, c canon) {
	for _, t := range bodies() {
		for _, mb := range []int{1, 8} {
			data := bytes.Repeat([]byte(t.text), mb<<20/len(t.text))
			b.Run(fmt.Sprintf("%s/%dMB", t.name, mb), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					body := &body{canon: c, sink: newSink(nil)}
					for rest := data; len(rest) > 0; rest = rest[min(64<<10, len(rest)):] {
						body.Write(rest[:min(64<<10, len(rest))])
					}
					body.close()
				}
				perByte(b, len(data))
			})
		}
	}
}

func BenchmarkBodySimple(b *testing.B)  { benchBody(b, simple) }
func BenchmarkBodyRelaxed(b *testing.B) { benchBody(b, relaxed) }

// BenchmarkBodyHash measures SHA-256 alone. Its time is the lower limit on this machine.
func BenchmarkBodyHash(b *testing.B) {
	data := bytes.Repeat([]byte("A"), 1<<20)
	for b.Loop() {
		sum := sha256.Sum256(data)
		_ = sum
	}
	perByte(b, len(data))
}

func noKey(name string) ([]string, error) { return nil, notFound(name) }

// The header has as many fields as h= has names. Beyond 200 names the field is not parsed further.
func BenchmarkSignedFields(b *testing.B) {
	key := "v=DKIM1; k=ed25519; p=" + strings.Repeat("A", 43) + "="
	for _, n := range []int{100, 200, 1000, 2000, 4000, 8000} {
		names := min(n, 200)
		for _, named := range []int{names, n} {
			var fields []Field
			fields = append(fields, Field{SignatureField, " v=1; a=ed25519-sha256; d=example.org; s=sel; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b=AAAA; h=from" + strings.Repeat(":x", named-1)})
			size := len(fields[0].Value)
			for range n {
				fields = append(fields, Field{"X", " value"})
				size += 10
			}
			b.Run(fmt.Sprintf("%dfields/%dnames", n, named), func(b *testing.B) {
				for b.Loop() {
					v := NewVerifier(fields, nil)
					v.Results(testTime(), func(string) ([]string, error) { return []string{key}, nil })
				}
				perByte(b, size)
			})
			if names == n {
				break
			}
		}
	}
}

// Signatures with different l=: eight are verified, and the body is hashed once.
func BenchmarkLengths(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		for _, mb := range []int{1, 2, 4, 8} {
			var fields []Field
			for i := range n {
				fields = append(fields, Field{SignatureField, fmt.Sprintf(" v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=sel; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b=AAAA; h=from; l=%d", i*1000)})
			}
			data := bytes.Repeat([]byte(strings.Repeat("A", 76)+"\r\n"), mb<<20/78)
			b.Run(fmt.Sprintf("%dsignatures/%dMB", n, mb), func(b *testing.B) {
				for b.Loop() {
					v := NewVerifier(fields, nil)
					v.Write(data)
					v.Results(testTime(), noKey)
				}
				perByte(b, len(data))
			})
		}
	}
}

// Key records of up to the maximum size, and one larger record. They have the tags that take longest to parse.
func BenchmarkKeyRecord(b *testing.B) {
	for _, kb := range []int{2, 4, 8, 16, 32} {
		for name, piece := range map[string]string{"notes": "n", "tags": "", "base64": "A"} {
			txt := "v=DKIM1; p=AAAA; n=" + strings.Repeat(piece, kb<<10-20)
			switch name {
			case "tags":
				txt = "v=DKIM1; p=AAAA"
				for i := 0; len(txt) < kb<<10-10; i++ {
					txt += fmt.Sprintf(";t%d=", i)
				}
			case "base64":
				txt = "v=DKIM1; p=" + strings.Repeat("A", kb<<10-12)
			}
			b.Run(fmt.Sprintf("%s/%dKiB", name, kb), func(b *testing.B) {
				for b.Loop() {
					_, _ = ParseKeyRecord(txt)
				}
				perByte(b, len(txt))
			})
		}
	}
}
