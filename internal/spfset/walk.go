package spfset

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"signpost/internal/spf"
)

// walk evaluates the records of a domain, one address family at a time. It does not use spf.Walk: the remaining addresses determine which
// records are read, and how often.
type walk struct {
	resolver spf.Resolver
	options  Options
	six      bool
	lost     *netipx.IPSet // addresses whose check ends with an error or has an unknown result
	failed   error         // the first DNS failure after the domain's own record was read
	refusals []string
	notes    []string
	ignored  []string    // notes on terms that every check ignores
	record   *spf.Record // the domain's own record
	text     string      // the text of this record
	exceeded []string    // the limits for which a note exists
	work     int         // the number of evaluated directives, of both families
	path     []string    // the domains of the records that are being evaluated
}

// maxWork limits the number of directives that are evaluated for one domain. The records of the largest senders have about a hundred
// directives.
const maxWork = 20_000

// stream is a set of addresses whose checks have taken the same path so far. If the path of an address depends on the message, the
// address is in several streams.
type stream struct {
	set          *netipx.IPSet
	terms, voids int // as in RFC 7208 section 4.6.4
	refused      int // after a pass: the number of the refusal, or 0 if there is none
}

// ends holds the streams whose check ended in a record, those with result pass and the others.
type ends struct{ pass, other []stream }

var (
	errNoRecord = errors.New("no SPF record")
	errTooLong  = errors.New("the records have too many terms")
)

// host evaluates check_host() for all addresses of the streams. It returns an error if the record of domain has an error, which the caller
// handles. errTooLong ends the walk.
func (w *walk) host(ctx context.Context, domain string, at []stream) (ends, error) {
	var out ends
	record, text, err := spf.Find(ctx, w.resolver, domain)
	if err == nil && record == nil {
		err = errNoRecord
	}
	if err != nil {
		return out, err
	}
	if w.work++; w.work > maxWork {
		return out, errTooLong
	}
	if len(w.path) == 0 {
		w.record, w.text = record, text
	}
	w.noteIgnored(record, domain)
	w.path = append(w.path, domain)
	defer func() { w.path = w.path[:len(w.path)-1] }()
	for _, d := range record.Directives {
		if len(at) == 0 {
			return out, nil
		}
		if w.work++; w.work > maxWork {
			return out, errTooLong
		}
		matched, rest, err := w.directive(ctx, d, domain, at)
		if err != nil {
			return out, err
		}
		if d.Qualifier == spf.Pass {
			out.pass = append(out.pass, matched...)
		} else {
			out.other = append(out.other, mark(matched, 0)...) // the result is not pass, so no refusal is needed
		}
		at = rest
	}
	if record.Redirect == "" || len(at) == 0 {
		out.other = append(out.other, at...) // section 4.7: neutral
		return out, nil
	}
	return out, w.redirect(ctx, record.Redirect, domain, at, &out)
}

// redirect evaluates the redirect modifier: RFC 7208 section 6.1.
func (w *walk) redirect(ctx context.Context, to spf.DomainSpec, domain string, at []stream, out *ends) error {
	where := "redirect=" + string(to) + " of " + domain
	at = w.count(at, where)
	if len(at) == 0 {
		return nil
	}
	if to.HasMacros() {
		w.note("%s depends on the message: its addresses are not listed", where)
		w.lose(at)
		return nil
	}
	below, err := w.follow(ctx, strings.ToLower(to.Name(domain)), where, at)
	out.pass = append(out.pass, below.pass...)
	out.other = append(out.other, below.other...)
	return err
}

// follow evaluates another record. If that record has an error, the result of the addresses that reach it is permerror.
func (w *walk) follow(ctx context.Context, name, where string, at []stream) (ends, error) {
	if w.options.OverLimit && slices.Contains(w.path, name) {
		w.note("%s is a loop: this term and later terms authorize nothing", where)
		w.lose(at)
		return ends{}, nil
	}
	below, err := w.host(ctx, name, at)
	switch {
	case errors.Is(err, errNoRecord):
		w.note("%s: no SPF record found: this term and later terms authorize nothing", where)
	case err == nil, errors.Is(err, errTooLong):
		return below, err
	case spf.IsTemporary(err):
		w.fail(err)
	default:
		w.note("%s: %v: this term and later terms authorize nothing", where, err)
	}
	w.lose(at)
	return ends{}, nil
}

// count counts a term that requires a DNS lookup. It returns the streams that are still within the limit.
func (w *walk) count(at []stream, where string) []stream {
	return w.within(at, where, func(s *stream) string {
		if s.terms++; s.terms > spf.MaxTerms {
			return fmt.Sprintf("more than %d DNS lookups", spf.MaxTerms)
		}
		return ""
	})
}

// void counts a void lookup. It returns the streams that are still within the limit.
func (w *walk) void(at []stream, where string) []stream {
	return w.within(at, where, func(s *stream) string {
		if s.voids++; s.voids > spf.MaxVoids {
			return fmt.Sprintf("more than %d void lookups", spf.MaxVoids)
		}
		return ""
	})
}

// within returns the streams that are still within the limits of RFC 7208 section 4.6.4. For each limit, it adds a note for the first
// term that exceeds it.
func (w *walk) within(at []stream, where string, exceeds func(*stream) string) (rest []stream) {
	for _, s := range at {
		limit := exceeds(&s)
		if limit == "" || w.options.OverLimit {
			rest = append(rest, s)
		} else {
			w.lose([]stream{s})
		}
		if limit == "" || slices.Contains(w.exceeded, limit) {
			continue
		}
		w.exceeded = append(w.exceeded, limit)
		what := "authorize nothing; --over-limit lists them anyway"
		if w.options.OverLimit {
			what = "are listed anyway (--over-limit)"
		}
		w.note("%s: %s (RFC 7208 section 4.6.4): this term and later terms %s", where, limit, what)
	}
	return rest
}

// fail records a temperror.
func (w *walk) fail(err error) {
	if w.failed == nil {
		w.failed = err
	}
}

func (w *walk) lose(at []stream) {
	for _, s := range at {
		w.lost = union(w.lost, s.set)
	}
}

// split divides streams into their parts inside and outside of a network.
func split(at []stream, p netip.Prefix) (inside, rest []stream) {
	network := Of(p)
	for _, s := range at {
		if !s.set.OverlapsPrefix(p) {
			rest = append(rest, s)
			continue
		}
		in, out := s, s
		out.set, in.set = without(s.set, network), network
		if !s.set.ContainsPrefix(p) {
			in.set = without(s.set, out.set)
		}
		inside = append(inside, in)
		if !empty(out.set) {
			rest = append(rest, out)
		}
	}
	return inside, rest
}

// mark returns the streams with refused set to the number of a refusal, or 0.
func mark(at []stream, refused int) (all []stream) {
	for _, s := range at {
		s.refused = refused
		all = append(all, s)
	}
	return all
}

// merge joins the streams that took the same path.
func merge(at []stream) (merged []stream) {
next:
	for _, s := range at {
		for i := range merged {
			m := &merged[i]
			if m.terms == s.terms && m.voids == s.voids && m.refused == s.refused {
				m.set = union(m.set, s.set)
				continue next
			}
		}
		merged = append(merged, s)
	}
	return merged
}
