package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reports is the state of the DMARC reports that are sent, after a run of signpost reports send. That command writes it as JSON for the
// daemon, since the daemon does not open the database of the reports.
type Reports struct {
	LastRun    time.Time `json:"last_run"` // zero: there was none
	OK         bool      `json:"ok"`       // no check was red, and all reports that were due were accepted
	Waiting    int       `json:"waiting"`
	Sent       int       `json:"sent"`
	GivenUp    int       `json:"given_up"`
	Suppressed int       `json:"suppressed"` // addresses
}

// reportsCollector reads the state of the reports at each scrape.
type reportsCollector struct {
	reports                        func() Reports
	count, suppressed, success, at *prometheus.Desc
}

func newReportsCollector(f func() Reports) *reportsCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &reportsCollector{reports: f,
		count:      desc("signpost_reports", "DMARC reports to others in the database, by state.", "state"),
		suppressed: desc("signpost_reports_suppressed_addresses", "Addresses to which no DMARC report is sent because reports bounced."),
		success:    desc("signpost_reports_success", "1 if the last run of signpost reports send succeeded; 0 if not."),
		at:         desc("signpost_reports_run_timestamp_seconds", "Time of the last run of signpost reports send, in seconds since 1970."),
	}
}

// Describe implements prometheus.Collector.
func (c *reportsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.count, c.suppressed, c.success, c.at} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Before the first run, there are no metrics of reports.
func (c *reportsCollector) Collect(ch chan<- prometheus.Metric) {
	r := c.reports()
	if r.LastRun.IsZero() {
		return
	}
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	send(c.count, float64(r.Waiting), "waiting")
	send(c.count, float64(r.Sent), "sent")
	send(c.count, float64(r.GivenUp), "given_up")
	send(c.suppressed, float64(r.Suppressed))
	send(c.success, number(r.OK))
	send(c.at, float64(r.LastRun.Unix()))
}

// The results of signpost_report_bounces_total.
const (
	bounceKept = "kept"
	bounceLost = "lost"
)

// Bounced counts a bounce of a report. The parameter kept is false if the bounce could not be written to the disk.
func (m *Metrics) Bounced(kept bool) {
	result := bounceKept
	if !kept {
		result = bounceLost
	}
	m.bounces.WithLabelValues(result).Inc()
}
