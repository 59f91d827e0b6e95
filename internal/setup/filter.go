package setup

import (
	"log/slog"
	"time"

	"signpost/internal/config"
	"signpost/internal/filter"
	"signpost/policy"
)

// Filter returns the filter of the configuration. The caller sets Keys, Resolver and the callbacks.
func Filter(conf *config.Config, log *slog.Logger) *filter.Filter {
	return &filter.Filter{
		Rules:           Rules(conf),
		Observe:         conf.Observe,
		AuthservID:      conf.AuthservID,
		AuthservAliases: conf.AuthservAliases,
		Expire:          conf.Sign.Expire,
		MessageTimeout:  conf.DNS.MessageTimeout,
		Now:             time.Now,
		Log:             log,
	}
}

// Rules returns the rules of the configuration, without the hosted domains. They include local rules and forwarders that have
// expired: see policy.Rules.At.
func Rules(conf *config.Config) policy.Rules {
	return policy.Rules{
		TrustedNetworks: conf.TrustedNetworks,
		SkipNetworks:    conf.Verify.SkipNetworks,
		SignDomains:     conf.Sign.Domains,
		Subdomains:      conf.Sign.Subdomains,
		LoginDomains:    conf.Sign.LoginDomains,
		OnMissingKey:    policy.MissingKeyAction(conf.Sign.OnMissingKey),

		HostileFrom:       conf.Verify.HostileFrom,
		Reject:            conf.DMARC.Reject,
		RejectFor:         conf.DMARC.RejectFor,
		Quarantine:        conf.DMARC.Quarantine,
		TempError:         conf.DMARC.TempError,
		TrustedForwarders: conf.DMARC.TrustedForwarders,
		TrustedSealers:    conf.DMARC.TrustedSealers,
		SPFFail:           conf.SPF.Fail,
		Allow:             localRules(conf.Allow),
		Deny:              localRules(conf.Deny),
		Forwarders:        forwarders(conf),
	}
}

func forwarders(conf *config.Config) []policy.Forwarder {
	all := make([]policy.Forwarder, len(conf.DMARC.Forwarders))
	for i, f := range conf.DMARC.Forwarders {
		all[i] = policy.Forwarder(f)
	}
	return all
}

func localRules(from []config.LocalRule) []policy.LocalRule {
	rules := make([]policy.LocalRule, len(from))
	for i, r := range from {
		rules[i] = policy.LocalRule(r)
	}
	return rules
}

// Expired returns a text for each local rule and each accepted forwarder that has expired.
func Expired(conf *config.Config, now time.Time) (all []string) {
	rules := Rules(conf)
	for _, r := range rules.Allow {
		if !now.Before(r.Expires) {
			all = append(all, "[[allow]] "+r.String())
		}
	}
	for _, r := range rules.Deny {
		if !now.Before(r.Expires) {
			all = append(all, "[[deny]] "+r.String())
		}
	}
	for _, f := range rules.Forwarders {
		if !now.Before(f.Expires) {
			all = append(all, "[[forwarder]] "+f.String()+" in "+conf.DMARC.ForwardersFile)
		}
	}
	return all
}

// OpenMetrics is the warning if metrics.listen is not a loopback address.
const OpenMetrics = "metrics.listen is not a loopback address: whoever reaches it reads your domains and counts your mail; let a firewall allow Prometheus alone"
