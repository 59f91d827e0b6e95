package send

import (
	"strings"
	"testing"
)

// bounce returns a notification as Postfix writes it.
func bounce(action, status string) string {
	return strings.ReplaceAll(`From: MAILER-DAEMON@mx.a.test (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: r-abc@reports.b.test
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4XYZ.1/mx.a.test"

This is a MIME-encapsulated message.

--4XYZ.1/mx.a.test
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you. Action: failed Status: 5.1.1

--4XYZ.1/mx.a.test
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.a.test
X-Postfix-Queue-ID: 4XYZ
Arrival-Date: Tue,  1 Dec 2026 00:20:00 +0000 (UTC)

Final-Recipient: rfc822; d@a.test
Original-Recipient: rfc822;d@a.test
Action: `+action+`
Status: `+status+`
Diagnostic-Code: X-Postfix; unknown user: "d"

--4XYZ.1/mx.a.test--
`, "\n", "\r\n")
}

// Only a permanent failure suppresses an address.
func TestFailure(t *testing.T) {
	vacation := "From: d@a.test\r\nSubject: Away. Action: failed\r\nAuto-Submitted: auto-replied\r\nContent-Type: text/plain\r\n\r\nAction: failed\r\nStatus: 5.1.1\r\n"
	for _, c := range []struct{ name, message, want string }{
		{"unknown user", bounce("failed", "5.1.1"), "5.1.1"},
		{"mailbox full", bounce("Failed", "5.2.2 (mailbox full)"), "5.2.2"},
		{"LF line ends", strings.ReplaceAll(bounce("failed", "5.1.1"), "\r\n", "\n"), "5.1.1"},
		{"delayed", bounce("delayed", "4.4.1"), ""},
		{"delayed with a wrong status", bounce("delayed", "5.4.1"), ""},
		{"given up after a temporary failure", bounce("failed", "4.4.1"), ""},
		{"delivered", bounce("delivered", "2.0.0"), ""},
		{"vacation", vacation, ""},
		{"disposition notification", strings.Replace(bounce("failed", "5.1.1"), "report-type=delivery-status", "report-type=disposition-notification", 1), ""},
		{"not a report", strings.Replace(bounce("failed", "5.1.1"), "multipart/report", "multipart/mixed", 1), ""},
		{"cut", bounce("failed", "5.1.1")[:700], ""},
		{"empty", "", ""},
	} {
		if got, ok := Failure([]byte(c.message)); got != c.want || ok != (c.want != "") {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzFailure(f *testing.F) {
	for _, s := range []string{bounce("failed", "5.1.1"), bounce("delayed", "4.4.1"), ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if status, ok := Failure(message); ok != strings.HasPrefix(status, "5.") || strings.ContainsAny(status, " \r\n") {
			t.Errorf("status %q, ok %v", status, ok)
		}
	})
}
