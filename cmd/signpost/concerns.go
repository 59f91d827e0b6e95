package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/policy"
)

// concerns are what check-config and doctor say of a configuration that is valid.
func concerns(conf *config.Config, now time.Time) (all []doctor.Finding) {
	if conf.TagUnhandled() {
		all = append(all, doctor.Finding{Level: doctor.Red, What: "dmarc.quarantine_handled is false: no filter is known to act on the tag of quarantined mail",
			Why: "without a filter that acts on X-Signpost-Disposition, quarantined forgeries reach the inbox",
			Fix: "quarantine_handled = true # in [dmarc], after you installed dist/junk.sieve or dist/milter_header_checks: docs/operations.md, \"Quarantined mail\""})
	}
	for _, key := range conf.NotYet() {
		all = append(all, doctor.Finding{What: key + ": has no effect yet in this version", Why: "what it asks for is not done", Fix: "# " + key})
	}
	for _, entry := range expired(conf, now) {
		all = append(all, doctor.Finding{What: "has expired and does not count: " + entry, Why: "what it was for is no longer let through, or refused",
			Fix: "expires = " + now.AddDate(1, 0, 0).Format(time.DateOnly) + " # or take it out"})
	}
	if _, err := os.Stat(conf.DMARC.ForwardersFile); conf.DMARC.ForwardersGiven && errors.Is(err, fs.ErrNotExist) {
		all = append(all, doctor.Finding{What: "dmarc.forwarders_file: there is no " + conf.DMARC.ForwardersFile, Why: "no list or forwarder is accepted", Fix: "signpost forwarders"})
	}
	if conf.MetricsOpen() {
		_, port, _ := net.SplitHostPort(conf.MetricsListen)
		all = append(all, doctor.Finding{What: openMetrics, Why: "there is no password", Fix: `metrics.listen = "127.0.0.1:` + port + `"`})
	}
	return all
}

// expired are the exceptions and the accepted forwarders that count no more, in words.
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
	for _, f := range acceptedForwarders(conf) {
		if !now.Before(f.Expires) {
			all = append(all, "[[forwarder]] "+f.String()+" in "+conf.DMARC.ForwardersFile)
		}
	}
	return all
}
