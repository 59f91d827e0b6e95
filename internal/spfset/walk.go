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

// walk evaluates a domain's records for one address family. It is not a visitor of spf.Walk: which records it reads, and how
// often, depends on the addresses that are left.
type walk struct {
	resolver spf.Resolver
	options  Options
	six      bool
	lost     *netipx.IPSet // a check of these ends with an error, or its result is not known
	failed   error         // the first failure of DNS behind the domain's own record
	refusals []string
	notes    []string
	ignored  []string    // notes on terms that every check ignores
	record   *spf.Record // the domain's own
	text     string      // of this record
	exceeded []string    // the limits that a note names
	work     int         // directives so far, of both families
	path     []string    // the records that lead here, for OverLimit
}

// maxWork bounds the directives that are evaluated for one domain. A check of one address evaluates far fewer, and the records of the largest
// senders have about a hundred.
const maxWork = 20_000

// stream is a set of addresses whose checks took the same path so far. An address is in several streams if its path depends on the message.
type stream struct {
	set          *netipx.IPSet
	terms, voids int // as in RFC 7208 section 4.6.4
	refused      int // where it passed: the number of a refusal; 0: none
}

// ends are where the checks of a record end.
type ends struct{ pass, other []stream }

var (
	errNoRecord = errors.New("there is no SPF record")
	errTooLong  = errors.New("its records go on and on")
)

// host is check_host() for all addresses of some streams. Its error is about the domain's own record, and the caller handles it;
// errTooLong ends the whole walk.
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
	w.passOver(record, domain)
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
			out.other = append(out.other, mark(matched, 0)...) // without its refusals
		}
		at = rest
	}
	if record.Redirect == "" || len(at) == 0 {
		out.other = append(out.other, at...) // section 4.7: neutral
		return out, nil
	}
	return out, w.redirect(ctx, record.Redirect, domain, at, &out)
}

// redirect: section 6.1.
func (w *walk) redirect(ctx context.Context, to spf.DomainSpec, domain string, at []stream, out *ends) error {
	where := "redirect=" + string(to) + " of " + domain
	at = w.count(at, where)
	if len(at) == 0 {
		return nil
	}
	if to.HasMacros() {
		w.note("%s depends on the message: nothing behind it is listed", where)
		w.lose(at)
		return nil
	}
	below, err := w.follow(ctx, strings.ToLower(to.Name(domain)), where, at)
	out.pass = append(out.pass, below.pass...)
	out.other = append(out.other, below.other...)
	return err
}

// follow evaluates another record. An error there is a permerror for the addresses that reach it.
func (w *walk) follow(ctx context.Context, name, where string, at []stream) (ends, error) {
	if w.options.OverLimit && slices.Contains(w.path, name) {
		w.note("%s leads in circles: what stands behind it does not pass", where)
		w.lose(at)
		return ends{}, nil
	}
	below, err := w.host(ctx, name, at)
	switch {
	case errors.Is(err, errNoRecord):
		w.note("%s leads to no SPF record: what stands behind it does not pass", where)
	case err == nil, errors.Is(err, errTooLong):
		return below, err
	case spf.IsTemporary(err):
		w.fail(err)
	default:
		w.note("%s: %v: what stands behind it does not pass", where, err)
	}
	w.lose(at)
	return ends{}, nil
}

// count counts a term that queries DNS. It returns the streams that stay within the limit.
func (w *walk) count(at []stream, where string) []stream {
	return w.within(at, where, func(s *stream) string {
		if s.terms++; s.terms > spf.MaxTerms {
			return fmt.Sprintf("more than %d terms that ask DNS", spf.MaxTerms)
		}
		return ""
	})
}

// void counts a void lookup. It returns the streams that stay within the limit.
func (w *walk) void(at []stream, where string) []stream {
	return w.within(at, where, func(s *stream) string {
		if s.voids++; s.voids > spf.MaxVoids {
			return fmt.Sprintf("more than %d look-ups that find nothing", spf.MaxVoids)
		}
		return ""
	})
}

// within returns the streams that continue under the limits of section 4.6.4. The first term that exceeds a limit is noted.
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
		what := "does not pass; --over-limit lists it all the same"
		if w.options.OverLimit {
			what = "is listed all the same"
		}
		w.note("%s: %s, over the limit of RFC 7208 section 4.6.4: what stands there and behind it %s", where, limit, what)
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

// mark returns streams with the number of a refusal, or 0.
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
