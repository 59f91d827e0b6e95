package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"signpost/internal/report/status"
)

// receivedCollector reads the result of the last run of signpost reports read at each scrape.
type receivedCollector struct {
	received                                                                  func() status.Received
	read, stored, bytes, waiting, messages, trusted, alarms, success, ran, at *prometheus.Desc
}

func newReceivedCollector(f func() status.Received) *receivedCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &receivedCollector{received: f,
		read:     desc("signpost_reports_read_total", "Messages that signpost reports read has read, by result.", "result"),
		stored:   desc("signpost_reports_stored", "Received reports in the database, by kind.", "kind"),
		bytes:    desc("signpost_reports_stored_bytes", "Size of the database of received reports."),
		waiting:  desc("signpost_reports_unread", "Messages that the last run of signpost reports read left in the spool."),
		messages: desc("signpost_reported_messages", "Messages of hosted domains in the DMARC reports of trusted reporters about one day, by DMARC result.", "result"),
		at:       desc("signpost_reported_messages_day_timestamp_seconds", "The first second of the day of signpost_reported_messages, in seconds since 1970."),
		trusted:  desc("signpost_reports_trusted_reporters", "Reporters whose reports count for alarms."),
		alarms:   desc("signpost_report_alarms", "Alarms that received reports raise, by code.", "code"),
		success:  desc("signpost_reports_read_success", "1 if the last run of signpost reports read succeeded; 0 if not."),
		ran:      desc("signpost_reports_read_timestamp_seconds", "Time of the last run of signpost reports read, in seconds since 1970."),
	}
}

// Describe implements prometheus.Collector.
func (c *receivedCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.read, c.stored, c.bytes, c.waiting, c.messages, c.at, c.trusted, c.alarms, c.success, c.ran} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Before the first run, there are no metrics of received reports.
func (c *receivedCollector) Collect(ch chan<- prometheus.Metric) {
	r := c.received()
	if r.LastRun.IsZero() {
		return
	}
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, result := range status.Results() {
		send(c.read, prometheus.CounterValue, float64(r.Read[result]), string(result))
	}
	for _, kind := range status.Kinds() {
		send(c.stored, prometheus.GaugeValue, float64(r.Stored[kind]), kind)
	}
	if !r.Evaluated.IsZero() {
		for _, code := range status.Codes() {
			send(c.alarms, prometheus.GaugeValue, float64(r.ByCode[code]), string(code))
		}
		send(c.messages, prometheus.GaugeValue, float64(r.Passed), "pass")
		send(c.messages, prometheus.GaugeValue, float64(r.Failed), "fail")
		send(c.at, prometheus.GaugeValue, float64(r.Day.Unix()))
		send(c.trusted, prometheus.GaugeValue, float64(r.Trusted))
	}
	send(c.bytes, prometheus.GaugeValue, float64(r.Bytes))
	send(c.waiting, prometheus.GaugeValue, float64(r.Waiting))
	send(c.success, prometheus.GaugeValue, number(r.OK))
	send(c.ran, prometheus.GaugeValue, float64(r.LastRun.Unix()))
}
