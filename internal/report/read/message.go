package read

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
)

// Bounds on a message. They are those of docs/reports.md.
const (
	maxMessage = 10 << 20 // bytes
	maxHeader  = 1 << 20  // bytes of its header
	maxField   = 8 << 10  // bytes of a field of which the parameters are read
	maxDepth   = 16       // of MIME parts, XML elements and JSON values
	maxParts   = 100      // MIME parts
)

// Message reads the report in a message. It is in any MIME part, of any type: the content decides. The first report counts. The parts of an
// enclosed message (message/rfc822) are not searched: its sender was not verified.
//
// The error is an *Error, or an error of r.
func Message(r io.Reader) (*Report, error) {
	in := &failing{r: r}
	report, err := message(&limited{in, maxHeader, "the header"})
	if in.err != nil {
		return nil, in.err
	}
	return report, err
}

// message reads a message, of which in passes the header.
func message(in *limited) (*Report, error) {
	m, err := mail.ReadMessage(in)
	if err != nil {
		return nil, typed(err, NotReport)
	}
	in.left, in.what = in.left+maxMessage-maxHeader+1, "the message"
	s := search{}
	report, err := s.part(m.Header.Get, m.Body, 1)
	if err != nil {
		return nil, err
	}
	if report.Contact == "" && report.Kind != Failure {
		report.Contact = text(m.Header.Get("From"))
	}
	return report, nil
}

// failing is a reader that remembers its error, which is not one of the report.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// limited is a reader that fails after left bytes.
type limited struct {
	r    io.Reader
	left int64
	what string
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, &Error{Cause: TooLarge, Detail: l.what}
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// typed returns err as an *Error. An error of another type has the given cause.
func typed(err error, cause Cause) error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return &Error{Cause: cause}
}

// search is the search for the report in a message.
type search struct{ parts int }

// part reads the report in a MIME part. If the part has no report, but parts that cannot be read, the first error is returned.
func (s *search) part(header func(string) string, body io.Reader, depth int) (*Report, error) {
	if s.parts++; s.parts > maxParts {
		return nil, &Error{Cause: TooMany, Detail: "MIME parts"}
	}
	kind, params := contentType(header("Content-Type"))
	switch {
	case kind == "message/feedback-report", kind == "multipart/report" && strings.EqualFold(params["report-type"], "feedback-report"):
		return &Report{Kind: Failure}, nil
	case strings.HasPrefix(kind, "message/"):
		return nil, notReport()
	case !strings.HasPrefix(kind, "multipart/"):
		return file(transfer(header("Content-Transfer-Encoding"), body))
	case depth == maxDepth:
		return nil, &Error{Cause: TooDeep, Detail: "MIME parts"}
	}
	first := notReport()
	parts := multipart.NewReader(body, params["boundary"])
	for {
		p, err := parts.NextRawPart()
		if err != nil {
			if CauseOf(err) != "" {
				return nil, typed(err, Malformed)
			}
			return nil, first
		}
		report, err := s.part(p.Header.Get, unterminated{p}, depth+1)
		switch {
		case err == nil:
			return report, nil
		case s.parts > maxParts:
			return nil, err
		case CauseOf(first) == NotReport:
			first = err
		}
	}
}

// unterminated is a reader of a MIME part. The boundary after the last part may be missing.
type unterminated struct{ io.Reader }

func (u unterminated) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

// contentType is like mime.ParseMediaType, but does not fail: reporters repeat parameters or do not quote them.
func contentType(field string) (kind string, params map[string]string) {
	if kind, params, err := parseField(field); err == nil {
		return kind, params
	}
	kind, rest, _ := strings.Cut(field, ";")
	params = map[string]string{}
	if len(field) <= maxField {
		for param := range strings.SplitSeq(rest, ";") {
			name, value, _ := strings.Cut(param, "=")
			params[strings.ToLower(strings.TrimSpace(name))] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return strings.ToLower(strings.TrimSpace(kind)), params
}

// parseField is mime.ParseMediaType for a field of at most maxField bytes. A million parameters would take more memory than the message.
func parseField(field string) (kind string, params map[string]string, err error) {
	if len(field) > maxField {
		return "", nil, &Error{Cause: TooLarge, Detail: "a header field"}
	}
	return mime.ParseMediaType(field)
}

// transfer decodes a Content-Transfer-Encoding.
func transfer(name string, r io.Reader) io.Reader {
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "base64":
		return base64.NewDecoder(base64.RawStdEncoding, &alphabet{r: bufio.NewReader(r)})
	case "quoted-printable":
		return quotedprintable.NewReader(r)
	}
	return r
}

// alphabet is a reader of the characters of base64. It skips others, as RFC 2045 section 6.8 requires, and ends at the padding, which may
// therefore be missing.
type alphabet struct {
	r     *bufio.Reader
	ended bool
}

func (a *alphabet) Read(p []byte) (n int, err error) {
	for n < len(p) && !a.ended {
		c, err := a.r.ReadByte()
		if err != nil {
			return n, err
		}
		switch {
		case c == '=':
			a.ended = true
		case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/':
			p[n] = c
			n++
		}
	}
	if n == 0 && a.ended {
		return 0, io.EOF
	}
	return n, nil
}
