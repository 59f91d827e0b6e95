package main

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"signpost/internal/cli"
	"signpost/internal/report/seen"
	"signpost/internal/term"
	"signpost/keys"
)

// reported is what receivers saw of a key, in `status --json`.
type reported struct {
	Since         time.Time      `json:"since"`
	Messages      int64          `json:"messages"`
	Passed        int64          `json:"passed"`
	Failed        int64          `json:"failed"`
	NotJudged     int64          `json:"not_judged"`
	Receivers     int            `json:"receivers"`
	Last          time.Time      `json:"last"`
	Failing       []seen.Failing `json:"failing,omitempty"`
	ExpectedUntil time.Time      `json:"expected_until,omitzero"`
	Alarm         bool           `json:"alarm"`
	note          string
}

// newReported returns nil if no receiver saw the key.
func newReported(f *seen.File, k keys.Status, now time.Time) *reported {
	s := f.Of(k.Domain, k.Selector)
	if s == nil {
		return nil
	}
	until, _ := seen.Expected(k)
	return &reported{Since: f.Since, Messages: s.Messages, Passed: s.Passed, Failed: s.Failed, NotJudged: s.NotJudged, Receivers: s.Receivers, Last: s.Last,
		Failing: s.Failing, ExpectedUntil: until, Alarm: f.Alarm(k, now) != nil, note: f.Note(k, now)}
}

// failing returns the action that is needed because receivers report failures of a key, or "".
func failing(f *seen.File, k keys.Status, now time.Time) string {
	a := f.Alarm(k, now)
	if a == nil {
		return ""
	}
	return a.String() + ": run dkimkey check " + k.Domain + ", and see signpost reports received " + k.Domain
}

// needFailing reports the keys of domains whose signatures fail at receivers. It has no effect on the steps.
func (d *app) needFailing(domains []string, stderr io.Writer) error {
	now := d.store.Now()
	f, err := seen.Load(d.conf.StateDir, now)
	if err != nil {
		cli.Print(stderr, "dkimkey: warning", err)
	}
	if f == nil {
		return nil
	}
	for _, domain := range domains {
		set, err := d.store.LoadDomain(domain, nil)
		if err != nil {
			return err
		}
		for _, k := range set.Status(d.rules, now) {
			if action := failing(f, k, now); action != "" {
				d.rotator.Needs(domain, "key "+k.Selector+": "+action, nil)
			}
		}
	}
	return nil
}

// printReported prints a table of what receivers saw. It prints nothing if they saw none of the keys.
func printReported(out io.Writer, all []keyStatus, f *seen.File) error {
	found := false
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, s := range all {
		r := s.Reported
		if r == nil {
			continue
		}
		if !found {
			fmt.Fprintf(w, "\nWhat receivers reported since %s:\n", f.Since.UTC().Format(time.DateOnly))
			fmt.Fprintln(w, "DOMAIN\tSELECTOR\tMESSAGES\tRECEIVERS\tFAILED\tLAST\tNOTE")
			found = true
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", s.Domain, term.Printable(s.Selector), r.Messages, r.Receivers, r.Failed, r.Last.UTC().Format(time.DateOnly), cmp.Or(term.Printable(r.note), "-"))
	}
	return w.Flush()
}
