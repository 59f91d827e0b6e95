package read

import (
	"encoding/base64"
	"strings"
	"testing"
)

// The report is found by its content in any part, and other mail is not a report.
func TestMessageStructure(t *testing.T) {
	report := start + record + end
	mixed := func(parts ...string) string {
		return "Subject: x\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\npreamble\r\n--b\r\n" + strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\n"
	}
	text := "Content-Type: text/plain\r\n\r\n<not a report>"
	encoded := base64.StdEncoding.EncodeToString(gzipped(t, strings.NewReader(report)))
	part := "Content-Type: image/png\r\nContent-Transfer-Encoding: BASE64\r\n\r\n" + encoded
	broken := "Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded[:len(encoded)-60]
	for _, c := range []struct {
		name, message string
		want          Cause // "": it is read
	}{
		{"single part", "Subject: x\r\n\r\n" + report, ""},
		{"a wrong type", mixed(text, part), ""},
		{"nested", mixed(text, "Content-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nhello\r\n--c\r\n"+part+"\r\n--c--"), ""},
		{"a broken report and a good one", mixed(broken, part), ""},
		{"JSON that is no report and a report", mixed("\r\n{\"a\": [1]}", part), ""},
		{"HTML and a report", mixed("Content-Type: text/html\r\n\r\n<!DOCTYPE html><html><p>see & read<br></html>", part), ""},
		{"a broken report", mixed(text, broken, text), Malformed},
		{"a truncated report", "Subject: x\r\n\r\n" + report[:len(report)-30], Malformed},
		{"a wrong end tag", "Subject: x\r\n\r\n" + strings.Replace(report, "</policy_published>", "<a></b></policy_published>", 1), Malformed},
		{"a missing end tag", "Subject: x\r\n\r\n" + strings.Replace(report, "</record>", "", 1), Malformed},
		{"a report without dates", "Subject: x\r\n\r\n" + strings.ReplaceAll(report, "date_range", "x"), Malformed},
		{"a report of year 0", "Subject: x\r\n\r\n" + strings.ReplaceAll(report, "1764460800", "0000-01-01"), ""}, // the end remains
		{"a report without a domain", "Subject: x\r\n\r\n" + strings.ReplaceAll(report, "example.com", "a b"), Malformed},
		{"a TLS report without policies", "Subject: x\r\n\r\n" + startTLS + endTLS, Malformed},
		{"a truncated TLS report", "Subject: x\r\n\r\n" + startTLS + policy, Malformed},
		{"other mail", mixed(text, "Content-Type: text/html\r\n\r\n<!DOCTYPE html><html><p>hello</html>"), NotReport},
		{"other XML", mixed("Content-Type: text/xml\r\n\r\n<?xml version='1.0'?><invoice/>"), NotReport},
		{"broken XML", mixed("Content-Type: text/xml\r\n\r\n<invoice"), NotReport},
		{"other JSON", mixed("Content-Type: application/json\r\n\r\n{\"a\": 1}"), NotReport},
		{"broken JSON", mixed("Content-Type: application/json\r\n\r\n{a"), NotReport},
		{"a bounce of a report", strings.Replace(mixed(text, "Content-Type: message/delivery-status\r\n\r\nAction: failed", "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n"+report),
			"multipart/mixed", "multipart/report; report-type=delivery-status", 1), NotReport},
		{"no header", report, NotReport},
		{"no boundary", "Content-Type: multipart/mixed\r\n\r\n" + report, NotReport},
		{"nothing", "", NotReport},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Message(strings.NewReader(c.message))
			if got := CauseOf(err); got != c.want || err == nil && (r.Domain != "example.com" || r.ID != "1") {
				t.Errorf("%v %+v", err, r)
			}
		})
	}
}

// An error of the text states its line.
func TestErrorLine(t *testing.T) {
	_, err := File(strings.NewReader(start + "\n<record>\n<row <\n" + end))
	if err == nil || err.Error() != "line 3: malformed: not well-formed XML" {
		t.Error(err)
	}
}
