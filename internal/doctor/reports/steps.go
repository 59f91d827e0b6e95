package reports

import (
	"context"
	"strings"
)

// Step is one part of the preparation.
type Step struct {
	Title string   `json:"title"`
	Lines []string `json:"lines"` // DNS records or shell commands
}

// Steps returns the DNS records and the commands that prepare this host for sending reports, whether or not they are done already.
func Steps(ctx context.Context, f Facts) []Step {
	s := &site{Facts: f}
	records := s.records(ctx)
	steps := []Step{
		{"DNS records of " + f.Domain, records[:]},
		{"A DKIM key: publish the record that the command prints", []string{"dkimkey add " + f.Domain}},
	}
	main, fault := s.settings(ctx)
	if fault != nil {
		return steps
	}
	steps = append(steps, Step{"Postfix accepts bounces, Signpost reads them, Postfix discards them",
		append(strings.Split(s.recipientFix(ctx), "\n"), s.transportFix(ctx))})
	more := Step{Title: "Postfix passes its own bounces to Signpost, and does not rewrite the envelope sender"}
	for _, finding := range append(s.bounce(ctx), s.sender(ctx)...) {
		more.Lines = append(more.Lines, finding.Fix)
	}
	if len(more.Lines) > 0 {
		steps = append(steps, more)
	}
	transport := "inline:{ {@" + f.Domain + " = reports:} } "
	steps = append(steps, Step{"Optional: a transport of its own, so that reports to slow servers do not delay other mail",
		[]string{"postconf -M 'reports/unix=reports unix - - y - 5 smtp -o syslog_name=postfix/reports'",
			set("sender_dependent_default_transport_maps", transport+main["sender_dependent_default_transport_maps"])}})
	return append(steps, Step{"Put it into effect, and check", []string{"postfix reload", "signpost doctor"}})
}
