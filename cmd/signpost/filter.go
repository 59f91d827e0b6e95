package main

import (
	"log/slog"
	"net/netip"
	"time"

	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/internal/filter"
	"signpost/policy"
)

// resolvConf is where the name servers stand that the configuration does not name.
const resolvConf = "/etc/resolv.conf"

func newResolver(conf *config.Config, log *slog.Logger) (*dns.Resolver, error) {
	servers, err := nameServers(conf)
	if err != nil {
		return nil, err
	}
	return dns.New(dns.Options{Servers: servers, Timeout: conf.DNS.Timeout, Now: time.Now, Log: log}), nil
}

// nameServers are those of the configuration, or of this machine.
func nameServers(conf *config.Config) ([]netip.AddrPort, error) {
	if len(conf.DNS.Servers) > 0 {
		return conf.DNS.Servers, nil
	}
	return dns.ReadServers(resolvConf)
}

// newAuthority queries the name servers of keys. It uses keys.resolver if the daemon's own resolvers see another version of DNS.
func newAuthority(conf *config.Config, resolver *dns.Resolver, log *slog.Logger) (*dns.Authority, error) {
	if r := conf.Keys.Resolver; r != "" {
		at, err := config.AddrPort(r)
		if err != nil {
			return nil, err
		}
		resolver = dns.New(dns.Options{Servers: []netip.AddrPort{at}, Timeout: conf.DNS.Timeout, Now: time.Now, Log: log})
	}
	return &dns.Authority{Resolver: resolver, Port: 53, Known: conf.NameServers(), Timeout: conf.DNS.Timeout}, nil
}

// newFilter gives the filter as the configuration has it; keys and resolver are still to be filled in.
func newFilter(conf *config.Config, log *slog.Logger) *filter.Filter {
	return &filter.Filter{
		Rules:           rules(conf),
		Observe:         conf.Observe,
		AuthservID:      conf.AuthservID,
		AuthservAliases: conf.AuthservAliases,
		Expire:          conf.Sign.Expire,
		MessageTimeout:  conf.DNS.MessageTimeout,
		Now:             time.Now,
		Log:             log,
	}
}

func rules(conf *config.Config) policy.Rules {
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
		Forwarders:        acceptedForwarders(conf),
	}
}

// acceptedForwarders are those of the file, expired or not.
func acceptedForwarders(conf *config.Config) []policy.Forwarder {
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
