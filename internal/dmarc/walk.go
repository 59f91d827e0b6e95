package dmarc

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strings"
)

// Resolver does the lookups. Errors are *net.DNSError. IsNotFound means that there is no such record.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	// Exists reports whether the name itself exists. It returns false only for NXDOMAIN.
	Exists(ctx context.Context, name string) (bool, error)
	// Remembered returns the DMARC records of an earlier answer whose TTL has expired, or nil if none is kept. They are used only if the
	// lookup fails.
	Remembered(name string) []string
}

// maxWalk is the maximum number of labels of a name in a walk, except its start: RFC 9989 section 4.10, step 4.
const maxWalk = 7

// found is a record that a walk found.
type found struct {
	domain string
	record *Record
}

// NotAsked is the error of a lookup that was not made because the message has reached its limit of queries.
type NotAsked struct{}

func (NotAsked) Error() string { return "not looked up: the message has reached its limit of queries" }

// failure is a lookup that failed.
type failure struct {
	name string // the DNS name
	err  error
}

// walked is the result of a walk.
type walked struct {
	found      []found  // longest name first
	failed     *failure // the first lookup that failed temporarily; it counts as one that found nothing
	unusable   *failure // the first answer that cannot be used and that a retry would not change, such as an answer over a size limit; it counts as no record
	remembered bool     // a lookup failed, and found contains a record from an earlier answer instead
	incomplete bool     // the walk reached the limit of queries, so found is not conclusive
}

// lookup returns the DMARC record of one name, or nil if there is none. Several records at one name count as none: section 4.10, step 2.
func (w *walked) lookup(ctx context.Context, r Resolver, domain string) *Record {
	name := "_dmarc." + domain
	txts, err := r.LookupTXT(ctx, name)
	var dns *net.DNSError
	earlier := false // txts are from an earlier answer
	switch {
	case err == nil:
	case errors.As(err, &dns) && dns.IsNotFound:
		return nil
	case errors.As(err, new(NotAsked)):
		w.incomplete = true
		return nil
	case permanent(err):
		w.unusable = cmp.Or(w.unusable, &failure{name, err})
		return nil
	default:
		w.failed = cmp.Or(w.failed, &failure{name, err})
		txts, earlier = r.Remembered(name), true
	}
	var only *Record
	for _, txt := range txts {
		r, ok := ParseRecord(txt)
		if !ok {
			continue
		}
		if only != nil {
			return nil
		}
		only = r
	}
	w.remembered = w.remembered || earlier && only != nil
	return only
}

// permanent reports whether a retry of a failed lookup would fail too.
func permanent(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && !t.Temporary()
}

// parent returns the next name of a walk: one label less and at most seven labels. After the last name, it returns "".
func parent(domain string) string {
	for {
		_, rest, _ := strings.Cut(domain, ".")
		if strings.Count(rest, ".") < maxWalk {
			return rest
		}
		domain = rest
	}
}

// walk does the DNS Tree Walk of section 4.10 from a name up to the TLD. It makes at most eight queries.
func walk(ctx context.Context, r Resolver, from string) walked {
	var w walked
	for at := from; at != "" && !w.incomplete; at = parent(at) {
		record := w.lookup(ctx, r, at)
		if record == nil {
			continue
		}
		w.found = append(w.found, found{at, record})
		if record.PSD != 'u' {
			break
		}
	}
	return w
}

// organizational returns the Organizational Domain of the start of a walk: section 4.10.2. declared reports whether a record states it.
// Such a record is at the domain itself and has psd=n, or is at the public suffix above it and has psd=y.
func organizational(start string, all []found) (domain string, declared bool) {
	for _, f := range all {
		switch {
		case f.record.PSD == 'n':
			return f.domain, true
		case f.record.PSD == 'y' && f.domain != start:
			// The result is the public suffix with one more label. The label is taken from start, because the walk may have skipped that
			// name.
			rest := strings.TrimSuffix(start, "."+f.domain)
			return rest[strings.LastIndexByte(rest, '.')+1:] + "." + f.domain, true
		}
	}
	if len(all) > 0 {
		return all[len(all)-1].domain, false
	}
	return start, false
}

// nearTop is a number of labels. A walk looks up every parent name with at most this number of labels, even if its start is a long name.
// Under a public suffix of one or two labels, the Organizational Domain has at most this number.
const nearTop = 3

// Likely returns the names whose TXT records a walk from a domain is likely to look up, at most four: its own and those nearest to the
// TLD. If a caller prefetches them, all these lookups together take only as long as one. Not all eight levels of a long name are returned,
// because that would cause too many queries.
func Likely(domain string) []string {
	names := []string{"_dmarc." + domain}
	for at := parent(domain); at != ""; at = parent(at) {
		if strings.Count(at, ".") < nearTop {
			names = append(names, "_dmarc."+at)
		}
	}
	return names
}
