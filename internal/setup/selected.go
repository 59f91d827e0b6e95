package setup

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"signpost/internal/doctor"
	"signpost/internal/doctor/domain"
	"signpost/internal/doctor/host"
	"signpost/internal/doctor/postfix"
	"signpost/internal/lookup"
	"signpost/keys"
)

// Selected runs only those checks of this host, of Postfix and of one domain whose names are in the parameter names. It returns the arranged
// findings.
func (d Doctor) Selected(ctx context.Context, name string, names []string) []doctor.Finding {
	selected := func(all []doctor.Check) []doctor.Check {
		return slices.DeleteFunc(all, func(c doctor.Check) bool {
			return !slices.Contains(names, c.Name) && c.Name != "postfix" && c.Name != "domain"
		})
	}
	log := slog.New(slog.DiscardHandler)
	resolver, noResolver := Resolver(d.Config, time.Now, log)
	set, unread := KeyStore(d.Config).Load(nil)
	f := HostFacts(d.Config, d.File, d.Faulty, time.Now())
	f.KeysErr, f.ResolverErr = unread, noResolver
	if len(f.Tables.Names) > 0 {
		f.Tables.Ask, f.Tables.Unkeyed = d.askTable, nil
	}
	// The postfix check reads the settings for the others, so it runs even if it is not selected.
	found := doctor.Run(ctx, slices.Concat(selected(host.Checks(f)), selected(postfix.Checks(PostfixFacts(d.Config, d.File, d.Postfix)))))
	authority, err := Authority(d.Config, resolver, time.Now, log)
	if noResolver != nil || err != nil {
		return doctor.Arrange(found)
	}
	facts := domain.Facts{Domain: name, Resolver: authority.Resolver, Checker: &keys.Checker{Authority: authority}, Selectors: d.Selectors}
	if set != nil && len(set.Of(name)) > 0 {
		var sender domain.Sender
		found = append(found, doctor.Run(ctx, selected(domain.HostChecks(domain.Host{Given: d.Addresses, Domain: name, Resolver: authority.Resolver, Postconf: postfix.Postconf(d.Postfix)}, &sender)))...)
		facts.Own = &domain.Own{Sender: sender, Keys: set.Of(name)}
	}
	published := doctor.Run(ctx, selected(domain.Checks(facts)))
	for i := range published {
		published[i].Domain = name
	}
	return doctor.Arrange(append(found, published...))
}

// tableTimeout limits a lookup of Table: an administrator waits for it.
const tableTimeout = 10 * time.Second

// Table looks up a key in a table of Postfix with postmap(1).
func (d Doctor) Table(ctx context.Context, table, key string) (value string, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tableTimeout)
	defer cancel()
	answer, err := lookup.Postmap{ConfigDir: d.Postfix}.Lookup(ctx, table, key)
	return answer.Value, answer.Found, err
}
