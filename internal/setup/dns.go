package setup

import (
	"log/slog"
	"net/netip"
	"time"

	"signpost/internal/config"
	"signpost/internal/dns"
)

// ResolvConf is the file with the DNS servers that are used if the configuration sets none.
const ResolvConf = "/etc/resolv.conf"

// dnsPort is the port of authoritative name servers.
const dnsPort = 53

// ResolverOptions returns the options of a resolver: the DNS servers and the timeout of a query. If the configuration has no DNS servers,
// it returns the servers that this host uses.
func ResolverOptions(conf *config.Config, now func() time.Time, log *slog.Logger) (dns.Options, error) {
	o := dns.Options{Servers: conf.DNS.Servers, Timeout: conf.DNS.Timeout, Now: now, Log: log}
	var err error
	if len(o.Servers) == 0 {
		o.Servers, err = dns.ReadServers(ResolvConf)
	}
	return o, err
}

// Resolver returns a resolver that queries the same DNS servers as the daemon.
func Resolver(conf *config.Config, now func() time.Time, log *slog.Logger) (*dns.Resolver, error) {
	o, err := ResolverOptions(conf, now, log)
	if err != nil {
		return nil, err
	}
	return dns.New(o), nil
}

// Authority returns the client of the authoritative name servers of key records. It finds these servers through keys.resolver if that is
// set, and otherwise through the parameter resolver. If that is nil, it creates a resolver.
func Authority(conf *config.Config, resolver *dns.Resolver, now func() time.Time, log *slog.Logger) (*dns.Authority, error) {
	if r := conf.Keys.Resolver; r != "" {
		at, err := config.AddrPort(r)
		if err != nil {
			return nil, err
		}
		resolver = dns.New(dns.Options{Servers: []netip.AddrPort{at}, Timeout: conf.DNS.Timeout, Now: now, Log: log})
	}
	if resolver == nil {
		var err error
		if resolver, err = Resolver(conf, now, log); err != nil {
			return nil, err
		}
	}
	return &dns.Authority{Resolver: resolver, Port: dnsPort, Known: conf.NameServers(), Timeout: conf.DNS.Timeout}, nil
}
