package filter

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"signpost/internal/decision"
	"signpost/milter"
)

// Only mail with the null sender to a bounce address is passed on.
func TestBounces(t *testing.T) {
	const domain, text = "reports.example.org", "text\r\n"
	for _, c := range []struct {
		name, sender, recipient, body string
		observe, want                 bool
	}{
		{name: "bounce", recipient: "r-abc@reports.example.org", body: text, want: true},
		{name: "upper case", recipient: "R-ABC@Reports.Example.org", body: text, want: true},
		{name: "observe mode", recipient: "r-abc@reports.example.org", body: text, observe: true, want: true},
		{name: "a sender", sender: "a@example.com", recipient: "r-abc@reports.example.org", body: text},
		{name: "another domain", recipient: "r-abc@example.org", body: text},
		{name: "too large", recipient: "r-abc@reports.example.org", body: strings.Repeat(text, 200)},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFilter(t, "")
			f.Observe = c.observe
			var recipient, message string
			f.Bounces = &Bounces{Domain: domain, MaxSize: 1000, Received: func(r string, m []byte) { recipient, message = r, string(m) }}
			m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{Sender: c.sender})
			m.Recipient([]byte(c.recipient))
			m.Header("From", " MAILER-DAEMON@mx.example.com")
			m.Header("Subject", " Undelivered")
			m.EndHeaders("Q")
			m.Body([]byte(c.body))
			if _, reply := m.Finish(t.Context()); reply.Code != 0 {
				t.Errorf("reply %+v", reply)
			}
			if got := recipient == c.recipient && message == "From: MAILER-DAEMON@mx.example.com\r\nSubject: Undelivered\r\n\r\n"+c.body; got != c.want || !c.want && message != "" {
				t.Errorf("%q: %q", recipient, message)
			}
		})
	}
}

// Bounces often fail DMARC. They are accepted and passed on. The MAC in the address protects against forgeries.
func TestUnauthenticatedBounce(t *testing.T) {
	for to, want := range map[string]bool{"r-abc@reports.example.org": true, "r-abc@reports.example.org ann@example.org": false, "dmarc@reports.example.org": false} {
		f := newFilter(t, "_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\n")
		received := false
		f.Bounces = &Bounces{Domain: "reports.example.org", MaxSize: 1000, Received: func(string, []byte) { received = true }}
		m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{})
		for r := range strings.FieldsSeq(to) {
			m.Recipient([]byte(r))
		}
		m.Header("From", " MAILER-DAEMON@example.com")
		m.EndHeaders("Q")
		if _, reply := m.Finish(t.Context()); received != want || (reply.Code == 0) != want {
			t.Errorf("%q: reply %+v, passed on: %v", to, reply, received)
		}
	}
}

// The record states whether all recipients are bounce addresses, and whether all are addresses of our reports.
func TestToReports(t *testing.T) {
	for to, want := range map[string]struct{ bounces, reports bool }{
		"r-abc@reports.example.org":                           {true, true},
		"R-A2@Reports.Example.org":                            {true, true},
		"dmarc@reports.example.org":                           {false, true},
		"Postmaster@Example.org":                              {false, true},
		"r-abc@reports.example.org dmarc@reports.example.org": {false, true},
		"dmarc@reports.example.org ann@example.org":           {},
		"r-a1@reports.example.org":                            {},
		"r-@reports.example.org":                              {},
		"r-abc@reports.example.org ann@example.org":           {},
		"ann@example.org":                                     {},
		"":                                                    {},
		strings.Repeat("dmarc@reports.example.org ", maxRecipients) + "ann@example.org": {},
	} {
		f := newFilter(t, "")
		var got *decision.Record
		f.Finished = func(r *decision.Record) { got = r }
		f.Bounces = &Bounces{Domain: "reports.example.org", Others: []string{"dmarc@reports.example.org", "postmaster@example.org"}, MaxSize: 1000, Received: func(string, []byte) {}}
		m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{Sender: "a@example.com"})
		for r := range strings.FieldsSeq(to) {
			m.Recipient([]byte(r))
		}
		m.Header("From", " a@example.com")
		m.EndHeaders("Q")
		m.Finish(t.Context())
		if got.ToReports != want.bounces || got.ReportMail != want.reports {
			t.Errorf("%q: %v %v", to, got.ToReports, got.ReportMail)
		}
	}
}

// Mail to bounce addresses and to other recipients is verified, even if there are more recipients than are recorded, or an address is so
// long that only its beginning is recorded. A forger could otherwise evade a policy.
func TestBouncesHideNoRecipient(t *testing.T) {
	const bounce = "r-abc@reports.example.org"
	many := slices.Repeat([]string{bounce}, maxRecipients)
	long := "r-" + strings.Repeat("a", maxAddress-len("r-@reports.example.org")) + "@reports.example.org"
	for name, c := range map[string]struct {
		to     []string
		bypass bool
	}{
		"most recorded": {many, true},
		"one more":      {append(slices.Clone(many), "ann@example.org"), false},
		"cut":           {[]string{long + "@example.net"}, false},
	} {
		f := newFilter(t, "_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\n")
		f.Bounces = &Bounces{Domain: "reports.example.org", MaxSize: 1000, Received: func(string, []byte) {}}
		m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{})
		for _, r := range c.to {
			m.Recipient([]byte(r))
		}
		m.Header("From", " ceo@example.com")
		m.EndHeaders("Q")
		if _, reply := m.Finish(t.Context()); (reply.Code == 0) != c.bypass {
			t.Errorf("%s: reply %+v", name, reply)
		}
	}
}
