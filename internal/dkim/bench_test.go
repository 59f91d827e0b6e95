package dkim

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// perByte reports the cost of an octet. What is linear says the same at every size.
func perByte(b *testing.B, size int) {
	b.SetBytes(int64(size))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size), "ns/byte")
}

// benchBody pours a body of each size through both canonicalisations.
func benchBody(b *testing.B, text string) {
	for _, c := range []struct {
		name  string
		canon canon
	}{{"simple", simple}, {"relaxed", relaxed}} {
		for _, mb := range []int{1, 2, 4, 8} {
			data := bytes.Repeat([]byte(text), mb<<20/len(text))
			b.Run(fmt.Sprintf("%s/%dMB", c.name, mb), func(b *testing.B) {
				for b.Loop() {
					body := &body{canon: c.canon, sink: newSink(nil)}
					for rest := data; len(rest) > 0; rest = rest[min(64<<10, len(rest)):] {
						body.Write(rest[:min(64<<10, len(rest))]) // Postfix's packets
					}
					body.close()
				}
				perByte(b, len(data))
			})
		}
	}
}

// Nothing but line ends: go-msgauth needs 9 seconds for 4 MB of them.
func BenchmarkBlankLines(b *testing.B) { benchBody(b, "\r\n") }

// Blank lines that turn out not to be the last.
func BenchmarkBlankLinesThenText(b *testing.B) { benchBody(b, strings.Repeat("\r\n", 511)+"x\n") }

// Plain lines have single spaces and end with a word.
func BenchmarkPlain(b *testing.B) { benchBody(b, strings.Repeat("eight or ", 7)+"nine\r\n") }

// White space that may turn out to be trailing.
func BenchmarkSpaces(b *testing.B) { benchBody(b, " \t") }

// Words, as people write them, in lines of 72 that end with a space (RFC 3676).
func BenchmarkText(b *testing.B) { benchBody(b, strings.Repeat("eight or ", 8)+"\r\n") }

// Base64, as attachments are: lines of 76 and no white space.
func BenchmarkAttachment(b *testing.B) { benchBody(b, strings.Repeat("A", 76)+"\r\n") }

func noKey(name string) ([]string, error) { return nil, notFound(name) }

// As many header fields as names in h=. 200 names is the bound: above it the field is not taken apart further.
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

// Signatures with an l= each, all different: eight are verified, and the body is hashed once.
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

// Key records up to the bound and one above it, their octets in the tags that cost most to read.
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
