package main

import (
	"net"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/policy"
)

// concerns are what check-config and doctor say of a configuration that is valid.
func concerns(conf *config.Config, now time.Time) (all []doctor.Finding) {
	for _, key := range conf.NotYet() {
		all = append(all, doctor.Finding{What: key + ": has no effect yet in this version", Why: "what it asks for is not done", Fix: "# " + key})
	}
	for _, entry := range expired(conf, now) {
		all = append(all, doctor.Finding{What: "has expired and does not count: " + entry, Why: "what it was for is no longer let through, or refused",
			Fix: "expires = " + now.AddDate(1, 0, 0).Format(time.DateOnly) + " # or take it out"})
	}
	if conf.MetricsOpen() {
		_, port, _ := net.SplitHostPort(conf.MetricsListen)
		all = append(all, doctor.Finding{What: openMetrics, Why: "there is no password", Fix: `metrics.listen = "127.0.0.1:` + port + `"`})
	}
	return all
}

// expired are the exceptions of the configuration that count no more, in words.
func expired(conf *config.Config, now time.Time) []string {
	var all []string
	for _, list := range []struct {
		name  string
		rules []config.LocalRule
	}{{"[[allow]]", conf.Allow}, {"[[deny]]", conf.Deny}} {
		for _, r := range list.rules {
			if !now.Before(r.Expires) {
				all = append(all, list.name+" "+policy.LocalRule(r).String())
			}
		}
	}
	return all
}
