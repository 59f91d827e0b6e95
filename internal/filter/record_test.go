package filter

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"signpost/internal/decision"
	"signpost/milter"
	"signpost/policy"
)

// Finished gets the record of each message. Its lookups are not converted yet, and its recipients are limited in number.
func TestFinished(t *testing.T) {
	f := newFilter(t, "example.com. TXT \"v=spf1 -all\"\n")
	var got *decision.Record
	f.Finished = func(r *decision.Record) { got = r }
	session := milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}
	m := f.Begin(t.Context(), session, milter.Envelope{Sender: "a@example.com"})
	for range maxRecipients + 1 {
		m.Recipient([]byte(strings.Repeat("b", 2*maxAddress)))
	}
	m.Header("From", " a@example.com")
	m.EndHeaders("Q")
	m.Finish(t.Context())
	if got == nil || len(got.Answered.Lookups()) == 0 || got.SPF.Status != "fail" || got.Action != policy.Accept || got.Role != policy.RoleVerify || got.Code != policy.DMARCNone {
		t.Fatalf("%+v", got)
	}
	if e := got.Envelope; e.Addressees != maxRecipients+1 || len(e.Recipients) != maxRecipients || len(e.Recipients[0]) != maxAddress {
		t.Errorf("%d recipients, of %d", len(e.Recipients), e.Addressees)
	}
}

// If the handling of a message failed, the message still has a record and a log line, both with its action.
func TestBrokenIsRecorded(t *testing.T) {
	f := newFilter(t, "")
	var log bytes.Buffer
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	var all []*decision.Record
	f.Finished = func(r *decision.Record) { all = append(all, r) }
	envelope := milter.Envelope{Sender: "a@example.com", QueueID: "Q1"}
	f.Broken(milter.Session{SMTP: true}, envelope)
	f.Broken(milter.Session{}, milter.Envelope{})
	f.Observe = true
	f.Broken(milter.Session{SMTP: true}, envelope)
	if len(all) != 3 || all[0].Action != policy.Tempfail || all[0].Reply.Enhanced != "4.3.0" || all[1].Action != policy.Accept || !all[2].Observe || all[2].Action != policy.Accept || all[2].Would != policy.Tempfail {
		t.Fatalf("%+v", all)
	}
	if r := all[0]; r.QueueID != "Q1" || r.Sender != "a@example.com" || r.Code != policy.InternalError {
		t.Errorf("%+v", r)
	}
	lines := strings.SplitAfter(log.String(), "\n")
	for i, want := range []string{
		"level=WARN msg=message queue_id=Q1 client=unknown action=tempfail code=internal_error mail_from=a@example.com ",
		"level=INFO msg=message client=unknown action=accept code=internal_error mail_from=\"\" ",
		"level=WARN msg=message queue_id=Q1 client=unknown action=accept would=tempfail code=internal_error mail_from=a@example.com ",
	} {
		if len(lines) != 4 || !strings.Contains(lines[i], want) || !strings.Contains(lines[i], " reason=\"internal error: see the log\" ") {
			t.Errorf("the log has %q, not %q", lines, want)
		}
	}
	if !strings.Contains(lines[0], " reply=\"451 4.3.0\" ") {
		t.Error(lines[0])
	}
}
