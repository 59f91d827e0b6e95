package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"signpost/keys"
)

// Keys is the state of the keys at one time.
type Keys struct {
	Snapshot *keys.Snapshot
	Readable bool                           // the keys directory could be read at the last attempt
	Wrong    map[string]int                 // the result of keys.Guard.Wrong
	Rules    func(domain string) keys.Rules // for keys.Plan
	Now      time.Time
}

// keysCollector computes the metrics of the keys at each scrape. There are few keys, so nothing needs to be cached.
type keysCollector struct {
	keys                                     func() Keys
	panicked                                 func()
	count, signs, next, mismatches, readable *prometheus.Desc
}

func newKeysCollector(f func() Keys, panicked func()) *keysCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &keysCollector{keys: f, panicked: panicked,
		count:      desc("signpost_keys", "Keys of a domain of this server, by state.", "domain", "state"),
		signs:      desc("signpost_domain_signs", "1 if mail of a hosted domain can be signed; 0 if no usable key is active.", "domain"),
		next:       desc("signpost_key_next_step_seconds", "Seconds until the next step of each kind is due for a domain; negative if it is overdue.", "domain", "step"),
		mismatches: desc("signpost_key_audit_mismatches", "Keys of a domain that sign although a name server has no record of them, or a different one.", "domain"),
		readable:   desc("signpost_keys_readable", "1 if the keys could be read at the last attempt; 0 if not, and the keys read before continue to sign."),
	}
}

// Describe implements prometheus.Collector.
func (c *keysCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.count, c.signs, c.next, c.mismatches, c.readable} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. The library calls it in a separate goroutine, where a panic would end the daemon. It
// therefore recovers from panics.
func (c *keysCollector) Collect(ch chan<- prometheus.Metric) {
	defer func() {
		if recover() != nil {
			c.panicked()
		}
	}()
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	k := c.keys()
	send(c.readable, number(k.Readable))
	domains := k.Snapshot.Set.Known()
	for d := range k.Snapshot.Hosted {
		send(c.signs, number(len(k.Snapshot.Set.Signing(d)) > 0), d)
		if !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	for _, domain := range domains {
		all := k.Snapshot.Set.Of(domain)
		for state, n := range byState(all) {
			send(c.count, float64(n), domain, state)
		}
		for step, since := range nextSteps(all, k.Rules(domain), k.Now) {
			send(c.next, since.Sub(k.Now).Seconds(), domain, string(step))
		}
		send(c.mismatches, float64(k.Wrong[domain]), domain)
	}
}

// byState returns the number of keys in each state. States without a key are included, so that an alert sees the 0.
func byState(all []*keys.Key) map[string]int {
	n := map[string]int{}
	for _, s := range []keys.State{keys.Generated, keys.Published, keys.Verified, keys.Active, keys.Retiring, keys.Revoked, keys.Removed, keys.Unusable} {
		n[string(s)] = 0
	}
	for _, k := range all {
		if k.Err != nil && k.Signer == nil {
			n[string(keys.Unusable)]++
		} else {
			n[string(k.State)]++
		}
	}
	return n
}

// nextSteps returns, for each kind of step, the earliest time at which such a step is due.
func nextSteps(all []*keys.Key, r keys.Rules, now time.Time) map[keys.Action]time.Time {
	next := map[keys.Action]time.Time{}
	for _, s := range keys.Plan(all, r, now) {
		if since, ok := next[s.Do]; !ok || s.Since(now).Before(since) {
			next[s.Do] = s.Since(now)
		}
	}
	return next
}
