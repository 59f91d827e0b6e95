package send

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
)

// Bounds on a delivery status notification. Those of Postfix have a few KiB: reports are sent with RET=HDRS.
const (
	maxParts  = 10
	maxGroups = 10 // recipients of one notification
	maxStatus = 16 << 10
)

// Failure parses a delivery status notification (RFC 3464). It returns the Status of the first recipient whose delivery has failed for
// good, such as 5.1.1. ok is false for any other message: a vacation reply, a warning about a delay, or a confirmation.
func Failure(message []byte) (status string, ok bool) {
	m, err := mail.ReadMessage(bytes.NewReader(message))
	if err != nil {
		return "", false
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || !strings.EqualFold(params["report-type"], "delivery-status") {
		return "", false
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for range maxParts {
		part, err := parts.NextRawPart()
		if err != nil {
			return "", false
		}
		kind, _, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err == nil && (kind == "message/delivery-status" || kind == "message/global-delivery-status") {
			return failed(io.LimitReader(part, maxStatus))
		}
	}
	return "", false
}

// failed returns the Status of the first group of fields with Action: failed and a Status 5.x.
func failed(r io.Reader) (status string, ok bool) {
	lines := textproto.NewReader(bufio.NewReader(r))
	for range maxGroups {
		fields, err := lines.ReadMIMEHeader()
		status, action := firstWord(fields.Get("Status")), firstWord(fields.Get("Action"))
		if strings.EqualFold(action, "failed") && strings.HasPrefix(status, "5.") {
			return status, true
		}
		if err != nil {
			return "", false
		}
	}
	return "", false
}

// firstWord returns the first word of a value: a comment may follow.
func firstWord(value string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(value), " ")
	return word
}
