package metrics

import (
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"signpost/internal/cluster/control"
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/keys"
	"signpost/policy"
)

// sum returns the sum of all counters of a family.
func sum(t *testing.T, m *Metrics, name string) (total float64) {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			if f.GetName() == name {
				total += s.GetCounter().GetValue() + s.GetGauge().GetValue()
			}
		}
	}
	return total
}

func message() *decision.Record {
	e := policy.Evidence{SPF: &spf.Result{Status: spf.Pass}, DKIM: []dkim.Result{{Status: dkim.Pass}, {Status: dkim.Fail}},
		DMARC: []dmarc.Result{{Status: dmarc.Pass}}, ARC: &dkim.Chain{Status: none},
		Connection: policy.Connection{Client: netip.MustParseAddr("192.0.2.1"), Name: "mail.example"}}
	return &decision.Record{Code: policy.DMARCPass, Assignment: policy.Assignment{Role: policy.RoleVerify}, Verdict: policy.Verdict{Action: policy.Accept}, Evidence: e, HandlerMS: 1000}
}

// Counting a message and a query needs no memory allocation.
func TestAllocations(t *testing.T) {
	m := New(false, "1.2")
	f, asked := message(), dns.Asked{Type: "TXT", Outcome: dns.Found, Took: time.Second}
	if n := testing.AllocsPerRun(100, func() { m.Message(f); m.Asked(asked) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Each possible word of a message or a query has a counter.
func TestEveryWordCounts(t *testing.T) {
	m, n := New(false, "1.2"), 0.0
	for _, role := range policy.Roles() {
		for _, action := range policy.Actions() {
			n++
			m.Message(&decision.Record{Assignment: policy.Assignment{Role: role}, Verdict: policy.Verdict{Action: action}})
		}
	}
	if got := sum(t, m, "signpost_messages_total"); got != n {
		t.Errorf("%v messages, want %v", got, n)
	}
	for i, code := range policy.Codes() {
		m.Message(&decision.Record{Code: code})
		if got := sum(t, m, "signpost_decisions_total"); got != float64(i+1) {
			t.Errorf("%s is not counted", code)
		}
	}
	removed := message()
	removed.Forged, removed.Unnamed = 3, 2
	m.Message(removed)
	if forged, unnamed := sum(t, m, "signpost_forged_fields_removed_total"), sum(t, m, "signpost_unnamed_results_removed_total"); forged != 3 || unnamed != 2 {
		t.Errorf("%v forged and %v unnamed fields, want 3 and 2", forged, unnamed)
	}
	if got := sum(t, m, "signpost_results_total"); got != 6 {
		t.Errorf("%v results, want 6", got)
	}
	m.Asked(dns.Asked{Type: "other", Outcome: dns.Panicked})
	if q, p := sum(t, m, "signpost_dns_queries_total"), sum(t, m, "signpost_panics_total"); q != 1 || p != 1 {
		t.Errorf("%v queries and %v panics, want one each", q, p)
	}
}

// The metrics show that a reload failed, and keep the time of the last successful reload.
func TestReloaded(t *testing.T) {
	m := New(true, "1.2")
	at := sum(t, m, "signpost_reload_success_timestamp_seconds")
	m.Reloaded(false)
	if got := sum(t, m, "signpost_reload_success"); got != 0 {
		t.Errorf("success %v", got)
	}
	if got := sum(t, m, "signpost_reload_success_timestamp_seconds"); got != at || at == 0 {
		t.Errorf("time %v, was %v", got, at)
	}
	m.Reloaded(true)
	if got := sum(t, m, "signpost_reload_success"); got != 1 {
		t.Errorf("success %v", got)
	}
}

// A panic in the computation of the key metrics does not end the daemon, and does not affect the other metrics.
func TestKeysPanic(t *testing.T) {
	m := New(false, "1.2")
	m.Watch(Source{Connections: func() int { return 3 }, Keys: func() Keys { return Keys{} }, Cluster: func() (s control.Status, ok bool, err error) { return s, false, nil }}) // without a snapshot
	if got := sum(t, m, "signpost_connections"); got != 3 {
		t.Errorf("%v connections", got)
	}
	if got := sum(t, m, "signpost_panics_total"); got == 0 {
		t.Error("the panic is not counted")
	}
}

// The metrics of the cluster come from the state that signpost-cluster wrote. If it wrote none, or an old one, the cluster is not up.
func TestCluster(t *testing.T) {
	values := func(s control.Status, ok bool, err error) map[string]float64 {
		c := newClusterCollector(func() (control.Status, bool, error) { return s, ok, err }, func() { t.Error("panic") })
		ch := make(chan prometheus.Metric, 100)
		c.Collect(ch)
		close(ch)
		all := map[string]float64{}
		for metric := range ch {
			var value dto.Metric
			if err := metric.Write(&value); err != nil {
				t.Fatal(err)
			}
			all[strings.Split(metric.Desc().String(), `"`)[1]] = value.GetGauge().GetValue() + value.GetCounter().GetValue()
		}
		return all
	}
	s := control.Status{At: time.Now(), Host: "a", Leader: "a", Version: 5, Database: control.Database{Version: 7, Reachable: true, Since: time.UnixMilli(1500)},
		Hosts: []control.Host{{Name: "a", ClockMS: -250}, {Name: "b", Missing: true}}, Refused: []control.Refused{{Table: "sp_key"}}, Messages: &control.Messages{Shipped: 9, Waiting: 2, Lost: 1, Bytes: 4096}, Reports: &control.Reports{Late: []string{"b"}}}
	want := map[string]float64{"signpost_cluster_up": 1, "signpost_cluster_version": 5, "signpost_cluster_lag": 2, "signpost_cluster_database_reachable": 1,
		"signpost_cluster_database_changed_timestamp_seconds": 1.5, "signpost_cluster_leader": 1, "signpost_cluster_hosts_missing": 1, "signpost_cluster_rows_refused": 1, "signpost_cluster_report_hosts_late": 1,
		"signpost_cluster_clock_difference_seconds": -0.25,
		"signpost_cluster_messages_shipped_total":   9, "signpost_cluster_messages_waiting": 2, "signpost_cluster_messages_lag_seconds": 0,
		"signpost_cluster_messages_lost_total": 1, "signpost_cluster_messages_database_bytes": 4096}
	if got := values(s, true, nil); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	s.Messages.Since = time.Now().Add(-time.Minute)
	if lag := values(s, true, nil)["signpost_cluster_messages_lag_seconds"]; lag < 60 || lag > 120 {
		t.Errorf("lag %v", lag)
	}
	s.At = s.At.Add(-time.Hour)
	if got := values(s, true, nil); got["signpost_cluster_up"] != 0 || len(got) != len(want) {
		t.Errorf("%v", got)
	}
	if got := values(s, true, fs.ErrNotExist); !maps.Equal(got, map[string]float64{"signpost_cluster_up": 0}) {
		t.Errorf("%v", got)
	}
	if got := values(s, false, nil); len(got) != 0 {
		t.Errorf("metrics of a cluster without a cluster: %v", got)
	}
}

// A hosted domain without a key has the value 0, so that an alert can detect it.
func TestNoKey(t *testing.T) {
	c := newKeysCollector(func() Keys {
		return Keys{Snapshot: &keys.Snapshot{Set: &keys.Set{}, Hosted: map[string]bool{"example.org": true}}, Rules: func(string) keys.Rules { return keys.Rules{} }}
	}, func() { t.Error("panic") })
	ch := make(chan prometheus.Metric, 100)
	c.Collect(ch)
	close(ch)
	n, signs := 0, false
	for metric := range ch {
		if strings.Contains(metric.Desc().String(), `"signpost_keys"`) {
			n++
		}
		if strings.Contains(metric.Desc().String(), `"signpost_domain_signs"`) {
			var value dto.Metric
			if err := metric.Write(&value); err != nil {
				t.Fatal(err)
			}
			signs = value.GetGauge().GetValue() == 0
		}
	}
	if !signs {
		t.Error("the metrics do not show that no key signs")
	}
	if n != 8 {
		t.Errorf("%d states, want 8", n)
	}
}

// Another web site whose name points to this host (DNS rebinding) cannot read the metrics.
func TestHost(t *testing.T) {
	s, err := Listen("localhost:0", New(false, "1.2"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	self, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for host, status := range map[string]int{"": 200, "localhost": 200, "127.0.0.1:9890": 200, "[::1]:9890": 200, self + ":9890": 200, "attacker.example": 421, "attacker.example:9890": 421} {
		for _, path := range []string{"/metrics", "/healthz"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr().String()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if answer.StatusCode != status || status != 200 && strings.Contains(string(body), "signpost_") {
				t.Errorf("%s for %q: %d, want %d", path, host, answer.StatusCode, status)
			}
		}
	}
}

// /readyz fails before the sockets are open and after a stop was requested. /healthz succeeds all the time.
func TestStates(t *testing.T) {
	s, err := Listen("127.0.0.1:0", New(false, "1.2"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	want := func(path string, status int, body string) {
		t.Helper()
		r, err := http.Get("http://" + s.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		if r.StatusCode != status || string(b) != body {
			t.Errorf("%s: %d %q", path, r.StatusCode, b)
		}
	}
	want("/healthz", 200, "ok\n")
	want("/readyz", 503, "starting\n")
	s.Ready([]net.Addr{ln.Addr()})
	want("/readyz", 200, "ok\n")
	s.Draining()
	want("/healthz", 200, "ok\n")
	want("/readyz", 503, "draining\n")
}

// A failover to another name server is counted.
func TestFailover(t *testing.T) {
	m := New(false, "1.2")
	m.NameServerFailedOver()
	if got := sum(t, m, "signpost_dns_failovers_total"); got != 1 {
		t.Errorf("%v failovers", got)
	}
}
