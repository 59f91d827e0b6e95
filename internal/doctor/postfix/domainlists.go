package postfix

import (
	"context"
	"slices"
	"strings"

	"signpost/internal/domain"
)

// DomainEntry is one entry of a parameter that lists domains of this host.
type DomainEntry struct {
	Where  string // "main.cf: NAME", or "master.cf: SERVICE -o NAME"
	Table  string // TYPE:NAME, or
	Domain string // a domain in lower case, or
	Text   string // an entry that is neither; Why states why not
	Why    string
}

// domainParameters returns the parameters that list domains whose mail this host receives and, usually, sends.
func domainParameters() []string {
	return []string{"virtual_mailbox_domains", "virtual_alias_domains", "mydestination"}
}

// DomainEntries runs postconf and returns the entries of the parameters that list domains, and of relay_domains if relay is true: those in
// main.cf, and the -o options of master.cf. dir is the directory of main.cf, or "" for Postfix's default. The host name of this machine and
// names without a dot are omitted.
func DomainEntries(ctx context.Context, dir string, relay bool) ([]DomainEntry, error) {
	p, err := readPostconf(ctx, dir)
	if err != nil {
		return nil, err
	}
	names := domainParameters()
	if relay {
		names = append(names, "relay_domains")
	}
	own := []string{domain.Fold(p.main["myhostname"]), "localhost." + domain.Fold(p.main["mydomain"])}
	var all []DomainEntry
	for _, name := range names {
		for _, s := range p.places(name) {
			where, _, _ := strings.Cut(p.where(s, name), "=")
			for _, entry := range words(p.get(s, name)) {
				if e := domainEntry(entry); !slices.Contains(own, e.Domain) && (e.Domain == "" || strings.Contains(e.Domain, ".")) {
					e.Where = strings.TrimSpace(where)
					all = append(all, e)
				}
			}
		}
	}
	return all, nil
}

// domainEntry reads one entry of a domain list: see "Domain list" in postconf(5), virtual_mailbox_domains.
func domainEntry(entry string) DomainEntry {
	switch name := strings.TrimPrefix(entry, "proxy:"); {
	case strings.HasPrefix(entry, "!"):
		return DomainEntry{Text: entry, Why: "it excludes a pattern"}
	case strings.HasPrefix(entry, "/"):
		return DomainEntry{Text: entry, Why: "it is a file with patterns, not a table"}
	case strings.HasPrefix(entry, "["):
		return DomainEntry{Text: entry, Why: "it is an address of a host"}
	case strings.Contains(name, ":"):
		return DomainEntry{Table: name}
	default:
		return DomainEntry{Domain: domain.Fold(entry)}
	}
}
