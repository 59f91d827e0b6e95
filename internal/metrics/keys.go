package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"signpost/keys"
)

// Keys is what is known of the keys at one moment.
type Keys struct {
	Snapshot *keys.Snapshot
	Readable bool                           // the keys directory could be read the last time
	Wrong    map[string]int                 // keys.Guard.Wrong
	Rules    func(domain string) keys.Rules // what steps are planned by
	Now      time.Time
}

// keysCollector computes the metrics of the keys at each scrape: there are few keys, and no state has to be updated.
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
		count:      desc("signpost_keys", "Keys of an own domain by state.", "domain", "state"),
		signs:      desc("signpost_domain_signs", "1 where the mail of a hosted domain can be signed, 0 where no usable key is active.", "domain"),
		next:       desc("signpost_key_next_step_seconds", "Seconds until the next step of each kind is due for a domain; negative since when it is.", "domain", "step"),
		mismatches: desc("signpost_key_audit_mismatches", "Keys of an own domain that sign and whose record is gone or another one at a name server.", "domain"),
		readable:   desc("signpost_keys_readable", "1 where the keys could be read the last time; 0 where the old ones go on signing."),
	}
}

// Describe is prometheus.Collector's.
func (c *keysCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.count, c.signs, c.next, c.mismatches, c.readable} {
		ch <- d
	}
}

// Collect is prometheus.Collector's. The library calls it on a goroutine of its own: a defect here would end the daemon.
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

// byState has a number for each state, so that an alert sees the 0 of a domain whose last key went away.
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

// nextSteps has for each kind the earliest time at which one is due.
func nextSteps(all []*keys.Key, r keys.Rules, now time.Time) map[keys.Action]time.Time {
	next := map[keys.Action]time.Time{}
	for _, s := range keys.Plan(all, r, now) {
		if since, ok := next[s.Do]; !ok || s.Since(now).Before(since) {
			next[s.Do] = s.Since(now)
		}
	}
	return next
}
