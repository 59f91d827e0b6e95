package send

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"signpost/internal/dmarc"
	"signpost/internal/domain"
	"signpost/internal/report"
)

// Drop is why no report about a Policy Domain is sent.
type Drop string

// The reasons.
const (
	NoPolicy      Drop = "no_policy"      // the DMARC record is gone
	NoRUA         Drop = "no_rua"         // the record has no rua with a usable mailto address
	Registry      Drop = "registry"       // the record is that of a registry (psd=y or a public suffix): RFC 9990 section 7
	NotAuthorized Drop = "not_authorized" // no organization in rua accepts reports about the domain: RFC 9990 section 4
	Excluded      Drop = "excluded"       // reports.send.exclude
)

// maxDestinations is the maximum number of addresses of one record, and of the addresses to which one report is sent. Honest records have
// one or two. A long list could be used to flood others with reports, or to use up the reports of a day.
const maxDestinations = 10

// maxName is the maximum length of a DNS name in bytes.
const maxName = 253

// Destinations looks up the DMARC record of a Policy Domain again, and returns the addresses in its rua that accept reports about the
// domain, in the order of the record, without MAC. If there are none, drop is the reason. The error is temporary: the caller tries again later.
func Destinations(ctx context.Context, r dmarc.Resolver, policyDomain string, exclude []string) (all []report.Destination, drop Drop, err error) {
	if excluded(policyDomain, exclude) {
		return nil, Excluded, nil
	}
	record, err := policy(ctx, r, policyDomain)
	switch {
	case err != nil:
		return nil, "", err
	case record == nil:
		return nil, NoPolicy, nil
	case record.PSD == 'y' || registry(policyDomain):
		return nil, Registry, nil
	}
	drop = NoRUA
	for i, a := range addresses(record.RUA) {
		if i == maxDestinations {
			break
		}
		host := a[strings.LastIndexByte(a, '@')+1:]
		if excluded(host, exclude) {
			drop = Excluded
			continue
		}
		accepted, err := authorized(ctx, r, policyDomain, host, a)
		if err != nil {
			return nil, "", err
		}
		if len(accepted) == 0 {
			drop = NotAuthorized
			continue
		}
		organization, err := organization(ctx, r, host)
		if err != nil {
			return nil, "", err
		}
		for _, a := range accepted {
			if !slices.ContainsFunc(all, func(d report.Destination) bool { return strings.EqualFold(d.Address, a) }) {
				all = append(all, report.Destination{Address: a, Organization: organization})
			}
		}
	}
	if len(all) > 0 {
		drop = ""
	}
	return all[:min(maxDestinations, len(all))], drop, nil
}

// registry reports whether a name is a top-level domain, or a public suffix of a registry, such as co.uk. The suffixes of hosters, such as
// github.io, are domains of one organization. The list is used for nothing else: DMARC itself does not depend on it.
func registry(name string) bool {
	suffix, icann := publicsuffix.PublicSuffix(name)
	return !strings.Contains(name, ".") || icann && suffix == name
}

// organization returns the Organizational Domain of a destination's host. If a lookup has failed for good, it is the host itself.
func organization(ctx context.Context, r dmarc.Resolver, host string) (string, error) {
	name, _, err := dmarc.Organization(ctx, r, host)
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) && !dns.Temporary() {
		return host, nil
	}
	return name, err
}

// policy returns the DMARC record of a domain, or nil if it has none. Several records count as none: RFC 9989 section 4.10, step 2.
func policy(ctx context.Context, r dmarc.Resolver, name string) (only *dmarc.Record, err error) {
	texts, err := lookUp(ctx, r, "_dmarc."+name)
	for _, text := range texts {
		record, ok := dmarc.ParseRecord(text)
		switch {
		case !ok:
		case only != nil:
			return nil, nil
		default:
			only = record
		}
	}
	if only != nil && only.Broken {
		only = nil
	}
	return only, err
}

// lookUp returns the TXT records of a name. Only a failure that a retry could cure is an error.
func lookUp(ctx context.Context, r dmarc.Resolver, name string) ([]string, error) {
	texts, err := r.LookupTXT(ctx, name)
	if dns, ok := err.(*net.DNSError); ok && !dns.Temporary() {
		return nil, nil
	}
	return texts, err
}

// authorized returns the addresses that replace address, or address itself, if its host accepts reports about the Policy Domain: RFC 9990
// section 4.
func authorized(ctx context.Context, r dmarc.Resolver, policyDomain, host, address string) ([]string, error) {
	same, failed := dmarc.SameOrganization(ctx, r, policyDomain, host)
	if same {
		return []string{address}, nil
	}
	if failed != "" {
		return nil, &net.DNSError{Err: "lookup failed", Name: failed, IsTemporary: true}
	}
	name := policyDomain + "._report._dmarc." + host
	if len(name) > maxName {
		return nil, nil
	}
	texts, err := lookUp(ctx, r, name)
	if err != nil {
		return nil, err
	}
	accepted := false
	for _, text := range texts {
		record, ok := dmarc.ParseRecord(text)
		if !ok {
			continue
		}
		accepted = true
		if len(record.RUA) == 0 {
			continue
		}
		others := addresses(record.RUA)
		if len(others) == 0 || slices.ContainsFunc(others, func(a string) bool { return !strings.HasSuffix(a, "@"+host) }) {
			return nil, nil // RFC 9990 section 4: send to neither
		}
		return others, nil
	}
	if !accepted {
		return nil, nil
	}
	return []string{address}, nil
}

// addresses returns the mailto addresses of URIs, with the domains as lower-case A-labels. It ignores other schemes, addresses that need
// quotes, and local parts such as user%host, with which a server that relays for us may send the report elsewhere.
func addresses(uris []string) (all []string) {
	for _, uri := range uris {
		scheme, rest, _ := strings.Cut(uri, ":")
		rest, _, _ = strings.Cut(rest, "?")
		text, err := url.PathUnescape(rest)
		if err != nil || !strings.EqualFold(scheme, "mailto") {
			continue
		}
		at := strings.LastIndexByte(text, '@')
		if at < 1 || at > maxLocal || strings.ContainsFunc(text[:at], func(r rune) bool { return !atomRune(r) }) {
			continue
		}
		host, err := domain.Parse(text[at+1:])
		if err == nil && strings.Contains(host, ".") {
			all = append(all, text[:at]+"@"+host)
		}
	}
	return unique(all)
}

// maxLocal is the maximum length of a local part in bytes: RFC 5321 section 4.5.3.1.1.
const maxLocal = 64

// atomRune reports whether a local part may contain r without quotes. '!' and '%' are not allowed: see addresses.
func atomRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("#$&'*+-/=?^_`{|}~.", r)
}

// unique returns addresses without repetitions. It compares them without regard to case.
func unique(all []string) (kept []string) {
	for _, a := range all {
		if !slices.ContainsFunc(kept, func(b string) bool { return strings.EqualFold(a, b) }) {
			kept = append(kept, a)
		}
	}
	return kept
}

func excluded(name string, exclude []string) bool {
	return slices.ContainsFunc(exclude, func(e string) bool { return domain.Within(name, e) })
}
