package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"signpost/internal/testdns"
)

// machine is a reporter whose clocks are set by a test. true is the correct time.
type machine struct {
	*reporter
	true time.Time
	set  time.Duration // how far the clock of the machine is ahead
	boot time.Time     // the correct time of the boot
}

// newMachine returns a machine at 10 h of a day, with genuine mail of b.example at 9 h.
func newMachine(t *testing.T) (*machine, time.Time) {
	t.Helper()
	server, err := testdns.Start(daysZone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -6)
	m := &machine{reporter: newReporter(t, "a.example", server.Addr()), true: day.Add(10 * time.Hour), boot: day.AddDate(0, -1, 0)}
	m.mail(day.Add(9 * time.Hour))
	return m, day
}

// mail stores a message of b.example in the journal.
func (m *machine) mail(at time.Time) {
	m.t.Helper()
	keepReports(m.t, m.conf, at, m.receive(letter{client: "192.0.2.2", from: "x@b.example", to: "ann@a.example", text: "From: x@b.example\n\ntext\n"}))
}

// at runs signpost reports send at a correct time, and returns the messages that it sent.
func (m *machine) at(correct time.Time) (sent []letter, stderr string) {
	m.t.Helper()
	m.true = correct
	var out, errs bytes.Buffer
	clock := clock{now: func() time.Time { return m.true.Add(m.set) }, up: func() (time.Duration, error) { return m.true.Sub(m.boot), nil }}
	if err := sendReports(context.WithoutCancel(m.t.Context()), m.conf, reportsSendOptions{early: true}, clock, &out, &errs); err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sent, m.sent = m.sent, nil
	return sent, errs.String()
}

func (m *machine) want(correct time.Time, copies int) []letter {
	m.t.Helper()
	sent, stderr := m.at(correct)
	if len(sent) != copies {
		m.t.Errorf("%v: %d copies, want %d\n%s", correct, len(sent), copies, stderr)
	}
	return sent
}

// If the clock is set a day ahead, the day that has not ended is not reported. When the clock is correct again, the report has all messages
// of the day.
func TestReportsClockAhead(t *testing.T) {
	m, day := newMachine(t)
	m.want(day.Add(10*time.Hour), 0)
	m.set = 24 * time.Hour
	if _, stderr := m.at(day.Add(11 * time.Hour)); !strings.Contains(stderr, "the clock was set, or the machine was off: nothing is sent for 24 hours") {
		t.Error(stderr)
	}
	m.want(day.Add(12*time.Hour), 0)
	m.set = 0
	m.want(day.Add(13*time.Hour), 0)
	m.mail(day.Add(20 * time.Hour))
	for _, l := range m.want(day.Add(37*time.Hour), 2) {
		if !strings.Contains(l.text, "Subject: Report Domain: b.example") {
			t.Error(l.text)
		}
	}
	if _, out, _ := m.run("reports", "--json"); strings.Count(out, `"messages": 2`) != 2 {
		t.Errorf("not all messages are in the report:\n%s", out)
	}
}

// If the clock is set back after reports were sent, they are not sent again, and the next day is reported in its turn.
func TestReportsClockBack(t *testing.T) {
	m, day := newMachine(t)
	m.want(day.Add(30*time.Hour), 2)
	m.set = -20 * time.Hour
	m.mail(day.Add(11 * time.Hour)) // its report was sent, so it cannot be reported any more
	m.want(day.Add(31*time.Hour), 0)
	m.set = 0
	m.want(day.Add(32*time.Hour), 0)
	m.mail(day.Add(33 * time.Hour))
	m.want(day.Add(40*time.Hour), 0)
	m.want(day.Add(60*time.Hour), 2)
}

// A report that waits is not given up, and the reports that were sent are not forgotten, because the clock is years ahead for some hours.
func TestReportsClockYearsAhead(t *testing.T) {
	m, day := newMachine(t)
	accepts := m.conf.Reports.SMTP
	m.want(day.Add(30*time.Hour), 2)
	m.mail(day.Add(33 * time.Hour))
	m.conf.Reports.SMTP = "127.0.0.1:1"
	clock := clock{now: func() time.Time { return m.true }, up: func() (time.Duration, error) { return m.true.Sub(m.boot), nil }}
	m.true = day.Add(53 * time.Hour)
	if err := sendReports(t.Context(), m.conf, reportsSendOptions{early: true}, clock, &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
		t.Fatal("the server is down, and there is no error")
	}
	m.conf.Reports.SMTP = accepts
	m.set = 20 * 365 * 24 * time.Hour
	m.want(day.Add(54*time.Hour), 0)
	m.want(day.Add(58*time.Hour), 0)
	m.set = 0
	m.want(day.Add(59*time.Hour), 0)
	m.want(day.Add(83*time.Hour), 2)
	m.want(day.Add(84*time.Hour), 0)
}
