package setup

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"signpost/internal/config"
	"signpost/internal/domain"
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
		TablesTimeout:   conf.Domains.Timeout,
		Now:             time.Now,
		Log:             log,
	}
}

// TableServers returns a source that queries the servers of the tables.
func TableServers(conf *config.Config) lookup.Source {
	return lookup.NewServers(lookup.NewClient(conf.Domains.Server.Network, conf.Domains.Server.Address))
}

// TableAnswers returns a cache for the answers of TableServers. It calls observe for each lookup.
func TableAnswers(conf *config.Config, log *slog.Logger, observe func(lookup.Outcome)) *lookup.Cache {
	return lookup.NewCache(TableServers(conf), lookup.CacheOptions{Timeout: conf.Domains.Timeout, Log: log, Observe: observe})
}

// Listed returns a function that looks up domains in domains.tables. It returns nil if there are no tables.
func Listed(conf *config.Config, answers lookup.Source) filter.Listed {
	if len(conf.Domains.Tables) == 0 {
		return nil
	}
	tables := lookup.Tables{Source: answers, Names: conf.Domains.Tables, Timeout: conf.Domains.Timeout}
	return func(ctx context.Context, domains []string) (table string, found bool, err error) {
		var keys []string
		for _, name := range domains {
			keys = append(keys, domain.Forms(name)...)
		}
		return tables.Find(ctx, keys)
	}
}

// Owners returns a function that looks up addresses in sign.login_maps. It returns nil if there are no tables.
func Owners(conf *config.Config, answers lookup.Source) filter.Owners {
	if len(conf.Sign.LoginMaps) == 0 {
		return nil
	}
	owners := lookup.Owners{Source: answers, Names: conf.Sign.LoginMaps, Delimiter: conf.RecipientDelimiter, Local: conf.Sign.LoginLocal}
	return func(ctx context.Context, local, name string) (logins []string, table string, found bool, err error) {
		return owners.Find(ctx, local, domain.Forms(name))
	}
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
		LoginMaps:       len(conf.Sign.LoginMaps) > 0,
		LoginSender:     conf.Sign.LoginSender,
		LoginUnlisted:   policy.Action(conf.Sign.LoginUnlisted),
		LoginMismatch:   loginMismatch(conf),
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
		DiscardReports:    conf.Reports.Receive.Discard && len(conf.Reports.Receive.Addresses) > 0,
		Forwarders:        forwarders(slices.Concat(conf.DMARC.Forwarders, conf.Shared.Forwarders)),
	}
}

// loginMismatch returns the action on mail whose login may not use its From address.
func loginMismatch(conf *config.Config) policy.Action {
	if conf.Sign.LoginMismatch == "log" {
		return policy.Accept
	}
	return policy.Reject
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
