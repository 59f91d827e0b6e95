package journal

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The functions below append a field of a JSON object, and a comma after it. appendText, appendTexts, appendList, appendPointer, appendTrue
// and appendCount omit an empty value.

func appendName(b []byte, name string) []byte {
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// end ends an object or a list: with the bracket instead of the last comma.
func end(b []byte, bracket byte) []byte {
	if last := len(b) - 1; b[last] == ',' {
		b = b[:last]
	}
	return append(b, bracket)
}

func appendString[S ~string](b []byte, name string, s S) []byte {
	return append(appendQuoted(appendName(b, name), string(s)), ',')
}

func appendText[S ~string](b []byte, name string, s S) []byte {
	if s == "" {
		return b
	}
	return append(appendQuoted(appendName(b, name), string(s)), ',')
}

func appendTexts(b []byte, name string, all []string) []byte {
	if len(all) == 0 {
		return b
	}
	b = append(appendName(b, name), '[')
	for _, s := range all {
		b = append(appendQuoted(b, s), ',')
	}
	return append(end(b, ']'), ',')
}

// appendList appends a list of objects. fields appends the fields of one.
func appendList[T any](b []byte, name string, all []T, fields func([]byte, *T) []byte) []byte {
	if len(all) == 0 {
		return b
	}
	b = append(appendName(b, name), '[')
	for i := range all {
		b = append(end(fields(append(b, '{'), &all[i]), '}'), ',')
	}
	return append(end(b, ']'), ',')
}

// appendPointer appends an object, unless it is nil. fields appends its fields.
func appendPointer[T any](b []byte, name string, v *T, fields func([]byte, *T) []byte) []byte {
	if v == nil {
		return b
	}
	return append(end(fields(append(appendName(b, name), '{'), v), '}'), ',')
}

func appendBool(b []byte, name string, v bool) []byte {
	return append(strconv.AppendBool(appendName(b, name), v), ',')
}

func appendTrue(b []byte, name string, v bool) []byte {
	if !v {
		return b
	}
	return appendBool(b, name, v)
}

func appendInt[N int | int64 | uint32](b []byte, name string, n N) []byte {
	return append(strconv.AppendInt(appendName(b, name), int64(n), 10), ',')
}

func appendCount[N int | uint32](b []byte, name string, n N) []byte {
	if n == 0 {
		return b
	}
	return appendInt(b, name, n)
}

// appendFloat appends a finite number, with an exponent if it is very small or large.
func appendFloat(b []byte, name string, f float64) []byte {
	b = appendName(b, name)
	size := math.Abs(f)
	if size == 0 || size >= 1e-6 && size < 1e21 {
		return append(strconv.AppendFloat(b, f, 'f', -1, 64), ',')
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); b[n-3] == '-' && b[n-2] == '0' { // e-09 is written as e-9
		b = append(b[:n-2], b[n-1])
	}
	return append(b, ',')
}

// appendQuoted appends a JSON string.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	begin := len(b)
	b = append(b, s...)
	if !plain(b[begin:]) {
		b = appendEscaped(b[:begin], s)
	}
	return append(b, '"')
}

// plain reports whether a text is ASCII without a byte that JSON escapes. It checks eight bytes at a time; the last eight may overlap.
func plain(s []byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for len(s) >= 8 {
		w := binary.LittleEndian.Uint64(s)
		quote, backslash := w^(ones*'"'), w^(ones*'\\')
		// The first byte that is not plain sets its high bit: the plain bytes below it do not borrow from it.
		if (w|(w-ones*' ')|(quote-ones)|(backslash-ones))&high != 0 {
			return false
		}
		if len(s) == 8 {
			return true
		}
		s = s[min(8, len(s)-8):]
	}
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendEscaped appends a text with the escapes of JSON. Invalid UTF-8 becomes U+FFFD; JavaScript requires escapes for U+2028 and U+2029.
func appendEscaped(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r < utf8.RuneSelf:
			b = append(b, byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
		case r == '\u2028' || r == '\u2029':
			b = append(b, '\\', 'u', '2', '0', '2', digits[r&15])
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			b = append(b, `\ufffd`...)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
