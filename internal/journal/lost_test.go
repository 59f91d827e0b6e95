package journal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dns"
)

// Each lost message is counted with its cause. The log has one line for each cause.
func TestCausesOfLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("fills the queue of the journal")
	}
	for cause, c := range map[Cause]struct {
		lose func(t *testing.T, d *fixture, j *Journal)
		log  string
	}{
		QueueFull: {func(t *testing.T, d *fixture, j *Journal) {
			for i := range queueMessages + 3 {
				j.Add(&decision.Record{Selectors: []string{fmt.Sprint(i)}})
			}
		}, "messages=3"},
		QueueBytes: {func(t *testing.T, d *fixture, j *Journal) {
			for n := 0; d.lost.Load() < 3; n++ {
				j.Add(floodMail(n))
			}
			if held := j.queued.Load(); held > queueBytes {
				t.Errorf("%d bytes are queued, at most %d", held, queueBytes)
			}
		}, "messages=3"},
		DatabaseFailed: {func(t *testing.T, d *fixture, j *Journal) {
			j.failed("writing", errHeld)
			j.Add(sample(1))
			j.writeNext(<-j.queue)
		}, errHeld.Error()},
		ShutDown: {func(t *testing.T, d *fixture, j *Journal) {
			for i := range batchMessages + largeBatch {
				j.Add(sample(i))
			}
			j.end(time.Now().Add(-time.Minute))
			j.db = nil
		}, "messages=" + fmt.Sprint(batchMessages)},
	} {
		t.Run(string(cause), func(t *testing.T) {
			d := newFixture(t)
			counted := map[Cause]int{}
			d.Lost = func(c Cause, n int) { counted[c] += n; d.lost.Add(int64(n)) }
			j := newJournal(d.Options)
			close(j.stop)
			j.open()
			c.lose(t, d, j)
			j.reportLost()
			if len(counted) != 1 || counted[cause] == 0 {
				t.Errorf("counted: %v", counted)
			}
			if log := d.log.String(); !strings.Contains(log, "cause="+string(cause)) || !strings.Contains(log, c.log) || strings.Count(log, "messages are missing from the journal") != 1 {
				t.Errorf("the log lacks %q: %s", c.log, log)
			}
			j.reportLost() // no loss is reported twice
			if n := strings.Count(d.log.String(), "messages are missing from the journal"); n != 1 {
				t.Errorf("%d lines", n)
			}
			if j.db != nil {
				j.end(time.Now().Add(closeTimeout))
			}
			if held := j.queued.Load(); held != 0 {
				t.Errorf("%d bytes still count as queued", held)
			}
		})
	}
}

// Until the journal has its secret, it omits addresses instead of hashing them. It never keeps more than the operator allows.
func TestNoSecretYet(t *testing.T) {
	d := newFixture(t)
	d.Addresses = Hash
	j := newJournal(d.Options)
	close(j.stop)
	j.Add(sample(1))
	j.open()
	j.end(time.Now().Add(closeTimeout))
	found, err := d.read(t).Find(t.Context(), sample(1).Evidence.QueueID)
	if err != nil || len(found) != 1 || found[0].Evidence.Envelope.Sender != "@sender1.example" {
		t.Errorf("%v %v", found, err)
	}
}

// If an SPF record was cut, the missing part may contain a macro with the sender's local part. Names that may result from such a macro are
// not kept.
func TestMacrosInCutAnswers(t *testing.T) {
	lookups := []dns.Lookup{
		{Name: "example.com.", Type: "TXT", Status: dns.NoError, Cut: 2837},
		{Name: "secretary.example.com.", Type: "A", Status: dns.NoError, Records: []string{"192.0.2.1"}},
	}
	kept, _ := hideNames(lookups, "secretary")
	if kept[1].Name != leftOut {
		t.Errorf("%q is kept", kept[1].Name)
	}
}

// The macros that expand to the local part are found wherever they are, in both cases.
func TestLocalMacros(t *testing.T) {
	for record, want := range map[string]bool{
		"v=spf1 exists:%{l}.example.com -all": true, "v=spf1 exists:%{i}.%{S}.example.com": true, "%{d}%{L": true, "%{%{s": true,
		"": false, "%{": false, "v=spf1 exists:%{i}.%{d}.example.com -all": false, "%{d}.l{s": false,
	} {
		if got := hasLocalMacro(record); got != want {
			t.Errorf("%q: %v", record, got)
		}
	}
}

// The database has the number of lost messages of each UTC day, even if it could not be written when they were lost.
func TestLostByDay(t *testing.T) {
	d := newFixture(t)
	d.keep(t, 0, 1)
	now := time.Date(2026, 11, 30, 23, 59, 0, 0, time.UTC)
	d.Now = func() time.Time { return now }
	want := func(day time.Time, n int64) {
		t.Helper()
		r := d.read(t)
		defer r.Close()
		if got, err := r.Lost(t.Context(), day); err != nil || got != n {
			t.Errorf("%s: %d lost, want %d; %v", day.Format(time.DateOnly), got, n, err)
		}
	}
	j := newJournal(d.Options)
	j.lose(QueueFull, 3)
	j.recordLost() // the database is not open yet
	now = now.Add(2 * time.Minute)
	j.lose(QueueBytes, 2)
	j.open()
	j.recordLost()
	j.recordLost()
	yesterday := now.AddDate(0, 0, -1)
	want(yesterday, 3)
	want(now, 2)
	want(now.AddDate(0, 0, -2), 0)
	j.lose(QueueFull, 4)
	j.recordLost()
	want(now, 6)
	now = now.AddDate(0, 0, lostDays)
	j.lose(QueueFull, 1)
	j.recordLost()
	want(yesterday, 0)
	want(now, 1)
	close(j.stop)
	j.end(time.Now().Add(closeTimeout))
}
