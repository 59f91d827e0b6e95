// Package setup turns a configuration into what the programs work with. (This file is the doctor helper's stand-in: the setup helper's
// files have these functions, and it is deleted when both are merged.)
package setup

import (
	"log/slog"
	"net/netip"
	"time"

	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/keys"
	"signpost/policy"
)

// Resolver returns a resolver that queries the same name servers as the daemon.
func Resolver(conf *config.Config, now func() time.Time, log *slog.Logger) (*dns.Resolver, error) {
	servers := conf.DNS.Servers
	if len(servers) == 0 {
		var err error
		if servers, err = dns.ReadServers("/etc/resolv.conf"); err != nil {
			return nil, err
		}
	}
	return dns.New(dns.Options{Servers: servers, Timeout: conf.DNS.Timeout, Now: now, Log: log}), nil
}

// Authority returns the client of the authoritative name servers.
func Authority(conf *config.Config, resolver *dns.Resolver, now func() time.Time, log *slog.Logger) (*dns.Authority, error) {
	if r := conf.Keys.Resolver; r != "" {
		at, err := config.AddrPort(r)
		if err != nil {
			return nil, err
		}
		resolver = dns.New(dns.Options{Servers: []netip.AddrPort{at}, Timeout: conf.DNS.Timeout, Now: now, Log: log})
	}
	return &dns.Authority{Resolver: resolver, Port: 53, Known: conf.NameServers(), Timeout: conf.DNS.Timeout}, nil
}

// KeyStore returns the store of the keys.
func KeyStore(conf *config.Config) keys.Store {
	return keys.Store{State: conf.StateDir, Dir: conf.KeysDir(), Now: time.Now}
}

// Expired are the exceptions and the accepted forwarders that count no more, in words.
func Expired(conf *config.Config, now time.Time) []string {
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
	for _, f := range conf.DMARC.Forwarders {
		if !now.Before(f.Expires) {
			all = append(all, "[[forwarder]] "+policy.Forwarder(f).String()+" in "+conf.DMARC.ForwardersFile)
		}
	}
	return all
}

// OpenMetrics is the warning about a metrics.listen that is not loopback.
const OpenMetrics = "metrics.listen is not a loopback address: whoever reaches it reads your domains and counts your mail; let a firewall allow Prometheus alone"
