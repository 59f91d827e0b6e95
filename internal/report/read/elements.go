package read

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// elements reads the elements of an XML document. The first error ends all loops.
type elements struct {
	d    *xml.Decoder
	in   *limited
	open []xml.Name // the elements that are not closed
	read bool       // the current element was read to its end
	err  error
}

func newElements(r io.Reader) *elements {
	in := &limited{r: r, what: "an element"}
	d := xml.NewDecoder(in)
	d.Strict = false // entities that are not defined and "&" are text
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	return &elements{d: d, in: in}
}

// token returns the next token, or nil after an error. It checks end tags itself: a decoder that is not strict adds missing ones, and would
// end a report before its last record.
func (e *elements) token() xml.Token {
	if e.err != nil {
		return nil
	}
	e.in.left = maxToken
	t, err := e.d.RawToken()
	if err != nil {
		e.err = err
		if known := (*Error)(nil); !errors.As(err, &known) {
			e.err = e.fail(Malformed, "not well-formed XML")
		}
		return nil
	}
	switch t := t.(type) {
	case xml.StartElement:
		if len(e.open) == maxDepth {
			e.err = e.fail(TooDeep, "elements")
			return nil
		}
		e.open = append(e.open, t.Name)
	case xml.EndElement:
		last := len(e.open) - 1
		if last < 0 || e.open[last] != t.Name {
			e.err = e.fail(Malformed, "not well-formed XML")
			return nil
		}
		e.open = e.open[:last]
	}
	return t
}

func (e *elements) fail(cause Cause, detail string) error {
	line, _ := e.d.InputPos()
	return &Error{Cause: cause, Line: line, Detail: detail}
}

// each calls f with the name of each element in the current element, in lower case. What f does not read is skipped.
func (e *elements) each(f func(element string)) {
	for {
		switch t := e.token().(type) {
		case nil:
			return
		case xml.StartElement:
			e.read = false
			f(strings.ToLower(t.Name.Local))
			if !e.read {
				e.text()
			}
		case xml.EndElement:
			e.read = true
			return
		case xml.Directive:
			e.err = e.fail(Doctype, "")
		}
	}
}

// text returns the text of the current element, without that of elements in it, and reads it to its end.
func (e *elements) text() string {
	var b strings.Builder
	for depth := len(e.open); ; {
		switch t := e.token().(type) {
		case nil:
			return ""
		case xml.CharData:
			if len(e.open) == depth && b.Len() < maxToken {
				b.Write(t)
			}
		case xml.EndElement:
			if len(e.open) < depth {
				e.read = true
				return b.String()
			}
		case xml.Directive:
			e.err = e.fail(Doctype, "")
		}
	}
}
