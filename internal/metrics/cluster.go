package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"signpost/internal/cluster/control"
)

// clusterCollector computes the metrics of the cluster at each scrape, from the state that signpost-cluster writes.
type clusterCollector struct {
	status                                                                    func() (s control.Status, ok bool, err error)
	panicked                                                                  func()
	up, version, lag, reachable, since, leader, missing, refused, clock, late *prometheus.Desc

	shipped, waiting, age, lost, size *prometheus.Desc
}

func newClusterCollector(status func() (control.Status, bool, error), panicked func()) *clusterCollector {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	return &clusterCollector{status: status, panicked: panicked,
		up:        desc("signpost_cluster_up", "1 if signpost-cluster runs on this host and synchronizes; 0 if not."),
		version:   desc("signpost_cluster_version", "The version of the keys and rules that this host has."),
		lag:       desc("signpost_cluster_lag", "How many versions this host is behind the database, as of the last synchronization."),
		reachable: desc("signpost_cluster_database_reachable", "1 if the database of the cluster can be reached; 0 if not."),
		since:     desc("signpost_cluster_database_changed_timestamp_seconds", "When the database became reachable or unreachable."),
		leader:    desc("signpost_cluster_leader", "1 if this host leads the cluster: it rotates the keys."),
		missing:   desc("signpost_cluster_hosts_missing", "Registered hosts that have not synchronized for two minutes."),
		refused:   desc("signpost_cluster_rows_refused", "Rows of the database that did not verify."),
		late:      desc("signpost_cluster_report_hosts_late", "Hosts whose counts for DMARC reports are missing after 03:00 UTC."),
		clock:     desc("signpost_cluster_clock_difference_seconds", "The clock of this host minus that of the database."),

		shipped: desc("signpost_cluster_messages_shipped_total", "Messages of this host that were copied to the database."),
		waiting: desc("signpost_cluster_messages_waiting", "Messages of this host that are not copied to the database yet."),
		age:     desc("signpost_cluster_messages_lag_seconds", "Age of the oldest message that waits to be copied to the database; 0: none waits."),
		lost:    desc("signpost_cluster_messages_lost_total", "Messages that the journal deleted before they were copied to the database."),
		size:    desc("signpost_cluster_messages_database_bytes", "Approximate size of the copies of messages of all hosts in the database."),
	}
}

// Describe implements prometheus.Collector.
func (c *clusterCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.version, c.lag, c.reachable, c.since, c.leader, c.missing, c.refused, c.clock, c.shipped, c.waiting, c.age, c.lost, c.size, c.late} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Like keysCollector.Collect, it recovers from panics. If this host does not belong to a cluster,
// there are no metrics. Without a status, signpost_cluster_up is the only one.
func (c *clusterCollector) Collect(ch chan<- prometheus.Metric) {
	defer func() {
		if recover() != nil {
			c.panicked()
		}
	}()
	send := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	s, ok, err := c.status()
	if !ok {
		return
	}
	send(c.up, number(err == nil && time.Since(s.At) <= control.MissingAfter && (s.Error == "" || !s.Database.Reachable)))
	if err != nil {
		return
	}
	send(c.version, float64(s.Version))
	send(c.lag, float64(s.Database.Version-s.Version))
	send(c.reachable, number(s.Database.Reachable))
	send(c.since, float64(s.Database.Since.UnixMilli())/1000)
	send(c.leader, number(s.Leader == s.Host))
	missing := 0
	for _, h := range s.Hosts {
		if h.Missing {
			missing++
		}
		if h.Name == s.Host {
			send(c.clock, float64(h.ClockMS)/1000)
		}
	}
	send(c.missing, float64(missing))
	send(c.refused, float64(len(s.Refused)))
	if s.Reports != nil {
		send(c.late, float64(len(s.Reports.Late)))
	}
	m := s.Messages
	if m == nil {
		return
	}
	count := func(d *prometheus.Desc, n int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	count(c.shipped, m.Shipped)
	count(c.lost, m.Lost)
	send(c.waiting, float64(m.Waiting))
	lag := 0.0
	if !m.Since.IsZero() {
		lag = max(0, time.Since(m.Since).Seconds())
	}
	send(c.age, lag)
	send(c.size, float64(m.Bytes))
}
