package monitor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"signpost/internal/cli"
	"signpost/internal/report/status"
)

// receivedAge is the age of the last run of signpost reports read that is a problem. Its timer runs every ten minutes.
const receivedAge = 24 * time.Hour

// maxAlarms limits the alarms that are named, so that they do not hide the other problems.
const maxAlarms = 3

// received checks the last run of signpost reports read, and its alarms. Mail does not depend on reports, so nothing is critical.
func (s Source) received(context.Context) (p part) {
	if s.Received == nil {
		return p
	}
	r, err := s.Received()
	warn := func(text, fix, domain string) {
		p.problems = append(p.problems, problem{state: cli.Warning, text: text, fix: fix, domain: domain})
	}
	const again = "sudo -u signpost signpost reports read"
	enable := withSystemd("systemctl enable --now signpost-reports.timer", again)
	switch {
	case status.None(err):
		warn("signpost reports read has never run: enable signpost-reports.timer", enable, "")
		return p
	case err != nil:
		p.problems = append(p.problems, failure(cli.Warning, "received reports: ", err))
		return p
	}
	if age := s.Now().Sub(r.LastRun); age > receivedAge {
		warn("signpost reports read has not run for "+ago(age), enable, "")
	} else if !r.OK {
		line, _, _ := strings.Cut(r.Error, "\n")
		warn("signpost reports read failed: "+line, again, "")
	}
	for i, a := range r.Alarms {
		if i == maxAlarms {
			break
		}
		text := a.String()
		if a.Domain != "" {
			text = a.Domain + ": " + text
		}
		warn(text, strings.TrimSpace("signpost reports received "+a.Domain), a.Domain)
	}
	total := len(r.Alarms) + r.Omitted
	if more := total - maxAlarms; more > 0 {
		warn(fmt.Sprintf("%d more alarms of received reports: signpost reports received", more), "signpost reports received", "")
	}
	p.data = append(p.data, datum{label: "report_alarms", value: float64(total)})
	p.good = "received reports raise no alarm"
	return p
}
