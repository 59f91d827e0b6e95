package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/filter"
	"signpost/internal/setup"
	"signpost/internal/testdns"
	"signpost/keys"
	"signpost/milter"
)

const daysZone = `a.example. TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.a.example. TXT "v=DMARC1; p=reject; rua=mailto:dmarc@a.example"
reports.a.example. TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.reports.a.example. TXT "v=DMARC1; p=reject"
b.example. TXT "v=spf1 ip4:192.0.2.2 -all"
_dmarc.b.example. TXT "v=DMARC1; p=reject; rua=mailto:dmarc@b.example,mailto:dead@b.example"
reports.b.example. TXT "v=spf1 ip4:192.0.2.2 -all"
_dmarc.reports.b.example. TXT "v=DMARC1; p=reject"
`

// letter is a message on its way.
type letter struct{ client, from, to, text string }

// reporter is a server that sends reports, and receives those of another.
type reporter struct {
	*archive
	conf *config.Config
	name string // of its domain

	mu   sync.Mutex
	sent []letter
}

func newReporter(t *testing.T, name, dns string) *reporter {
	t.Helper()
	r := &reporter{name: name, archive: newArchive(t)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	put(t, r.file, fmt.Sprintf("state_dir = %q\n[dns]\nservers = [%q]\n[reports]\nsmtp = %q\n[reports.send]\nenabled = true\norg_name = %q\nfrom = \"dmarc@reports.%s\"\ncontact = \"contact@%s\"\n", r.dir, dns, ln.Addr(), name, name, name))
	if r.conf, err = config.Load(r.file); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(r.dir, "reports", "bounces"), 0o700); err != nil {
		t.Fatal(err)
	}
	// The checks of Postfix were green a moment ago.
	put(t, filepath.Join(r.dir, "reports", "progress.json"), fmt.Sprintf(`{"green":%q,"domain":"reports.%s"}`, time.Now().Format(time.RFC3339), name))
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			r.accept(textproto.NewConn(conn))
			conn.Close()
		}
	}()
	return r
}

// accept accepts all messages of an SMTP session.
func (r *reporter) accept(c *textproto.Conn) {
	var l letter
	_ = c.PrintfLine("220 mx")
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		inner := func() string { _, rest, _ := strings.Cut(line, "<"); rest, _, _ = strings.Cut(rest, ">"); return rest }
		switch {
		case strings.HasPrefix(line, "MAIL"):
			l.from = inner()
		case strings.HasPrefix(line, "RCPT"):
			l.to = inner()
		case line == "DATA":
			_ = c.PrintfLine("354 go on")
			text, err := c.ReadDotBytes()
			if err != nil {
				return
			}
			l.text = string(text)
			r.mu.Lock()
			r.sent = append(r.sent, l)
			r.mu.Unlock()
		}
		_ = c.PrintfLine("250 ok")
		if line == "QUIT" {
			return
		}
	}
}

// receive returns the record of a message that arrives.
func (r *reporter) receive(l letter) (record *decision.Record) {
	r.t.Helper()
	log := slog.New(slog.DiscardHandler)
	resolver, err := setup.Resolver(r.conf, time.Now, log)
	if err != nil {
		r.t.Fatal(err)
	}
	f := setup.Filter(r.conf, log)
	f.Keys, f.Resolver = func() *keys.Snapshot { return &keys.Snapshot{Set: &keys.Set{}} }, resolver
	f.Finished = func(finished *decision.Record) { record = finished }
	f.Bounces = &filter.Bounces{Domain: "reports." + r.name, Others: r.conf.ReportAddresses(), MaxSize: 60000, Received: func(recipient string, message []byte) {
		if err := bounces(r.conf).Add([]byte(recipient + "\n" + string(message))); err != nil {
			r.t.Error(err)
		}
	}}
	m := f.Begin(r.t.Context(), milter.Session{MTA: "mx.example", SMTP: true, Client: netip.MustParseAddr(l.client), HELO: "mx.example"}, milter.Envelope{Sender: l.from})
	m.Recipient([]byte(l.to))
	header, body, _ := strings.Cut(l.text, "\n\n")
	for field := range strings.SplitSeq(strings.ReplaceAll(header, "\n ", " "), "\n") {
		name, value, _ := strings.Cut(field, ":")
		m.Header(name, value)
	}
	m.EndHeaders("Q")
	m.Body([]byte(strings.ReplaceAll(body, "\n", "\r\n")))
	m.Finish(r.t.Context())
	return record
}

// send runs signpost reports send on a day, and returns the messages that it sent.
func (r *reporter) send(day time.Time) []letter {
	r.t.Helper()
	if code, _, stderr := r.run("reports", "send", "--now", "--date", day.Format(time.DateOnly)); code != 0 {
		r.t.Fatal(stderr)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := r.sent
	r.sent = nil
	return sent
}

// answers returns the mail that a report causes at its destination: a bounce if the address is dead, otherwise a vacation reply.
func answers(l letter, name, client string) letter {
	text := "From: dmarc@" + name + "\nSubject: Away\nAuto-Submitted: auto-replied\n\nAction: failed\nStatus: 5.1.1\n"
	if strings.HasPrefix(l.to, "dead@") {
		text = "From: MAILER-DAEMON@" + name + "\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\n\n--x\nContent-Type: message/delivery-status\n\n" +
			"Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; " + l.to + "\nAction: failed\nStatus: 5.1.1\n\n--x--\n"
	}
	return letter{client: client, to: l.from, text: text}
}

// Two servers report to each other for ten days, with genuine and forged mail in the names of both. One address of the second one is dead, the others
// send vacation replies. The number of reports stays the same each day, and no report is sent after this mail has ended.
func TestReportsTenDays(t *testing.T) {
	server, err := testdns.Start(daysZone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	a, b := newReporter(t, "a.example", server.Addr()), newReporter(t, "b.example", server.Addr())
	first := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -13)
	toA, toB := []letter{}, []letter{} // arrive on the next day
	var counts []string
	for n := range 13 {
		day := first.AddDate(0, 0, n)
		var atA, atB []*decision.Record
		for _, l := range toA {
			atA = append(atA, a.receive(l))
		}
		for _, l := range toB {
			atB = append(atB, b.receive(l))
		}
		if n < 10 {
			mail := func(client, name string) letter {
				return letter{client: client, from: "x@" + name, to: "ann@example.org", text: "From: x@" + name + "\n\ntext\n"}
			}
			atA = append(atA, a.receive(mail("192.0.2.2", b.name)), a.receive(mail("198.51.100.9", b.name)))
			atB = append(atB, b.receive(mail("192.0.2.1", a.name)), b.receive(mail("198.51.100.9", a.name)))
		}
		keepReports(t, a.conf, day.Add(12*time.Hour), atA...)
		keepReports(t, b.conf, day.Add(12*time.Hour), atB...)
		next := day.AddDate(0, 0, 1)
		fromA, fromB := a.send(next), b.send(next)
		counts = append(counts, fmt.Sprint(len(fromA), "+", len(fromB)))
		toA, toB = nil, nil
		for _, l := range fromA {
			l.client = "192.0.2.1"
			toB, toA = append(toB, l), append(toA, answers(l, b.name, "192.0.2.2"))
		}
		for _, l := range fromB {
			l.client = "192.0.2.2"
			toA, toB = append(toA, l), append(toB, answers(l, a.name, "192.0.2.1"))
		}
	}
	if status, err := os.ReadFile(filepath.Join(a.dir, "reports", "status", "status.json")); err != nil || !strings.Contains(string(status), `"ok":true,"waiting":0,"sent":11,"given_up":0,"suppressed":1}`) {
		t.Errorf("%s %v", status, err)
	}
	want := []string{"2+1", "1+1", "1+1", "1+1", "1+1", "1+1", "1+1", "1+1", "1+1", "1+1", "0+0", "0+0", "0+0"}
	if !slices.Equal(counts, want) {
		t.Errorf("reports each day: %q, want %q", counts, want)
	}
}

// Mail to the addresses in our own reports never causes a report, even though the journal has no recipients. With other mail of the
// domain, it is counted.
func TestReportsAboutReportMail(t *testing.T) {
	server, err := testdns.Start(daysZone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	a := newReporter(t, "a.example", server.Addr())
	day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -5)
	mail := func(to string) *decision.Record {
		return a.receive(letter{client: "192.0.2.2", from: "x@b.example", to: to, text: "From: x@b.example\n\ntext\n"})
	}
	keepReports(t, a.conf, day.Add(12*time.Hour), mail("dmarc@reports.a.example"), mail("Contact@a.example"))
	if sent := a.send(day.AddDate(0, 0, 1)); len(sent) > 0 {
		t.Errorf("%d reports about mail to our own report addresses", len(sent))
	}
	keepReports(t, a.conf, day.Add(36*time.Hour), mail("contact@a.example"), mail("ann@a.example"))
	if sent := a.send(day.AddDate(0, 0, 2)); len(sent) != 2 {
		t.Errorf("%d copies of the report, want one for each address", len(sent))
	}
}
