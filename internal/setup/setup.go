// Package setup turns a configuration into what the programs work with: resolvers, the key store, the rules of keys and their
// publishers, the filter and its rules, loggers. It is the only place that does so: a configuration key has the same
// effect in all programs. It does not import the journal, because dkimkey and greyskip would then link SQLite.
package setup

import (
	"errors"
	"time"

	"signpost/internal/config"
)

// Load returns the configuration of a file. If the file does not exist and the command line does not name it, it returns the
// defaults, so that a command works before anything is installed.
func Load(file string, named bool) (*config.Config, error) {
	if file == "" {
		return nil, errors.New("--config: FILE required")
	}
	if !named && !config.Exists(file) {
		return config.Default(), nil
	}
	return config.Load(file)
}

// Expired returns a text for each local rule and each accepted forwarder that has expired.
func Expired(conf *config.Config, now time.Time) (all []string) {
	rules := Rules(conf)
	add := func(expires time.Time, entry string) {
		if !now.Before(expires) {
			all = append(all, entry)
		}
	}
	for _, r := range rules.Allow {
		add(r.Expires, "[[allow]] "+r.String())
	}
	for _, r := range rules.Deny {
		add(r.Expires, "[[deny]] "+r.String())
	}
	for _, f := range rules.Forwarders {
		add(f.Expires, "[[forwarder]] "+f.String()+" in "+conf.DMARC.ForwardersFile)
	}
	return all
}

// OpenMetrics is the warning if metrics.listen is not a loopback address.
const OpenMetrics = "metrics.listen is not a loopback address: whoever reaches it reads your domains and counts your mail; let a firewall allow Prometheus alone"
