package read

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// values reads the values of a JSON text. The first error ends all loops.
type values struct {
	d     *json.Decoder
	in    *limited
	depth int
	err   error
}

func newValues(r io.Reader) *values {
	in := &limited{r: r, what: "a value"}
	d := json.NewDecoder(in)
	d.UseNumber()
	return &values{d: d, in: in}
}

// token returns the next token, or nil after an error. A null is nil too.
func (v *values) token() json.Token {
	if v.err != nil {
		return nil
	}
	v.in.left = maxToken
	t, err := v.d.Token()
	if err != nil {
		v.err = err
		if known := (*Error)(nil); !errors.As(err, &known) {
			v.err = malformed("not valid JSON")
		}
		return nil
	}
	switch t {
	case json.Delim('{'), json.Delim('['):
		if v.depth++; v.depth > maxDepth {
			v.fail(TooDeep, "values")
			return nil
		}
	case json.Delim('}'), json.Delim(']'):
		v.depth--
	}
	return t
}

func (v *values) fail(cause Cause, detail string) {
	if v.err == nil {
		v.err = &Error{Cause: cause, Detail: detail}
	}
}

// members calls f with each key, in lower case, and the first token of the value of an object. f reads the rest of the value. t is the first
// token of the object. Another value is skipped.
func (v *values) members(t json.Token, f func(key string, t json.Token)) {
	if t != json.Delim('{') {
		v.skip(t)
		return
	}
	for v.err == nil {
		key, ok := v.token().(string)
		if !ok {
			return // the end of the object
		}
		t := v.token()
		if v.err == nil {
			f(strings.ToLower(key), t)
		}
	}
}

// items calls f with the first token of each value of an array. A value that is not an array is passed to f, unless it is null.
func (v *values) items(t json.Token, f func(t json.Token)) {
	if t != json.Delim('[') {
		if t != nil {
			f(t)
		}
		return
	}
	for v.err == nil {
		t := v.token()
		if v.err != nil || t == json.Delim(']') {
			return
		}
		f(t)
	}
}

// text returns a string, number or boolean as text. t is the first token of the value. An object or array is skipped.
func (v *values) text(t json.Token) string {
	switch t := t.(type) {
	case nil:
		return ""
	case json.Delim:
		v.skip(t)
		return ""
	default:
		return fmt.Sprint(t)
	}
}

// skip reads the rest of a value.
func (v *values) skip(t json.Token) {
	if t != json.Delim('{') && t != json.Delim('[') {
		return
	}
	for depth := v.depth; v.err == nil && v.depth >= depth; {
		v.token()
	}
}
