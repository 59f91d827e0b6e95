package dkim

import (
	"io"
	"mime"
	"strings"

	"signpost/internal/domain"
)

const (
	// maxMangledName is the maximum length in bytes of a name that is read in a mangled field. It is the maximum length of a domain name.
	// The time to convert U-labels grows with the square of the length.
	maxMangledName = 253
	// maxMangledTags is the maximum number of d= or s= that are tried in a mangled field. It also limits the time to convert U-labels.
	maxMangledTags = 4
)

// readMangled reads d= and s= in a field that cannot be parsed, so that its result still names the signer. The status is already set, so no
// signature is verified with such a name.
func (s *signature) readMangled() {
	value := s.field.Value[:min(len(s.field.Value), MaxSignatureField)]
	if strings.Contains(value, "=?") {
		value = decodeWords(value)
	}
	if s.result.Domain == "" {
		s.result.Domain = mangledName(value, 'd', 2) // a single label is probably a part of a name that was cut in two
	}
	if s.result.Selector == "" {
		s.result.Selector = mangledName(value, 's', 1)
	}
}

// decodeWords decodes encoded words (RFC 2047). Some programs encode the field as if it were text.
func decodeWords(value string) string {
	// The names to find are ASCII or UTF-8, even if the rest has another charset.
	d := mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}
	var b strings.Builder
	for word := range strings.FieldsSeq(value) {
		if decoded, err := d.Decode(word); err == nil {
			b.WriteString(decoded) // section 6.2: white space between encoded words is ignored
			continue
		}
		b.WriteString(" " + word)
	}
	return b.String()
}

// mangledName returns the first readable name after tag that has at least the given number of labels. The name has the form of Domain. If
// there is no such name, mangledName returns "".
func mangledName(value string, tag byte, labels int) string {
	tried := 0
	for i := range len(value) {
		if value[i] != '=' {
			continue
		}
		name := strings.TrimRight(value[:i], fws)
		if name == "" || name[len(name)-1]|0x20 != tag {
			continue
		}
		// A semicolon may be missing before the tag.
		if name = name[:len(name)-1]; name != "" && name[len(name)-1] != ';' && !isFWS(name[len(name)-1]) {
			continue
		}
		if tried++; tried > maxMangledTags {
			break
		}
		text, _, _ := strings.Cut(value[i+1:], ";")
		if d := unmangle(text, labels); d != "" {
			return d
		}
	}
	return ""
}

// unmangle finds a domain name in text. The name may have a final dot, quotes or brackets around it, an "@" before it, folds or control
// characters in it, or other text after it. It returns "" if it finds no name with at least the given number of labels.
func unmangle(text string, labels int) string {
	text = text[indexName(text, true):]
	whole := strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	readings := [...]string{text, whole}
	if strings.Contains(text, "\n") {
		readings = [...]string{whole, text} // a fold is more likely to cut a name in two than to end it
	}
	for _, r := range readings {
		r = r[:indexName(r, false)]
		r = strings.TrimSuffix(r[strings.LastIndexByte(r, '@')+1:], ".")
		if len(r) > maxMangledName || strings.Count(r, ".")+1 < labels {
			continue
		}
		if d, err := domain.Parse(r); err == nil {
			return d
		}
	}
	return ""
}

// indexName returns the index of the first byte that can be part of an unquoted address. With part = false, it returns the index of the
// first byte that cannot be part of one. If there is none, it returns the length of s.
func indexName(s string, part bool) int {
	for i := range len(s) {
		if (s[i] > ' ' && s[i] != 0x7f && strings.IndexByte(`"'<>()[],:;\`, s[i]) < 0) == part {
			return i
		}
	}
	return len(s)
}
