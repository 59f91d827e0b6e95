package read

import (
	"errors"
	"fmt"
)

// Cause is why a message or file is not a report, or cannot be read.
type Cause string

// The causes. All but NotReport are about something that could be a report.
const (
	NotReport Cause = "not_report"
	TooLarge  Cause = "too_large" // the message, the inflated report, or one element of it
	TooDeep   Cause = "too_deep"  // MIME parts, elements or objects
	TooMany   Cause = "too_many"  // MIME parts, records, policies or failures
	Members   Cause = "members"   // an archive that has not exactly one file
	Nested    Cause = "nested"    // an archive in an archive
	Doctype   Cause = "doctype"   // a document type declaration, which could define entities
	Malformed Cause = "malformed"
)

// Error is the error of Message and File. Errors of the reader that the caller passed are returned unchanged.
type Error struct {
	Cause  Cause
	Line   int    // of the XML document; 0: unknown
	Detail string // what is malformed or exceeded, in English; may be empty
}

func (e *Error) Error() string {
	text := e.text()
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Line > 0 {
		text = fmt.Sprintf("line %d: %s", e.Line, text)
	}
	return text
}

func (e *Error) text() string {
	switch e.Cause {
	case NotReport:
		return "not a report"
	case TooLarge:
		return "too large"
	case TooDeep:
		return "nested too deeply"
	case TooMany:
		return "too many"
	case Members:
		return "an archive must contain exactly one file"
	case Nested:
		return "an archive in an archive"
	case Doctype:
		return "a document type declaration is not accepted"
	}
	return "malformed"
}

// CauseOf returns the Cause of an error of Message or File, or "" if it is another error.
func CauseOf(err error) Cause {
	var e *Error
	if errors.As(err, &e) {
		return e.Cause
	}
	return ""
}

// notReport is the error for everything that does not look like a report.
func notReport() error { return &Error{Cause: NotReport} }

func malformed(detail string) error { return &Error{Cause: Malformed, Detail: detail} }
