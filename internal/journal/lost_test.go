package journal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dns"
)

// Each lost message is counted and logged with its cause, and the log has a line for each cause.
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
			j.reportLost() // nothing is reported twice
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

// Until the journal has its secret, addresses that are to be hashed are left out: less than the operator allows, never more.
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

// Names that a cut record may have made of the sender's local part are not kept: what is missing may be the macro.
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
