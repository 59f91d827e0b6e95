package main

import (
	"strings"
	"testing"
	"time"
)

// Only a complete run writes the page, unless -write is set. A selection measures only the selected cells.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		args          string
		write         bool
		idle, postfix bool
		cells         int
	}{
		{"", true, true, true, len(plan())},
		{"-rounds 1 -time 1ms", true, true, true, len(plan())},
		{"-servers signpost", false, true, true, len(plan())},
		{"-baseline old", false, true, true, len(plan())},
		{"-idle", false, true, false, 0},
		{"-postfix -write", true, false, true, 0},
		{"-only verify -size 4k -sessions 8", false, false, false, 1},
		{"-only verify -size 4k -sessions 8,64 -dns 0s,20ms -messages 1,10", false, false, false, 8},
		{"-size 10m -dns 0s,20ms -sessions 1", false, false, false, 3}, // signing makes no DNS queries
	} {
		o, err := parse(strings.Fields(c.args))
		if err != nil || o.write != c.write || o.idle != c.idle || o.postfix != c.postfix || len(o.cells()) != c.cells {
			t.Errorf("%q: %+v, %d cells, %v", c.args, o, len(o.cells()), err)
		}
	}
	o, err := parse([]string{"-only", "verify", "-size", "100k", "-sessions", "64", "-messages", "1", "-dns", "20ms", "-cold"})
	want := cell{role: verifying, size: 100 << 10, sessions: 64, perSession: 1, delay: 20 * time.Millisecond, cold: true}
	if err != nil || o.cells()[0] != want {
		t.Errorf("%+v, %v, want %+v", o.cells()[0], err, want)
	}
}

// A complete run measures the price of the journal only in the cells of its targets. A selection measures each server that it names.
func TestMeasuredIn(t *testing.T) {
	both := []string{signing, verifying}
	counts := map[string]int{}
	for _, s := range []*server{{name: ours, roles: both}, {name: noJournalName, roles: both, only: ofJournal}, {name: rulesName, roles: both, only: judged}} {
		for _, c := range plan() {
			if s.measuredIn(c, true) {
				counts[s.name]++
			}
		}
		if c := alone(slowDNS, true); !s.measuredIn(c, false) {
			t.Errorf("%s is not measured in a selected cell, %s", s.name, c)
		}
	}
	if counts[ours] != len(plan()) || counts[noJournalName] != 2 || counts[rulesName] != 6 {
		t.Errorf("cells %v, want all, 2 and 6", counts)
	}
	slow := &server{roles: []string{verifying}, slow: true}
	if slow.measuredIn(cell{role: verifying, size: 10 << 20, sessions: 64}, false) || slow.measuredIn(usual(signing, 4<<10), false) {
		t.Error("a slow server is measured for minutes, or one that verifies is measured signing")
	}
	o, err := parse([]string{"-servers", ours + "," + noJournalName})
	if err != nil || !o.wants(noJournalName) || o.wants(rspamdName) {
		t.Errorf("%v, %v", o.servers, err)
	}
}

// Both settings of Signpost differ only in the journal, and their directories can be arguments in Postfix's master.cf.
func TestWithoutJournal(t *testing.T) {
	w := &world{dir: t.TempDir()}
	if dir := w.serverDir(&server{name: noJournalName}); strings.Contains(dir, " ") || dir == w.serverDir(&server{name: ours}) {
		t.Errorf("directory %q", dir)
	}
	if names := serverNames(); names[0] != ours || names[1] != noJournalName {
		t.Errorf("servers %q: the settings are not measured one after the other", names)
	}
}

// The plan has the cells of the targets.
func TestPlan(t *testing.T) {
	var r report
	one := []figure{{messages: 1, elapsed: time.Second, cpu: 1, peak: 1}}
	for _, c := range plan() {
		var rows []row
		for _, name := range []string{ours, noJournalName, "opendkim", "opendkim+opendmarc", rspamdName, rulesName, bareName} {
			rows = append(rows, newRow(name, one))
		}
		r.cells = append(r.cells, measured{c, rows})
	}
	r.idle, r.postfix = []idleCost{{ours, 1, 1}}, []row{newRow(noMilter, one), newRow(ours, one)}
	for _, target := range r.targets() {
		if target.met() == notMeasured {
			t.Errorf("%s: %s", target.what, target.met())
		}
	}
}

// An invalid value is an error.
func TestParseWrong(t *testing.T) {
	for args, want := range map[string]string{
		"-only both":     "neither sign nor verify",
		"-size 4x":       "is not a size",
		"-size 0k":       "is not a size",
		"-sessions 0":    "too small",
		"-servers spam":  "no server is called",
		"-hold 1s -idle": "-hold cannot be combined",
		"verify":         "unexpected argument",
	} {
		if _, err := parse(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
