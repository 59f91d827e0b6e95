package read

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
)

// Bounds on the parts of a message that Recognize looks at. A report has one to three parts.
const (
	recognizedParts = 50
	recognizedDepth = 4
)

// Possible reports whether a message whose header has these two fields may be a report. No report is plain text or HTML alone.
func Possible(contentType, disposition string) bool {
	h := textproto.MIMEHeader{"Content-Type": {contentType}, "Content-Disposition": {disposition}}
	kind, _, err := parseField(contentType)
	return strings.HasPrefix(kind, "multipart/") || err != nil && strings.HasPrefix(strings.ToLower(strings.TrimSpace(contentType)), "multipart/") ||
		mayBeReport(typeOf(h), fileName(h))
}

// Recognize looks at the form of a message, not at the contents of its parts. kind is the kind of a report, or empty if the form leaves a
// doubt: it is only set for messages that a program sent as a report. possible is false if no part can be a report.
func Recognize(message io.Reader) (kind Kind, possible bool) {
	m, err := mail.ReadMessage(bufio.NewReader(message))
	if err != nil {
		return "", true
	}
	r := recognizer{parts: recognizedParts}
	if err := r.entity(textproto.MIMEHeader(m.Header), m.Body, recognizedDepth); err != nil {
		return "", true // a reader may be more tolerant
	}
	// A person who forwards a report does not write this subject, which RFC 7489 and RFC 9990 require.
	var words mime.WordDecoder
	subject, err := words.DecodeHeader(m.Header.Get("Subject"))
	if err != nil || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(subject)), "report domain:") {
		r.kind = ""
	}
	return r.kind, r.possible
}

type recognizer struct {
	parts    int // that may still be read
	kind     Kind
	possible bool
}

// entity reads a message or a part with its header.
func (r *recognizer) entity(h textproto.MIMEHeader, body io.Reader, depth int) error {
	if r.parts--; r.parts < 0 || depth == 0 {
		return errors.New("too many parts")
	}
	kind, params, err := parseField(h.Get("Content-Type"))
	if strings.HasPrefix(kind, "multipart/") {
		if err != nil {
			return err
		}
		if kind == "multipart/report" && strings.EqualFold(params["report-type"], "feedback-report") {
			r.found(Failure)
		}
		for parts := multipart.NewReader(body, params["boundary"]); ; {
			part, err := parts.NextRawPart()
			if err == io.EOF { // an error that wraps io.EOF means that the last boundary is missing
				return nil
			}
			if err != nil {
				return err
			}
			if err := r.entity(part.Header, part, depth-1); err != nil {
				return err
			}
		}
	}
	media, name := typeOf(h), fileName(h)
	switch {
	case media == "message/feedback-report":
		r.found(Failure)
	case slices.Contains(tlsTypes(), media):
		r.found(TLS)
	case aggregateName().MatchString(name):
		r.found(Aggregate)
	case mayBeReport(media, name):
		r.possible = true
	}
	return nil
}

// found notes the kind of a part. A message with parts of two kinds is in doubt.
func (r *recognizer) found(k Kind) {
	if r.possible && r.kind != k {
		k = ""
	}
	r.kind, r.possible = k, true
}

// aggregateName matches the file name of an aggregate report: RECEIVER!DOMAIN!BEGIN!END, with the types that reporters use.
func aggregateName() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^[^!/\s]+![^!/\s]+!\d+!\d+(![^!/\s]*)?\.(xml|xml\.gz|xml\.zip|gz|zip)$`)
}

// tlsTypes returns the media types of TLS reports.
func tlsTypes() []string { return []string{"application/tlsrpt+json", "application/tlsrpt+gzip"} }

// mayBeReport reports whether a part may be a report or a compressed report.
func mayBeReport(media, name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(append(tlsTypes(), "message/feedback-report", "application/gzip", "application/x-gzip", "application/zip", "application/x-zip",
		"application/x-zip-compressed", "application/octet-stream", "application/xml", "text/xml", "application/json"), media) ||
		slices.ContainsFunc([]string{".xml", ".json", ".gz", ".zip"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// typeOf returns the media type in lower case. If its parameters cannot be read, it ignores them.
func typeOf(h textproto.MIMEHeader) string {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// fileName returns the name of a part: filename of Content-Disposition or name of Content-Type.
func fileName(h textproto.MIMEHeader) string {
	var words mime.WordDecoder
	for _, field := range [...]struct{ name, param string }{{"Content-Disposition", "filename"}, {"Content-Type", "name"}} {
		_, params, _ := parseField(h.Get(field.name))
		if name, err := words.DecodeHeader(params[field.param]); err == nil && name != "" {
			return name
		}
	}
	return ""
}
