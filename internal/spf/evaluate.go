package spf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/domain"
)

// The limits of RFC 7208 section 4.6.4.
const (
	MaxTerms = 10 // terms that ask DNS: include, a, mx, ptr, exists, redirect
	MaxVoids = 2  // terms with a lookup that finds nothing
	MaxHosts = 10 // mail exchanges of one mx
	maxNames = 10 // names of the client that ptr and %{p} use
)

// evaluation is check_host() of RFC 7208 section 4 for one message. All records that it follows share its limits.
type evaluation struct {
	resolver     Resolver
	client       netip.Addr // not an IPv4-mapped one
	helo         string
	local        string // of the sender, never empty
	sender       string // its domain
	terms, voids int
	record       string   // of the checked domain
	names        []string // of the client, verified; see validated
	named        bool     // names has been looked up
	nameless     error    // a lookup of the client's names or of their addresses found nothing
	path         *Path    // nil: not recorded
}

// stop is the error that ends an evaluation: an error of a record, or of DNS.
type stop struct {
	status Status
	why    string
	name   string // TempError: the DNS name whose lookup failed
}

func (s stop) Error() string { return s.why }

func permError(format string, args ...any) error {
	return stop{status: PermError, why: fmt.Sprintf(format, args...)}
}

// host evaluates a domain's record. The reason names the term that decided.
func (e *evaluation) host(ctx context.Context, domain string) (Status, string, error) {
	at := e.path.begin(domain, "")
	record, text, err := e.find(ctx, domain)
	e.path.end(at, e, text, err)
	if err != nil || record == nil {
		return None, "there is no SPF record", err
	}
	for _, d := range record.terms {
		at := e.path.begin(domain, d.Text)
		if d.Mechanism == Redirect {
			status, why, err := e.redirect(ctx, d, domain)
			e.path.end(at, e, string(status), err)
			return status, why, err
		}
		matches, err := e.match(ctx, d, domain)
		e.path.end(at, e, matchWord(matches), err)
		if err != nil {
			return "", "", err
		}
		if matches {
			return d.Qualifier, fmt.Sprintf("%s of %s", d.Text, domain), nil
		}
	}
	return Neutral, "no term matched", nil
}

// redirect evaluates redirect=: section 6.1.
func (e *evaluation) redirect(ctx context.Context, d Directive, domain string) (Status, string, error) {
	target, _, err := e.target(ctx, d, domain)
	if err != nil {
		return "", "", err
	}
	return e.follow(ctx, d, domain, target)
}

// target counts a term that asks DNS, and returns its name. known is that of expand.
func (e *evaluation) target(ctx context.Context, d Directive, domain string) (name string, known bool, err error) {
	if e.terms++; e.terms > MaxTerms {
		return "", false, permError("more than %d terms that ask DNS", MaxTerms)
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
func (e *evaluation) follow(ctx context.Context, d Directive, domain, target string) (Status, string, error) {
	e.path.deeper(1)
	status, why, err := e.host(ctx, target)
	e.path.deeper(-1)
	if err == nil && status == None {
		err = permError("%s of %s leads to no SPF record", d.Text, domain)
	}
	return status, why, err
}

// find looks up a domain's record, and returns its text for Path. It returns nil if there is none.
func (e *evaluation) find(ctx context.Context, domain string) (*Record, string, error) {
	record, text, err := Find(ctx, e.resolver, domain)
	if e.record == "" {
		e.record = text
	}
	if text == "" {
		text = "no SPF record"
	}
	return record, text, err
}

// Find looks up a domain's record: RFC 7208 sections 4.3 to 4.6. It returns nil if there is none. IsTemporary classifies its
// errors.
func Find(ctx context.Context, r Resolver, domain string) (record *Record, text string, err error) {
	text, found, err := lookup(ctx, r, domain)
	switch {
	case err != nil:
		return nil, "", Failure(err)
	case found == 0:
		return nil, "", nil
	case found > 1:
		return nil, text, permError("%s has %d SPF records", domain, found)
	}
	if record, err = ParseRecord(text); err != nil {
		return nil, text, permError("the record of %s is not valid: %s", domain, err)
	}
	return record, text, nil
}

// lookup returns an SPF record of a domain, and how many it has.
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

// Among returns the last SPF record among TXT records, and how many there are.
func Among(txt []string) (record string, n int) {
	for _, t := range txt {
		if IsRecord(t) {
			record = t
			n++
		}
	}
	return record, n
}

// IsTemporary reports whether an error of Find or Failure means temperror: a retry may succeed. The others mean permerror.
func IsTemporary(err error) bool {
	var stopped stop
	return errors.As(err, &stopped) && stopped.status == TempError
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

// answered returns the error that ends the evaluation, if any. err is the error of a lookup for a term that does not match.
// Each term calls answered once and counts as one void lookup at most: section 4.6.4 counts "terms".
func (e *evaluation) answered(err error) error {
	if err == nil {
		return nil
	}
	if !IsNotFound(err) {
		return Failure(err)
	}
	if e.voids++; e.voids > MaxVoids {
		return permError("more than %d look-ups that find nothing", MaxVoids)
	}
	return nil
}

// Failure returns the error of a check for an error of a Resolver that is not IsNotFound.
func Failure(err error) error {
	var dns *net.DNSError
	status, why, name := TempError, err.Error(), ""
	if errors.As(err, &dns) {
		why, name = fmt.Sprintf("looking up %s: %s", dns.Name, dns.Err), strings.TrimSuffix(dns.Name, ".")
		if !dns.IsTemporary && !dns.IsTimeout {
			status = PermError // an unusable answer, which a retry does not change
		}
	}
	return stop{status, why, name}
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
		status, _, err := e.follow(ctx, d, domain, target)
		return status == Pass, err
	case PTR:
		return e.matchPTR(ctx, target)
	case A:
		return e.matchHost(ctx, d, target)
	case MX:
		return e.matchMX(ctx, d, target)
	default: // Exists: section 5.7: an A record, also for an IPv6 client
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

// matchMX reports whether an mx matches: section 5.4. The term is one void lookup if any of its exchanges has no addresses.
func (e *evaluation) matchMX(ctx context.Context, d Directive, name string) (bool, error) {
	hosts, err := e.resolver.LookupMX(ctx, name)
	if err != nil {
		return false, e.answered(err)
	}
	if len(hosts) > MaxHosts {
		return false, permError("%s has more than %d mail exchanges", name, MaxHosts)
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

// matchPTR reports whether a ptr matches: section 5.5. The client's names are looked up once per check; a lookup that finds nothing counts for each ptr.
func (e *evaluation) matchPTR(ctx context.Context, target string) (bool, error) {
	target = domain.Fold(target)
	if slices.ContainsFunc(e.validated(ctx), func(name string) bool { return domain.Within(name, target) }) {
		return true, nil
	}
	return false, e.answered(e.nameless)
}

// validated returns the names of the client whose addresses include it, looked up once: section 5.5. It returns none if DNS fails.
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
