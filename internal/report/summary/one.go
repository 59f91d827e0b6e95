package summary

import (
	"fmt"
	"io"
	"strings"
	"time"

	"signpost/internal/report/received"
)

// WriteReport writes one report with its rows.
func WriteReport(w io.Writer, r received.Stored) error {
	return buffered(w, func(t *text) {
		t.line("report %d: %s, %s about %s", r.Number, r.Kind, r.Reporter, r.Domain)
		from := "imported, not verified"
		if r.Verified {
			from = "verified, queue ID " + r.QueueID
		}
		for _, row := range [][2]string{{"received", r.Received.Format(time.RFC3339) + ", " + from}, {"report ID", r.ID}, {"organization", r.OrgName}, {"contact", r.Contact}, {"program", r.Generator},
			{"period", r.Begin.Format(time.RFC3339) + " to " + r.End.Format(time.RFC3339)}, {"policy", Policy(r.Policy)}, {"errors", r.Errors}} {
			if row[1] != "" {
				t.line("%-13s %s", row[0]+":", row[1])
			}
		}
		if len(r.Rows) > 0 {
			t.line("messages:     %d, passed DMARC: %d", r.Messages, r.Passed)
			t.rows(r)
		}
		for _, p := range r.Policies {
			t.head("%s %s: successful sessions: %d, failed: %d", p.Domain, p.Type, p.Successful, p.Failed)
			for _, f := range p.Failures {
				parts := []string{f.Type}
				if f.Sending.IsValid() {
					parts = append(parts, "from "+f.Sending.String())
				}
				t.line("%7d %s", f.Count, strings.Join(append(parts, f.MX, f.Reason, f.Info), " "))
			}
		}
	})
}

func (t *text) rows(r received.Stored) {
	t.line("")
	rows := [][]string{{"source", "messages", "dkim", "spf", "disposition", "header_from", "mail_from", "results"}}
	for _, row := range r.Rows {
		var results []string
		for _, s := range row.Signatures {
			results = append(results, fmt.Sprintf("dkim=%s (%s, %s)", s.Result, s.Domain, dash(s.Selector)))
		}
		for _, s := range row.SPFResults {
			results = append(results, fmt.Sprintf("spf=%s (%s)", s.Result, s.Domain))
		}
		for _, s := range row.Reasons {
			results = append(results, strings.TrimSpace("override="+s.Type+" "+s.Comment))
		}
		rows = append(rows, []string{row.Source.String(), number(row.Count), word(row.DKIM), word(row.SPF), dash(row.Disposition), dash(row.HeaderFrom), dash(row.EnvelopeFrom), strings.Join(results, ", ")})
	}
	t.table(rows, 5, 1)
	if r.Folded {
		t.line("rows older than 90 days are added up by address")
	}
	if r.Omitted > 0 {
		t.line("rows that are not shown: %d", r.Omitted)
	}
}

func word(passed bool) string {
	if passed {
		return "pass"
	}
	return "fail"
}
