// Package metrics has the Prometheus metrics of the daemon, and the HTTP server for /metrics, /healthz and /readyz. Each label has a
// fixed set of values. Only the metrics of keys have a label with a domain, which is always one of the operator's own.
//
//	m := metrics.New(observe, version)
//	server, err := metrics.Listen("127.0.0.1:9890", m, log)
//	...
//	m.Message(record) // for each message
package metrics

import (
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"signpost/internal/cluster/control"
	"signpost/internal/decision"
	"signpost/internal/dns"
	"signpost/internal/report/status"
	"signpost/policy"
)

// pair has the values of the two labels of a counter. New creates all counters. Counting a message then needs only lookups in constant maps
// and atomic additions.
type pair struct{ a, b string }

// Metrics are all metrics of one daemon.
type Metrics struct {
	registry *prometheus.Registry

	messages map[pair]prometheus.Counter // role, action
	codes    map[policy.Code]prometheus.Counter
	results  map[pair]prometheus.Counter // method, result
	queries  map[pair]prometheus.Counter // type, outcome

	querySeconds  prometheus.Histogram
	signSeconds   prometheus.Histogram
	verifySeconds prometheus.Histogram

	bounces    *prometheus.CounterVec // of reports: result
	received   *prometheus.CounterVec // reports of others: result
	failovers  prometheus.Counter     // of name servers
	forged     prometheus.Counter     // fields
	unnamed    prometheus.Counter     // fields
	panics     prometheus.Counter
	tables     *prometheus.CounterVec // outcome
	lost       *prometheus.CounterVec // of the journal: cause
	lostTime   prometheus.Gauge
	reloadOK   prometheus.Gauge
	reloadTime prometheus.Gauge
	observing  prometheus.Gauge
}

// Source has the functions that each scrape calls.
type Source struct {
	Connections func() int
	Keys        func() Keys
	// Cluster returns the result of control.ReadStatus. ok is false if this host does not belong to a cluster.
	Cluster func() (s control.Status, ok bool, err error)
	Reports func() Reports // nil: no metrics of reports
	// Received returns the result of the last run of signpost reports read. It is zero if there was none. nil: no metrics of received reports.
	Received func() status.Received
}

// New returns new metrics. The parameter observe is true if mode is "observe". The parameter version is the version of the program.
func New(observe bool, version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.messages = m.counters("signpost_messages_total", "Messages by role and action. In observe mode, the action is that of enforce mode.",
		"role", "action", cross(decision.Words(policy.Roles()), decision.Words(policy.Actions())))
	m.codes = make(map[policy.Code]prometheus.Counter)
	codes := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "signpost_decisions_total", Help: "Messages by the code of the reason for the action. The codes are listed in /usr/share/doc/signpost/docs/json.md."}, []string{"code"})
	m.registry.MustRegister(codes)
	for _, c := range policy.Codes() {
		m.codes[c] = codes.WithLabelValues(string(c))
	}
	m.results = m.counters("signpost_results_total", "Results by method and result word of RFC 8601.", "method", "result", resultPairs())
	m.queries = m.counters("signpost_dns_queries_total", "DNS lookups by type and outcome. For outcome cached, no query was sent.", "type", "outcome", cross(dns.Types(), decision.Words(dns.Outcomes())))
	m.querySeconds = m.histogram("signpost_dns_query_seconds", "Duration of DNS lookups that were not answered from the cache.",
		[]float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30})
	spent := []float64{.0003, .001, .003, .01, .03, .1, .3, 1, 3, 10, 30}
	m.signSeconds = m.histogram("signpost_sign_seconds", "Time that Postfix waited for Signpost, for messages that were signed.", spent)
	m.verifySeconds = m.histogram("signpost_verify_seconds", "Time that Postfix waited for Signpost, DNS included, for messages that were verified.", spent)
	m.forged = prometheus.NewCounter(prometheus.CounterOpts{Name: "signpost_forged_fields_removed_total", Help: "Header fields removed because they use the name of this server, or because a program could take them for its own."})
	m.unnamed = prometheus.NewCounter(prometheus.CounterOpts{Name: "signpost_unnamed_results_removed_total", Help: "Authentication-Results fields removed because they have no authserv-id."})
	m.panics = prometheus.NewCounter(prometheus.CounterOpts{Name: "signpost_panics_total", Help: "Internal errors, each of which affected one message or one DNS lookup."})
	m.tables = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "signpost_table_lookups_total", Help: "Lookups in the tables of domains.tables, by outcome."}, []string{"outcome"})
	m.lost = prometheus.NewCounterVec(prometheus.CounterOpts{Name: LostTotal, Help: "Messages that could not be written to the journal, by cause. The mail itself was not affected."}, []string{"cause"})
	m.lostTime = m.gauge(LostTime, "Time of the last loss that signpost_journal_lost_total counts, in seconds since 1970; 0 if there was none.")
	m.reloadOK = m.gauge("signpost_reload_success", "1 if the last reload succeeded or there was none; 0 if it failed and the previous configuration stays in effect.")
	m.reloadTime = m.gauge("signpost_reload_success_timestamp_seconds", "Time of the last successful start or reload, in seconds since 1970.")
	m.failovers = prometheus.NewCounter(prometheus.CounterOpts{Name: "signpost_dns_failovers_total", Help: "Changes of the preferred name server because it did not answer the query \". NS\"."})
	m.bounces = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "signpost_report_bounces_total", Help: "Bounces of DMARC reports, by whether they were kept for signpost reports send."}, []string{"result"})
	for _, result := range []string{bounceKept, bounceLost} {
		m.bounces.WithLabelValues(result) // creates the counter with 0, so that Prometheus sees the first bounce as an increase
	}
	m.received = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "signpost_reports_received_total", Help: "Messages to reports.receive.addresses that may be reports, by whether a copy was kept for signpost reports read."}, []string{"result"})
	for _, result := range policy.ReportCopies() {
		m.received.WithLabelValues(string(result)) // as above
	}
	m.registry.MustRegister(m.received, m.forged, m.unnamed, m.panics, m.lost, m.failovers, m.bounces, m.tables)
	m.observing = m.gauge("signpost_observe_mode", "1 if mode = \"observe\": nothing is signed, removed or rejected.")
	m.Observing(observe)
	m.buildInfo(version)
	m.Reloaded(true)
	return m
}

func cross(as, bs []string) (all []pair) {
	for _, a := range as {
		for _, b := range bs {
			all = append(all, pair{a, b})
		}
	}
	return all
}

func (m *Metrics) counters(name, help, a, b string, pairs []pair) map[pair]prometheus.Counter {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{a, b})
	m.registry.MustRegister(vec)
	all := make(map[pair]prometheus.Counter, len(pairs))
	for _, p := range pairs {
		all[p] = vec.WithLabelValues(p.a, p.b)
	}
	return all
}

func (m *Metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	m.registry.MustRegister(g)
	return g
}

// buildInfo registers signpost_build_info. The commit is "unknown" if the program was built outside version control.
func (m *Metrics) buildInfo(version string) {
	commit, compiler := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		compiler = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "signpost_build_info", Help: "Always 1; the labels have the version, the commit and the Go release."}, []string{"version", "commit", "go"})
	m.registry.MustRegister(g)
	g.WithLabelValues(version, commit, compiler).Set(1)
}

// Watch registers the source of the metrics that are computed at each scrape. Call it once.
func (m *Metrics) Watch(s Source) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "signpost_connections", Help: "Open milter connections."},
			func() float64 { return float64(s.Connections()) }),
		newKeysCollector(s.Keys, m.Panicked), newClusterCollector(s.Cluster, m.Panicked))
	if s.Reports != nil {
		m.registry.MustRegister(newReportsCollector(s.Reports))
	}
	if s.Received != nil {
		m.registry.MustRegister(newReceivedCollector(s.Received))
	}
}

// Panicked counts an internal error.
func (m *Metrics) Panicked() { m.panics.Inc() }

// Reloaded records whether a reload succeeded.
func (m *Metrics) Reloaded(ok bool) {
	m.reloadOK.Set(number(ok))
	if ok {
		m.reloadTime.Set(float64(time.Now().Unix()))
	}
}

// Observing records whether the mode is observe.
func (m *Metrics) Observing(observe bool) { m.observing.Set(number(observe)) }

// number returns the value of a gauge: 1 for true, 0 for false.
func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Asked counts a DNS lookup. Pass it to dns.Resolver.SetObserver.
func (m *Metrics) Asked(a dns.Asked) {
	add(m.queries, a.Type, string(a.Outcome))
	if a.Outcome == dns.Panicked {
		m.panics.Inc()
	}
	if a.Outcome != dns.Cached {
		m.querySeconds.Observe(a.Took.Seconds())
	}
}

// NameServerFailedOver counts a change of the preferred name server. Assign it to dns.Options.FailedOver.
func (m *Metrics) NameServerFailedOver() { m.failovers.Inc() }

// TableLookups counts n lookups in tables with an outcome of lookup.Outcomes.
func (m *Metrics) TableLookups(outcome string, n int) {
	m.tables.WithLabelValues(outcome).Add(float64(n))
}

// add increments the counter of a pair, if there is one. A test checks that each word has a counter.
func add(to map[pair]prometheus.Counter, a, b string) {
	if c := to[pair{a, b}]; c != nil {
		c.Inc()
	}
}

// JournalLost counts n messages that the journal lost for a cause of journal.Causes.
func (m *Metrics) JournalLost(cause string, n int) {
	m.lost.WithLabelValues(cause).Add(float64(n))
	if n > 0 {
		m.lostTime.SetToCurrentTime()
	}
}
