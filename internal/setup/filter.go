package setup

import (
	"log/slog"
	"slices"
	"time"

	"signpost/internal/config"
	"signpost/internal/filter"
	"signpost/internal/lookup"
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

// TableServers returns a source that queries the servers of the tables.
func TableServers(conf *config.Config) lookup.Source {
	return lookup.NewServers(lookup.NewClient(conf.Domains.Server.Network, conf.Domains.Server.Address))
}

// TableAnswers returns a cache for the answers of TableServers.
func TableAnswers(conf *config.Config, log *slog.Logger) *lookup.Cache {
	return lookup.NewCache(TableServers(conf), lookup.CacheOptions{Timeout: conf.Domains.Timeout, Log: log})
}

// Listed returns a function that looks up domains in domains.tables. It returns nil if there are no tables.
func Listed(conf *config.Config, answers lookup.Source) filter.Listed {
	if len(conf.Domains.Tables) == 0 {
		return nil
	}
	return lookup.Tables{Source: answers, Names: conf.Domains.Tables, Timeout: conf.Domains.Timeout}.Find
}

// Rules returns the rules of the configuration, without the hosted domains. They include expired local rules and forwarders: see
// policy.Rules.At.
func Rules(conf *config.Config) policy.Rules {
	return policy.Rules{
		TrustedNetworks: conf.TrustedNetworks,
		SkipNetworks:    conf.Verify.SkipNetworks,
		SignDomains:     conf.Sign.Domains,
		Subdomains:      conf.Sign.Subdomains,
		LoginDomains:    conf.Sign.LoginDomains,
		OnMissingKey:    policy.Action(conf.Sign.OnMissingKey),

		HostileFrom:       conf.Verify.HostileFrom,
		Reject:            conf.DMARC.Reject,
		RejectFor:         conf.DMARC.RejectFor,
		Quarantine:        conf.DMARC.Quarantine,
		TempError:         conf.DMARC.TempError,
		TrustedForwarders: conf.DMARC.TrustedForwarders,
		TrustedSealers:    conf.DMARC.TrustedSealers,
		SPFFail:           conf.SPF.Fail,
		Allow:             localRules(slices.Concat(conf.Allow, conf.Shared.Allow)),
		Deny:              localRules(slices.Concat(conf.Deny, conf.Shared.Deny)),
		Forwarders:        forwarders(slices.Concat(conf.DMARC.Forwarders, conf.Shared.Forwarders)),
	}
}

func forwarders(from []config.Forwarder) []policy.Forwarder {
	all := make([]policy.Forwarder, len(from))
	for i, f := range from {
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
