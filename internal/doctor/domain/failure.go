package domain

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/internal/spf"
)

// unknown adds the finding about a failed DNS lookup, once for each name that caused a failure.
func (l *examination) unknown(ctx context.Context, name string, err error) {
	if f, isNew := l.failure(ctx, name, err); isNew {
		l.add(f)
	}
}

// failure returns the finding about a failed DNS lookup. isNew is true if no check has reported it before.
func (l *examination) failure(ctx context.Context, name string, err error) (f doctor.Finding, isNew bool) {
	f = doctor.Finding{Level: doctor.Yellow, What: "not all records of " + l.domain + " were checked", Where: err.Error(),
		Why: "doctor stops the checks of a domain after one minute or 250 DNS queries", Fix: "signpost doctor " + l.domain}
	if !dns.OverLimit(err) && ctx.Err() == nil {
		name, err = l.failed(ctx, name, err)
		where := name + ": " + cause(err)
		if !l.host && !domain.Within(name, l.domain) {
			where += "\nneeded for " + l.domain
		}
		f = doctor.Finding{Level: doctor.Yellow, What: name + ": DNS lookup failed", Where: where,
			Why: "receivers that look it up answer with a temporary error, or treat the mail as unauthenticated",
			Fix: "dig " + word(name) + " # shows whether its name servers answer"}
	}
	isNew = !slices.Contains(l.failures, f.What)
	l.failures = append(l.failures, f.What)
	return f, isNew
}

// cause returns the text of a lookup error without the name.
func cause(err error) string {
	var failed *net.DNSError
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err.Error()
}

// failed returns the name that caused a lookup error, and the error of its own lookup. A resolver reports a failure at the target of CNAME
// records as a failure of the queried name. If lookups of parent names fail too, failed returns the highest of these names, because its
// name servers do not answer.
func (l *examination) failed(ctx context.Context, name string, err error) (string, error) {
	var dnsErr *net.DNSError
	if errors.As(err, &dnsErr) && dnsErr.Name != "" {
		name = strings.TrimSuffix(dnsErr.Name, ".")
	}
	name = l.chainOf(ctx, name).end()
	for at := name; ; {
		_, above, ok := strings.Cut(at, ".")
		if !ok || !temporary(err) {
			return name, err
		}
		at = above
		if strings.HasPrefix(above, "_") {
			continue // a name with an underscore is rarely a zone
		}
		_, aboveErr := l.view.LookupTXT(ctx, above)
		if !temporary(aboveErr) || dns.OverLimit(aboveErr) || ctx.Err() != nil {
			return name, err
		}
		name, err = above, aboveErr
	}
}

// temporary reports whether a lookup got no answer. A negative answer, or an answer that is too large, is not a temporary failure.
func temporary(err error) bool {
	var failed *net.DNSError
	return errors.As(err, &failed) && failed.Temporary()
}

// errorOf looks up a name again and returns the error of the lookup. It is used if a check returned only the name that failed.
func (l *examination) errorOf(ctx context.Context, name string) error {
	_, err := l.view.LookupTXT(ctx, name)
	if err == nil || spf.IsNotFound(err) {
		_, err = l.view.LookupMX(ctx, name)
	}
	if err == nil || spf.IsNotFound(err) {
		_, err = l.addrs(ctx, name)
	}
	if err == nil || spf.IsNotFound(err) {
		err = errors.New("the lookup failed")
	}
	return err
}
