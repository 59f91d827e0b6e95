package main

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/journal"
)

// Messages that came while the clock was ahead are numbered anew, and the following goes on behind them.
func TestFollowClockPutRight(t *testing.T) {
	a := newArchive(t)
	a.keep(caseReports(t, "arc-sealed")...)
	conf, err := config.Load(a.file)
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	var stderr bytes.Buffer
	f := &follower{conf: conf, filter: journal.Filter{After: time.Now().AddDate(10, 0, 0).UnixMicro()}, stderr: &stderr, show: func(all []journal.Entry) error {
		for _, e := range all {
			shown = append(shown, e.Evidence.QueueID)
		}
		return nil
	}}
	defer f.close()
	more := func() {
		t.Helper()
		if err := f.more(t.Context()); err != nil || stderr.Len() > 0 {
			t.Fatal(err, stderr.String())
		}
	}
	more()
	next := caseReports(t, "arc-sealed")
	next[0].Evidence.QueueID = "4next"
	a.keep(next...)
	more()
	if !slices.Equal(shown, []string{"4next"}) {
		t.Errorf("it showed %q", shown)
	}
}
