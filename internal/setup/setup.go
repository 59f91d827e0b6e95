// Package setup creates the parts of a program from its configuration: resolvers, the key store, key rules, publishers, the filter with
// its rules, and loggers. All programs use it, so that a configuration key has the same effect in each. It does not import the journal.
// Otherwise dkimkey and greyskip would also link SQLite. For example:
//
//	conf, err := setup.Load(file, named)
//	resolver, err := setup.Resolver(conf, time.Now, log)
package setup

import (
	"errors"
	"path/filepath"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/config"
)

// Load returns the configuration of a file. If the file does not exist and named is false, it returns the defaults, so that a command
// works without an installation. The parameter named is true if the command line names the file.
func Load(file string, named bool) (*config.Config, error) {
	if file == "" {
		return nil, errors.New("--config: FILE required")
	}
	if !named && !config.Exists(file) {
		return config.Default(), nil
	}
	return config.Load(file)
}

// Expired returns the text of each expired local rule and accepted forwarder.
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
	for _, f := range forwarders(conf.DMARC.Forwarders) {
		add(f.Expires, "[[forwarder]] "+f.String()+" in "+conf.DMARC.ForwardersFile)
	}
	for _, f := range forwarders(conf.Shared.Forwarders) {
		add(f.Expires, "[[forwarder]] "+f.String()+" in "+conf.SharedFile())
	}
	return all
}

// OpenMetrics is the warning that the address in metrics.listen is not a loopback address.
const OpenMetrics = "metrics.listen is not a loopback address: other hosts can read your domains and mail counts; allow only Prometheus in the firewall"

// ClusterStatus returns the path of the file with the state of the cluster: control.Status.
func ClusterStatus(conf *config.Config) string {
	return filepath.Join(conf.ClusterDir(), control.StatusName)
}
