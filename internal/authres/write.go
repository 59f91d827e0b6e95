package authres

import "strings"

// Result is one method's result: RFC 8601 section 2.2.
type Result struct {
	Method, Value string // chosen by Signpost, not by a sender
	Reason        string // free text
	Props         []Prop
}

// Prop is a property of a result, such as header.d=example.org.
type Prop struct{ Type, Name, Value string }

const (
	// maxValue is the maximum length in bytes of a value that a sender chose. Every domain name is shorter.
	maxValue = 256
	// lineLength is the length in bytes at which lines are folded: RFC 5322 section 2.1.1 recommends at most 78.
	lineLength = 76
)

// Format returns the value of a field, with its leading space. Folds have LF. Values are quoted, so that text in a value cannot look like
// another result.
func Format(id string, results []Result) string {
	w := &writer{}
	w.b.Grow(512) // most need less
	var words []string
	w.word(quoteUnlessToken(id) + ";")
	if len(results) == 0 {
		w.word("none")
	}
	for i, r := range results {
		w.fold()
		words = append(words[:0], r.Method+"="+r.Value)
		if clean(r.Reason) != "" { // some parsers do not accept an empty reason
			words = append(words, "reason="+quote(r.Reason))
		}
		for _, p := range r.Props {
			words = append(words, p.Type+"."+p.Name+"="+quoteUnlessToken(p.Value))
		}
		if i < len(results)-1 {
			words[len(words)-1] += ";"
		}
		for _, word := range words {
			w.word(word)
		}
	}
	return w.b.String()
}

type writer struct {
	b    strings.Builder
	line int // bytes in the line
}

func (w *writer) fold() {
	w.b.WriteString("\n\t")
	w.line = 8
}

func (w *writer) word(s string) {
	switch {
	case w.line == 8 && strings.HasSuffix(w.b.String(), "\t"):
	case w.line > 8 && w.line+1+len(s) > lineLength:
		w.fold()
	default:
		w.b.WriteByte(' ')
		w.line++
	}
	w.b.WriteString(s)
	w.line += len(s)
}

// quoteUnlessToken returns s, quoted unless it is a token: RFC 2045 section 5.1.
func quoteUnlessToken(s string) string {
	if s == "" || len(s) > maxValue {
		return quote(s)
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("()<>@,;:\\\"/[]?=", c) >= 0 {
			return quote(s)
		}
	}
	return s
}

// quote returns a quoted-string: RFC 5322 section 3.2.4.
func quote(s string) string { return `"` + clean(s) + `"` }

// clean removes control characters and replaces characters that some readers do not accept in a quoted-string.
// Mail::AuthenticationResults cannot parse quoted pairs, so double quotes become single quotes, and backslashes become question marks.
// RFC 6532 allows UTF-8 only in messages that are declared as internationalized, so non-ASCII characters become question marks too.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f:
			return -1
		case r == '"':
			return '\''
		case r > 0x7f || r == '\\':
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), maxValue)], ""))
}
