package filter

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/report/read"
	"signpost/internal/spool"
	"signpost/milter"
	"signpost/policy"
)

const (
	aggregateHeader = " application/gzip; name=\"receiver.example!example.org!1700000000!1700086399.xml.gz\""
	tlsHeader       = " multipart/report; report-type=tlsrpt; boundary=b"
	tlsBody         = "--b\r\nContent-Type: text/plain\r\n\r\nReport\r\n--b\r\nContent-Type: application/tlsrpt+gzip\r\n\r\nx\r\n--b--\r\n"
)

// letter is a message to report addresses.
type letter struct {
	to            string // separated by spaces
	subject, kind string // Content-Type
	body          string
	unsigned      bool
	client        string
}

func (l letter) ordinary(t *testing.T, key ed25519.PrivateKey) ordinary {
	o := ordinaryMessage("dmarc@example.com")
	for i := range o.fields {
		switch o.fields[i].Name {
		case "Subject":
			o.fields[i].Value = " " + l.subject
		case "Content-Type":
			o.fields[i].Value = l.kind
		}
	}
	o.envelope.Sender = "bounce@elsewhere.example"
	o.session.Client = netip.MustParseAddr("203.0.113.9")
	if l.client != "" {
		o.session.Client, o.envelope.Sender = netip.MustParseAddr(l.client), "ann@example.com"
	}
	o.body = []byte(l.body)
	if !l.unsigned {
		o = o.signed(t, "example.com", key)
	}
	return o
}

// deliver passes the message to the filter.
func (l letter) deliver(ctx context.Context, f *Filter, o ordinary) (milter.Edits, milter.Reply) {
	m := f.Begin(ctx, o.session, o.envelope)
	for to := range strings.FieldsSeq(l.to) {
		m.Recipient([]byte(to))
	}
	for _, field := range o.fields {
		m.Header(field.Name, field.Value)
	}
	m.EndHeaders("4ZzXyW1234z9s")
	for part := range slices.Chunk(o.body, 64<<10) {
		m.Body(part)
	}
	return m.Finish(ctx)
}

// receiving returns a filter that keeps reports, its spool, and the records of its messages.
func receiving(t *testing.T, zone string, limits spool.Limits) (*Filter, spool.Dir, func() *decision.Record) {
	f := newFilter(t, zone)
	dir := spool.Dir{Path: t.TempDir(), Limits: limits}
	f.Reports = &Reports{Addresses: []string{"dmarc@example.org", "tls+rpt@example.org"}, Delimiter: "+-", Create: spool.NewIntake(dir).Create, Lost: func(error) {}}
	var last *decision.Record
	f.Finished = func(r *decision.Record) { last = r }
	return f, dir, func() *decision.Record { return last }
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A report is kept if its reporter is authenticated. It is discarded only if the administrator wants it, nobody else gets it, and a program
// sent it as a report. Other mail to the address is treated like all mail.
func TestReports(t *testing.T) {
	const subject = "Report domain: example.org Submitter: receiver.example Report-ID: 1"
	const to = "dmarc@example.org"
	key := newKey(t)
	none := strings.Replace(zoneFor(t, key), "p=reject", "p=none", 1)
	tlsrpt := strings.Replace(none, "v=DKIM1; ", "v=DKIM1; s=tlsrpt; ", 1)
	report := letter{to: to, subject: subject, kind: aggregateHeader, body: "x\r\n"}
	with := func(change func(*letter)) letter { l := report; change(&l); return l }
	tls := with(func(l *letter) { l.kind, l.body = tlsHeader, tlsBody })
	type want = policy.ReceivedReport
	aggregate := &want{Copy: policy.ReportKept, Kind: policy.AggregateReport, Reporter: "example.com", TLSReporter: "example.com", OnlyReportAddresses: true}
	changed := func(change func(*want)) *want { w := *aggregate; change(&w); return &w }
	for name, c := range map[string]struct {
		zone      string
		letter    letter
		observe   bool
		want      *policy.ReceivedReport
		discarded bool // if reports.receive.discard is true
	}{
		"report":            {letter: report, want: aggregate, discarded: true},
		"extension, case":   {letter: with(func(l *letter) { l.to = "DMARC+x-y@Example.ORG tls+RPT@example.org" }), want: aggregate, discarded: true},
		"quoted":            {letter: with(func(l *letter) { l.to = `"dmarc"@example.org` }), want: aggregate, discarded: true},
		"observe mode":      {letter: report, observe: true, want: aggregate},
		"another recipient": {letter: with(func(l *letter) { l.to += " ann@example.org" }), want: changed(func(w *want) { w.OnlyReportAddresses = false })},
		"a recipient that is not recorded": {letter: with(func(l *letter) { l.to = strings.Repeat(to+" ", maxRecipients) + "ann@example.org" }),
			want: changed(func(w *want) { w.OnlyReportAddresses = false })},
		"another address":   {letter: with(func(l *letter) { l.to = "tls@example.org" })},
		"forged":            {letter: with(func(l *letter) { l.unsigned = true })},
		"forged, p=none":    {zone: none, letter: with(func(l *letter) { l.unsigned = true }), want: &want{Copy: policy.ReportUnauthenticated, OnlyReportAddresses: true}},
		"SPF only":          {letter: with(func(l *letter) { l.unsigned, l.client = true, "192.0.2.25" }), want: changed(func(w *want) { w.TLSReporter = "" }), discarded: true},
		"text":              {letter: with(func(l *letter) { l.kind = " text/plain" })},
		"no Content-Type":   {letter: with(func(l *letter) { l.kind = "" })},
		"without a report":  {letter: with(func(l *letter) { l.kind, l.body = " multipart/mixed; boundary=b", "--b\r\n\r\ntext\r\n--b--\r\n" })},
		"sent by a person":  {letter: with(func(l *letter) { l.subject = "Fwd: " + subject }), want: changed(func(w *want) { w.Kind = "" })},
		"TLS report":        {letter: tls, want: changed(func(w *want) { w.Kind = policy.TLSReport }), discarded: true},
		"TLS report, key":   {zone: tlsrpt, letter: tls, want: changed(func(w *want) { w.Kind, w.Reporter = policy.TLSReport, "" }), discarded: true},
		"key for TLS alone": {zone: tlsrpt, letter: report, want: changed(func(w *want) { w.Copy, w.Reporter = policy.ReportUnauthenticated, "" })},
		"failure report": {letter: with(func(l *letter) {
			l.kind, l.body = " multipart/report; report-type=feedback-report; boundary=b", "--b--\r\n"
		}),
			want: changed(func(w *want) { w.Kind = policy.FailureReport })},
		"no DMARC record":      {zone: strings.Replace(none, "_dmarc.", "_x.", 1), letter: report, want: changed(func(w *want) { w.Copy, w.Reporter = policy.ReportUnauthenticated, "" })},
		"TLS, no DMARC record": {zone: strings.Replace(none, "_dmarc.", "_x.", 1), letter: tls, want: changed(func(w *want) { w.Kind, w.Reporter = policy.TLSReport, "" }), discarded: true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, discard := range []bool{false, true} {
				if c.zone == "" {
					c.zone = zoneFor(t, key)
				}
				f, dir, last := receiving(t, c.zone, spool.Reports())
				f.Observe, f.Rules.DiscardReports = c.observe, discard
				o := c.letter.ordinary(t, key)
				edits, reply := c.letter.deliver(t.Context(), f, o)
				if edits.Discard != (discard && c.discarded) || edits.Discard && (len(edits.Insert) > 0 || last().Code != policy.ReportReceived || last().Action != policy.Discard) {
					t.Errorf("discard = %v: %+v %+v", discard, edits, last().Verdict)
				}
				if got := last().Report; got == nil != (c.want == nil) || got != nil && *got != *c.want {
					t.Errorf("%+v, want %+v (%+v)", got, c.want, last().DKIM)
				}
				if refused := name == "forged"; refused != (reply.Code != 0) {
					t.Errorf("reply %+v", reply)
				}
				n := 0
				if err := dir.Each(func(file []byte) error { n++; sameMessage(t, file, o, c.want); return nil }); err != nil {
					t.Error(err)
				}
				if kept := c.want != nil && c.want.Copy == policy.ReportKept; kept != (n == 1) {
					t.Errorf("%d copies", n)
				}
				if names, err := os.ReadDir(dir.Path); err != nil || len(names) > 0 {
					t.Errorf("left: %v, %v", names, err)
				}
			}
		})
	}
}

// sameMessage checks a file of the spool.
func sameMessage(t *testing.T, file []byte, o ordinary, want *policy.ReceivedReport) {
	t.Helper()
	line, message, _ := bytes.Cut(file, []byte("\n"))
	var a read.Arrived
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatal(err)
	}
	if a.QueueID != "4ZzXyW1234z9s" || a.Recipient != "dmarc@example.org" || a.Reporter != want.Reporter || a.TLSReporter != want.TLSReporter || time.Since(a.Received) > time.Minute {
		t.Errorf("%+v", a)
	}
	var text strings.Builder
	for _, f := range o.fields {
		text.WriteString(f.Name + ":" + strings.ReplaceAll(f.Value, "\n", "\r\n") + "\r\n")
	}
	if want := text.String() + "\r\n" + string(o.body); string(message) != want {
		t.Errorf("%q, want %q", message, want)
	}
}

// At a limit, and after an error, the message is delivered, although discard is true.
func TestReportLimits(t *testing.T) {
	key := newKey(t)
	l := letter{to: "dmarc@example.org", subject: "Report domain: example.org", kind: aggregateHeader, body: strings.Repeat("0123456789\r\n", 10_000)}
	for name, c := range map[string]struct {
		limits spool.Limits
		err    error // of Create
		want   policy.ReportCopy
	}{
		"too large":  {limits: spool.Limits{Message: spool.Head + 50_000, Total: 1 << 20, Files: 10, Open: 1}, want: policy.ReportTooLarge},
		"no slot":    {limits: spool.Limits{Message: 1 << 20, Total: 1 << 30, Files: 10}, want: policy.ReportOverLimit},
		"no space":   {limits: spool.Limits{Message: 1 << 20, Total: 1 << 19, Files: 10, Open: 1}, want: policy.ReportOverLimit},
		"files":      {limits: spool.Limits{Message: 1 << 20, Total: 1 << 30, Open: 1}, want: policy.ReportOverLimit},
		"disk error": {limits: spool.Reports(), err: errors.New("no space left on device"), want: policy.ReportFailed},
	} {
		f, dir, last := receiving(t, zoneFor(t, key), c.limits)
		f.Rules.DiscardReports = true
		if c.err != nil {
			f.Reports.Create = func() (*spool.Draft, error) { return nil, c.err }
		}
		lost := 0
		f.Reports.Lost = func(error) { lost++ }
		edits, reply := l.deliver(t.Context(), f, l.ordinary(t, key))
		if edits.Discard || reply.Code != 0 || last().Report == nil || last().Report.Copy != c.want || lost != 1 {
			t.Errorf("%s: %+v %+v %+v, lost %d", name, edits, reply, last().Report, lost)
		}
		if names, err := os.ReadDir(dir.Path); err != nil || len(names) > 0 {
			t.Errorf("%s, left: %v, %v", name, names, err)
		}
	}
}

// If a client aborts its message, its copy is deleted and its slot is free.
func TestReportAborted(t *testing.T) {
	key := newKey(t)
	limits := spool.Reports()
	limits.Open = 1
	f, dir, _ := receiving(t, zoneFor(t, key), limits)
	l := letter{to: "dmarc@example.org", subject: "Report domain: example.org", kind: aggregateHeader}
	o := l.ordinary(t, key)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		m := f.Begin(ctx, o.session, o.envelope)
		m.Recipient([]byte("dmarc@example.org"))
		for _, field := range o.fields {
			m.Header(field.Name, field.Value)
		}
		m.EndHeaders("Q")
		m.Body([]byte("x"))
		if names, err := os.ReadDir(dir.Path); err != nil || len(names) != 1 {
			t.Fatalf("%v, %v", names, err)
		}
		cancel()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if names, err := os.ReadDir(dir.Path); err == nil && len(names) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the copy of an aborted message is left")
			}
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if d, err := f.Reports.Create(); err == nil {
				d.Abort()
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the slot is not free")
			}
		}
	}
}
