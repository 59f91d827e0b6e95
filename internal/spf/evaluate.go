package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"signpost/internal/domain"
)

// The limits of RFC 7208 section 4.6.4.
const (
	MaxTerms = 10 // terms with DNS lookups: include, a, mx, ptr, exists, redirect
	MaxVoids = 2  // terms with a void lookup, that is, a lookup that finds nothing
	MaxHosts = 10 // mail exchanges of one mx
	maxNames = 10 // names of the client that ptr and %{p} use
)

// evaluation is check_host() of RFC 7208 section 4 for one message. All records that it visits share its limits.
type evaluation struct {
	resolver     Resolver
	client       netip.Addr // IPv4 addresses are not IPv4-mapped
	helo         string
	local        string // of the sender, never empty
	sender       string // its domain
	terms, voids int
	record       string   // of the checked domain
	names        []string // the verified names of the client; see validated
	named        bool     // names is set
	nameless     error    // a lookup of the client's names or of their addresses found nothing
	path         *Path    // nil: the steps are not recorded
}

// decision is the term that decided, or the reason why no term matched.
type decision struct {
	cause        Cause
	term, domain string // as in Result
}

// host evaluates a domain's record. Its error is a *Fault.
func (e *evaluation) host(ctx context.Context, domain string) (Status, decision, error) {
	at := e.path.begin(domain, "")
	record, text, err := Find(ctx, e.resolver, domain)
	if e.record == "" {
		e.record = text
	}
	e.path.found(at, e, text, err)
	if err == nil {
		e.path.note(ctx, at, e.resolver, record)
	}
	if err != nil || record == nil {
		return None, decision{cause: NoRecord}, err
	}
	for _, d := range record.terms {
		at := e.path.begin(domain, d.Text)
		if d.Mechanism == Redirect {
			status, why, err := e.redirect(ctx, d, domain)
			err = located(err, d.Text, domain)
			e.path.redirected(at, e, status, err)
			return status, why, err
		}
		matches, err := e.match(ctx, d, domain)
		err = located(err, d.Text, domain)
		e.path.matched(at, e, matches, err)
		if err != nil {
			return "", decision{}, err
		}
		if matches {
			return d.Qualifier, decision{TermMatched, d.Text, domain}, nil
		}
	}
	return Neutral, decision{cause: NoTermMatched, domain: domain}, nil
}

// redirect evaluates redirect=: section 6.1.
func (e *evaluation) redirect(ctx context.Context, d Directive, domain string) (Status, decision, error) {
	target, _, err := e.target(ctx, d, domain)
	if err != nil {
		return "", decision{}, err
	}
	return e.follow(ctx, d, target)
}

// target counts a term with DNS lookups and returns the name to look up. The result known has the same meaning as in expand.
func (e *evaluation) target(ctx context.Context, d Directive, domain string) (name string, known bool, err error) {
	if e.terms++; e.terms > MaxTerms {
		return "", false, &Fault{Cause: TooManyLookupTerms}
	}
	if d.Domain == "" {
		return domain, true, nil
	}
	name, known = e.expand(ctx, d.Domain, domain)
	if d.Domain.HasMacros() {
		e.path.target(name)
	}
	return name, known, nil
}

// follow evaluates the record that an include or redirect leads to.
func (e *evaluation) follow(ctx context.Context, d Directive, target string) (Status, decision, error) {
	e.path.deeper(1)
	status, why, err := e.host(ctx, target)
	e.path.deeper(-1)
	if err == nil && status == None {
		cause := IncludeNoRecord
		if d.Mechanism == Redirect {
			cause = RedirectNoRecord
		}
		err = &Fault{Cause: cause, Detail: target}
	}
	return status, why, err
}

// Find looks up a domain's record: RFC 7208 sections 4.3 to 4.6. It returns nil if there is none. Its error is a *Fault. IsTemporary
// reports whether a retry may succeed.
func Find(ctx context.Context, r Resolver, domain string) (record *Record, text string, err error) {
	text, found, err := lookup(ctx, r, domain)
	switch {
	case err != nil:
		return nil, "", Failure(err)
	case found == 0:
		return nil, "", nil
	case found > 1:
		return nil, text, &Fault{Cause: SeveralRecords, Detail: strconv.Itoa(found), RecordDomain: domain}
	}
	record, fault := parse(text)
	if fault != nil {
		fault.RecordDomain = domain
		return nil, text, fault
	}
	return record, text, nil
}

// lookup returns an SPF record of a domain, and the number of SPF records that the domain has.
func lookup(ctx context.Context, r Resolver, domain string) (text string, found int, err error) {
	if !lookable(domain) {
		return "", 0, nil // section 4.3
	}
	all, err := r.LookupTXT(ctx, domain)
	if err != nil && !IsNotFound(err) {
		return "", 0, err
	}
	text, found = Among(all)
	return text, found, nil
}

// Among returns the last SPF record among TXT records, and the number of SPF records.
func Among(txt []string) (record string, n int) {
	for _, t := range txt {
		if IsRecord(t) {
			record = t
			n++
		}
	}
	return record, n
}

// IsTemporary reports whether an error of Find or Failure means temperror: a retry may succeed. Other errors mean permerror.
func IsTemporary(err error) bool {
	return CauseOf(err) == LookupFailed
}

// lookable reports whether a name can have a record: section 4.3.
func lookable(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if len(name) > 253 || !strings.Contains(name, ".") || !ascii(name) {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// answered handles err, the error of the lookup for a term that does not match. It returns the error that ends the evaluation, or nil. It
// is called once for each term. A term counts as at most one void lookup, because section 4.6.4 counts "terms".
func (e *evaluation) answered(err error) error {
	if err == nil {
		return nil
	}
	if !IsNotFound(err) {
		return Failure(err)
	}
	if e.voids++; e.voids > MaxVoids {
		return &Fault{Cause: TooManyVoidLookups}
	}
	return nil
}

// Failure returns the *Fault for an error of a Resolver for which IsNotFound is false.
func Failure(err error) error {
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		return &Fault{Cause: LookupFailed, err: err}
	}
	f := &Fault{Cause: LookupFailed, Detail: dns.Err, Name: strings.TrimSuffix(dns.Name, "."), err: err}
	if !dns.IsTemporary && !dns.IsTimeout {
		f.Cause = LookupUnusable
	}
	return f
}

// IsNotFound reports whether a Resolver's error means that there is no such record.
func IsNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// match reports whether a directive matches: section 5.
func (e *evaluation) match(ctx context.Context, d Directive, domain string) (bool, error) {
	switch d.Mechanism {
	case All:
		return true, nil
	case IP4, IP6:
		return d.Network.Masked().Contains(e.client), nil
	}
	target, known, err := e.target(ctx, d, domain)
	if err != nil || !known {
		return false, err // RFC 8616 section 4, which applies to include as well
	}
	switch d.Mechanism {
	case Include: // the table of section 5.2
		status, _, err := e.follow(ctx, d, target)
		return status == Pass, err
	case PTR:
		return e.matchPTR(ctx, target)
	case A:
		return e.matchHost(ctx, d, target)
	case MX:
		return e.matchMX(ctx, d, target)
	default: // Exists: it looks up an A record even for an IPv6 client (section 5.7)
		addrs, err := e.resolver.LookupA(ctx, target)
		return len(addrs) > 0 && err == nil, e.answered(err)
	}
}

func (e *evaluation) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	if e.client.Is4() {
		return e.resolver.LookupA(ctx, name)
	}
	return e.resolver.LookupAAAA(ctx, name)
}

func (e *evaluation) matchHost(ctx context.Context, d Directive, name string) (bool, error) {
	addrs, err := e.addresses(ctx, name)
	return e.among(d, addrs), e.answered(err)
}

func (e *evaluation) among(d Directive, addrs []netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return d.Around(a).Contains(e.client) })
}

// matchMX reports whether an mx matches: section 5.4. The term counts as one void lookup if any of its mail exchanges has no addresses.
func (e *evaluation) matchMX(ctx context.Context, d Directive, name string) (bool, error) {
	hosts, err := e.resolver.LookupMX(ctx, name)
	if err != nil {
		return false, e.answered(err)
	}
	if len(hosts) > MaxHosts {
		return false, &Fault{Cause: TooManyMX, Detail: name}
	}
	var absent error
	for _, mx := range hosts {
		if mx.Host == "." {
			continue // RFC 7505: the domain accepts no mail; there is nothing to look up
		}
		addrs, err := e.addresses(ctx, mx.Host)
		switch {
		case IsNotFound(err):
			absent = err
		case err != nil:
			return false, Failure(err)
		case e.among(d, addrs):
			return true, nil
		}
	}
	return false, e.answered(absent)
}

// matchPTR reports whether a ptr matches: section 5.5. The client's names are looked up once per check. If that lookup finds nothing, it
// counts as a void lookup for each ptr.
func (e *evaluation) matchPTR(ctx context.Context, target string) (bool, error) {
	target = domain.Fold(target)
	if slices.ContainsFunc(e.validated(ctx), func(name string) bool { return domain.Within(name, target) }) {
		return true, nil
	}
	return false, e.answered(e.nameless)
}

// validated returns the names of the client whose addresses include the client's: section 5.5. They are looked up once. If DNS fails,
// validated returns none.
func (e *evaluation) validated(ctx context.Context) []string {
	if e.named {
		return e.names
	}
	e.named = true
	all, err := e.resolver.LookupAddr(ctx, e.client.String())
	if err != nil {
		if IsNotFound(err) {
			e.nameless = err
		}
		return nil
	}
	for i, name := range all {
		if i == maxNames {
			break
		}
		addrs, err := e.addresses(ctx, name)
		if IsNotFound(err) {
			e.nameless = err
		}
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap() == e.client }) {
			e.names = append(e.names, domain.Fold(name))
		}
	}
	return e.names
}
