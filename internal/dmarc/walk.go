package dmarc

import (
	"context"
	"errors"
	"net"
	"strings"
)

// Resolver is what is asked. Errors are *net.DNSError; IsNotFound says that there is no such record.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	// Exists is false where the name itself does not exist: NXDOMAIN.
	Exists(ctx context.Context, name string) (bool, error)
}

// maxWalk is how many labels a name has at most when its walk goes on from it: RFC 9989 section 4.10, step 4.
const maxWalk = 7

// found is a record that a walk met.
type found struct {
	domain string
	record *Record
}

// lookup gives the DMARC record of one name, nil where there is none. Several at one name count as none: section 4.10,
// step 2.
func lookup(ctx context.Context, r Resolver, domain string) (*Record, error) {
	txts, err := r.LookupTXT(ctx, "_dmarc."+domain)
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var only *Record
	for _, txt := range txts {
		r, ok := ParseRecord(txt)
		if !ok {
			continue
		}
		if only != nil {
			return nil, nil
		}
		only = r
	}
	return only, nil
}

// parent is where a walk goes on from a name: one label less, seven at most; "" after the last.
func parent(domain string) string {
	for {
		_, rest, _ := strings.Cut(domain, ".")
		if strings.Count(rest, ".") < maxWalk {
			return rest
		}
		domain = rest
	}
}

// walk is the DNS Tree Walk of section 4.10 from a name upwards, the TLD included: the records that it met, longest name
// first. It makes eight queries at most.
func walk(ctx context.Context, r Resolver, from string) ([]found, error) {
	var all []found
	for at := from; at != ""; at = parent(at) {
		record, err := lookup(ctx, r, at)
		if err != nil {
			return all, err
		}
		if record == nil {
			continue
		}
		all = append(all, found{at, record})
		if record.PSD != 'u' {
			break
		}
	}
	return all, nil
}

// organizational is the Organizational Domain of a walk's start: section 4.10.2. declared says that its own record names
// it so (psd=n), or the public suffix above it.
func organizational(start string, all []found) (domain string, declared bool) {
	for _, f := range all {
		switch {
		case f.record.PSD == 'n':
			return f.domain, true
		case f.record.PSD == 'y' && f.domain != start:
			// One label more than the public suffix, counted in the start: the walk may have passed that name over.
			rest := strings.TrimSuffix(start, "."+f.domain)
			return rest[strings.LastIndexByte(rest, '.')+1:] + "." + f.domain, true
		}
	}
	if len(all) > 0 {
		return all[len(all)-1].domain, false
	}
	return start, false
}
