package authres

import (
	"math/rand/v2"
	"mime"
	"regexp"
	"slices"
	"strings"
	"testing"

	"signpost/internal/testauthres"
)

// claimed is the number of fields for which python3-authres and ReadClaim are compared.
const claimed = 2000

func ownIDs() []string {
	return []string{"mx.example.org", "old.example.org", "bücher.example", "observe.mx.example.org"}
}

// choices chooses the parts of a spelling from the bytes of the fuzzer.
type choices struct{ data []byte }

func (c *choices) next(n int) int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b) % n
}

// cfws returns white space or a comment, which RFC 8601 section 2.2 allows between the parts.
func (c *choices) cfws() string {
	pieces := []string{"", " ", "\t", "\n\t", "\r\n ", "(x)", "(a (nested (deep)) comment)", `(\) \( \\)`, "(;)", `(" ; ")`, "(mx.example.net; none)", "(ü)", "()"}
	var b strings.Builder
	for range c.next(4) {
		b.WriteString(pieces[c.next(len(pieces))])
	}
	return b.String()
}

// id returns a spelling of one of our names.
func (c *choices) id() string {
	names := append(ownIDs(), "xn--bcher-kva.example", "observe.old.example.org")
	name := names[c.next(len(ownIDs())+1)]
	if c.next(2) == 1 {
		name += "."
	}
	quoted := c.next(2) == 1
	var b strings.Builder
	for _, r := range name {
		if c.next(2) == 1 {
			r = []rune(strings.ToUpper(string(r)))[0]
		}
		if quoted && r < 0x80 && c.next(3) == 1 {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	if quoted {
		return `"` + b.String() + `"`
	}
	return b.String()
}

// A field with our name as its id is never Foreign, in any spelling and with any white space and comments that the grammar allows.
func FuzzClaim(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("\x03\x05\x06\x07\x00\x01\x01\x01\x00\x01"))
	f.Add([]byte("\x01\x03\x02\x01\x01\x00\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &choices{data}
		value := c.cfws() + c.id()
		switch c.next(4) {
		case 1:
			value += "/1"
		case 2:
			value += " " + c.cfws() + "1"
		case 3:
			value += "(x)1"
		}
		value += c.cfws()
		if c.next(8) > 0 {
			value += ";" + c.cfws() + "dmarc=pass header.from=bank.example"
		}
		if ReadClaim(value, ownIDs()) == Foreign {
			t.Fatalf("%q", value)
		}
	})
}

// readers returns simple ways in which programs search a field for our name.
func readers() map[string]func(string) bool {
	first := func(s string) string {
		id, _, _ := strings.Cut(s, ";")
		if words := strings.Fields(id); len(words) > 0 {
			return words[0]
		}
		return ""
	}
	ours := func(id string) bool { return slices.Contains(ownIDs(), strings.ToLower(id)) }
	comment := regexp.MustCompile(`\([^()]*\)`)
	fold := regexp.MustCompile(`\r?\n[ \t]`)
	flat := regexp.MustCompile(`\([^)]*\)`)
	begins := regexp.MustCompile(`(?i)^\s*"?mx\.example\.org`)
	method := regexp.MustCompile(`(?i)[;\s]*(spf|dkim|dmarc|none)\b`)
	return map[string]func(string) bool{
		"the first word":          func(s string) bool { return ours(first(s)) },
		"the first word unquoted": func(s string) bool { return ours(strings.Trim(first(s), `"'`)) },
		"without comments": func(s string) bool {
			for comment.MatchString(s) {
				s = comment.ReplaceAllString(s, "")
			}
			return ours(first(s))
		},
		"without comments, not nested":     func(s string) bool { return ours(first(flat.ReplaceAllString(s, ""))) },
		"without bytes that are not UTF-8": func(s string) bool { return ours(first(strings.ToValidUTF8(s, ""))) },
		"decoded first": func(s string) bool {
			decoded, err := new(mime.WordDecoder).DecodeHeader(s)
			return err == nil && ours(first(decoded))
		},
		"line by line": func(s string) bool {
			lines := strings.FieldsFunc(fold.ReplaceAllString(s, " "), func(r rune) bool { return r == '\r' || r == '\n' })
			return len(lines) > 0 && ours(first(lines[len(lines)-1]))
		},
		"by its beginning": func(s string) bool { return begins.MatchString(fold.ReplaceAllString(s, " ")) },
		"by a search before the first result": func(s string) bool {
			if at := method.FindStringIndex(s); at != nil {
				s = s[:at[0]]
			}
			return strings.Contains(strings.ToLower(s), "mx.example.org")
		},
		"any part before the first result": func(s string) bool {
			for part := range strings.SplitSeq(s, ";") {
				if strings.Contains(part, "=") {
					return false
				}
				if ours(strings.Trim(strings.TrimSpace(part), `"'`)) {
					return true
				}
			}
			return false
		},
	}
}

// If one of these readers finds our name in a field, ReadClaim does not return Foreign, whatever bytes the field contains.
func FuzzClaimReaders(f *testing.F) {
	for _, seed := range []string{"mx.example.org; dmarc=pass", "(a (b) mx.example.org; x=y) a.b; none", "=?utf-8?q?mx.example.org?=; x=y", "\"mx.example.org\"; none",
		"mx.example.org\u00a01; none", "a.b; none\rmx.example.org; none", "mx.example.org\xff; none", "(x)mx.example.org(y);", "\u2028mx.example.org;",
		"x;mx.example.org; dmarc=pass", "'mx.example.org'; dmarc=pass", "mx.example.org!x; dmarc=pass", "a.b; none (mx.example.org; dmarc=pass)", "spf=pass x; mx.example.org; dmarc=pass"} {
		f.Add(seed)
	}
	readers := readers()
	f.Fuzz(func(t *testing.T, value string) {
		if len(value) > 500 {
			return // the readers are slow, and longer values find no additional errors
		}
		claim := ReadClaim(value, ownIDs())
		for name, read := range readers {
			if claim == Foreign && read(value) {
				t.Fatalf("%q: the reader %s finds our name", value, name)
			}
		}
	})
}

// The same test with another strict parser: if python3-authres finds our name as the id, ReadClaim does not return Foreign.
func TestClaimReadBack(t *testing.T) {
	if testing.Short() {
		t.Skip("runs Python")
	}
	random := rand.New(rand.NewPCG(8601, 5451))
	pieces := []string{"mx.example.org", "MX.Example.ORG", "old.example.org", "a.example", `"`, `\`, "(", ")", "(x)", "(a (b))", ";", ";", " ", " ", "\t", "\r\n ", "\n\t",
		"1", "/", "/1", ".", "none", "none", "spf=pass", "=", "@", ",", "\u00a0", "ü", "=?utf-8?q?mx.example.org?=", "=?utf-8?q?=28?="}
	var values []string
	for range claimed {
		var b strings.Builder
		if random.IntN(2) == 0 {
			b.WriteString([]string{"", " ", "(x)", "(a (b)) ", "\r\n\t"}[random.IntN(5)] + ownIDs()[random.IntN(2)])
		}
		for range random.IntN(6) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		if random.IntN(2) == 0 {
			b.WriteString("; none")
		}
		values = append(values, b.String())
	}
	read, err := testauthres.Read(t.Context(), values)
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for i, h := range read {
		if h.Error != "" || !slices.Contains(ownIDs(), h.ID) {
			continue
		}
		ours++
		if ReadClaim(values[i], ownIDs()) == Foreign {
			t.Errorf("%q is ours for python3-authres", values[i])
		}
	}
	if ours < claimed/20 {
		t.Errorf("only %d of %d fields are ours: these values test nothing", ours, claimed)
	}
}
