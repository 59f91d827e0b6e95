package setup

import (
	"context"
	"net/netip"
	"time"

	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/internal/doctor/postfix"
	"signpost/internal/doctor/reports"
	"signpost/internal/durable"
	"signpost/internal/lookup"
	"signpost/internal/report/status"
	"signpost/keys"
)

// ReportFacts returns the facts that the checks of the sending of reports need. The parameter dir is Postfix's configuration directory;
// empty: postconf's default. The parameter set may be nil.
func ReportFacts(conf *config.Config, resolver *dns.Resolver, set *keys.Set, dir string) reports.Facts {
	f := reports.Facts{Domain: conf.ReportsDomain(), Resolver: resolver.View(netip.Addr{}), Postconf: postfix.Postconf(dir), Ask: askPostmap(conf, dir)}
	if set != nil {
		for _, k := range set.Of(f.Domain) {
			if k.State == keys.Active {
				f.Selectors = append(f.Selectors, k.Selector)
			}
		}
	}
	return f
}

// askPostmap returns a function that looks up a key with postmap(1).
func askPostmap(conf *config.Config, dir string) func(ctx context.Context, table, key string) (string, bool, error) {
	return func(ctx context.Context, table, key string) (string, bool, error) {
		ctx, cancel := context.WithTimeout(ctx, conf.Domains.Timeout)
		defer cancel()
		answer, err := lookup.Postmap{ConfigDir: dir}.Lookup(ctx, table, key)
		return answer.Value, answer.Found, err
	}
}

// ReceivedFacts returns the facts that the checks of the receiving of reports need. The parameters are those of ReportFacts.
func ReceivedFacts(conf *config.Config, resolver *dns.Resolver, set *keys.Set, dir string) reports.Received {
	f := reports.Received{Addresses: conf.Reports.Receive.Addresses, Delimiter: conf.RecipientDelimiter, Resolver: resolver, Postconf: postfix.Postconf(dir), Ask: askPostmap(conf, dir), Now: time.Now,
		LastRun: func() (status.Received, error) {
			return status.Load(durable.Tree{conf.StateDir}, conf.ReceivedStatus())
		}}
	if set != nil {
		f.Hosted = set.Domains()
	}
	return f
}
