// Package spfset finds all addresses for which the SPF record of a domain returns pass. [Find] evaluates check_host() of RFC 7208 for a
// set of addresses instead of one client address. docs/decisions/greyskip.md lists the terms that it does not evaluate.
//
//	answer, err := spfset.Find(ctx, resolver, "example.org", spfset.Options{Widest4: 12, Widest6: 28})
//	for _, network := range answer.Networks.Prefixes() {
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

// Options limit the networks that Find returns.
type Options struct {
	Widest4, Widest6 int  // networks with a shorter prefix are refused
	OverLimit        bool // ignore the lookup limits of RFC 7208 section 4.6.4
}

// Answer is the result for a domain.
type Answer struct {
	Networks *netipx.IPSet // not nil
	// Each of the Notes is a sentence about addresses that are not in Networks, or about addresses that are in it only because of
	// OverLimit. They contain text of the records.
	Notes []string
}

// Empty reports whether Networks is empty.
func (a Answer) Empty() bool { return empty(a.Networks) }

// Error is a failed or incomplete lookup of a domain.
type Error struct {
	Why       string
	Temporary bool // true: a DNS lookup failed; false: the domain has no valid record
}

func (e *Error) Error() string { return e.Why }

// Find looks up the record of a domain and the records that it refers to, and returns the addresses that pass. The error is an *Error. If
// the error is temporary, the Answer has the addresses that match a term before the failure.
func Find(ctx context.Context, r spf.Resolver, domain string, o Options) (Answer, error) {
	w := &walk{resolver: r, options: o}
	var families []*netipx.IPSet
	for _, six := range []bool{false, true} {
		w.six = six
		found, err := w.family(ctx, domain)
		if err != nil {
			return Answer{Networks: &netipx.IPSet{}}, err
		}
		families = append(families, found)
	}
	all := w.removeWide(domain, union(families...))
	if w.failed != nil {
		return Answer{all, slices.Concat(w.ignored, w.notes)}, &Error{w.failed.Error(), true}
	}
	if empty(all) {
		return Answer{all, w.emptyNotes()}, nil
	}
	return Answer{all, slices.Concat(w.ignored, w.notes)}, nil
}

// emptyNotes returns the notes of a domain without any listed address. The first note states that no address is listed. It adds the reason
// if no other note states it.
func (w *walk) emptyNotes() []string {
	const most = 150 // maximum bytes of the record, so that the reason fits into the same line
	record := w.text
	if len(record) > most {
		record = record[:most] + " ..."
	}
	if len(w.notes) > 0 {
		return slices.Concat([]string{fmt.Sprintf("no address of the record %q is listed", record)}, w.ignored, w.notes)
	}
	reasons := append([]string{fmt.Sprintf("no address is listed, because the record %q authorizes none", record)}, w.ignored...)
	var terms []string
	for _, d := range w.record.Directives {
		if d.Mechanism == spf.All {
			break
		}
		if d.Qualifier == spf.Pass {
			terms = append(terms, d.Text)
		}
	}
	if w.record.Redirect != "" && indexAll(w.record) < 0 {
		terms = append(terms, "redirect="+string(w.record.Redirect))
	}
	if len(terms) > 0 {
		reasons = append(reasons, "no address matches "+strings.Join(terms, ", "))
	}
	return []string{strings.Join(reasons, "; ")}
}

// indexAll returns the index of the first "all", or -1.
func indexAll(r *spf.Record) int {
	return slices.IndexFunc(r.Directives, func(d spf.Directive) bool { return d.Mechanism == spf.All })
}

// noteIgnored adds notes about terms that every check ignores, although they were probably meant to authorize addresses.
func (w *walk) noteIgnored(r *spf.Record, domain string) {
	const most = 20 // a record can have thousands of such terms; the first ones are sufficient to show the mistake
	ignore := func(term, why string) {
		if len(w.ignored) == most {
			return
		}
		if s := fmt.Sprintf("%s of %s is ignored, %s", term, domain, why); !slices.Contains(w.ignored, s) {
			w.ignored = append(w.ignored, s)
		}
	}
	for _, term := range r.Unknown {
		if meant := spf.MeantMechanism(term); meant != "" {
			name, _, _ := strings.Cut(term, "=")
			ignore(term, fmt.Sprintf("because %s= is an unknown modifier: %s may be meant", name, meant))
		}
	}
	all := indexAll(r)
	if all < 0 {
		return
	}
	for _, d := range r.Directives[all+1:] {
		if d.Qualifier == spf.Pass && d.Mechanism != spf.All {
			ignore(d.Text, fmt.Sprintf("because it follows %s (RFC 7208 section 5.1)", r.Directives[all].Text))
		}
	}
	if r.Redirect != "" {
		ignore("redirect="+string(r.Redirect), fmt.Sprintf("because the record has %s (RFC 7208 section 6.1)", r.Directives[all].Text))
	}
}

// family returns the addresses of one family.
func (w *walk) family(ctx context.Context, domain string) (*netipx.IPSet, error) {
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if w.six {
		everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	w.lost, w.refusals = nil, nil
	ends, err := w.host(ctx, domain, []stream{{set: Of(everything)}})
	switch {
	case errors.Is(err, errNoRecord):
		return nil, &Error{Why: domain + " has no SPF record"}
	case err != nil:
		return nil, &Error{err.Error(), spf.IsTemporary(err)}
	}
	// If the result for an address depends on the message, the address is in several streams. It is listed only if all of them end with
	// pass.
	not := []*netipx.IPSet{w.lost}
	for _, s := range ends.other {
		not = append(not, s.set)
	}
	pass, refused := []*netipx.IPSet{}, make([][]*netipx.IPSet, len(w.refusals))
	for _, s := range ends.pass {
		if s.refused == 0 {
			pass = append(pass, s.set)
		} else {
			refused[s.refused-1] = append(refused[s.refused-1], s.set)
		}
	}
	unknown := union(not...)
	for i, why := range w.refusals {
		if !empty(without(union(refused[i]...), unknown)) {
			w.note("%s", why)
		}
		not = append(not, refused[i]...)
	}
	return without(union(pass...), not...), nil
}

// removeWide removes adjacent networks that together are wider than allowed. For example, sixteen /12 form a /8.
func (w *walk) removeWide(domain string, found *netipx.IPSet) *netipx.IPSet {
	var wide []netip.Prefix
	for _, p := range found.Prefixes() {
		if limit := w.widest(p.Addr()); p.Bits() < limit {
			w.note("adjacent networks of %s form %s, which is wider than /%d: refused", domain, p, limit)
			wide = append(wide, p)
		}
	}
	return without(found, Of(wide...))
}

func (w *walk) widest(a netip.Addr) int {
	if a.Is4() {
		return w.options.Widest4
	}
	return w.options.Widest6
}

// refusal returns the reason why a network that a term authorizes is not listed, or "".
func (w *walk) refusal(p netip.Prefix) string {
	if limit := w.widest(p.Addr()); p.Bits() < limit {
		return fmt.Sprintf("%s is wider than /%d", p, limit)
	}
	if special := special(p); special != "" {
		return fmt.Sprintf("%s overlaps %s", p, special)
	}
	return ""
}

// refuse adds a reason and returns its number, for stream.refused.
func (w *walk) refuse(format string, args ...any) int {
	why := fmt.Sprintf(format, args...)
	if i := slices.Index(w.refusals, why); i >= 0 {
		return i + 1
	}
	w.refusals = append(w.refusals, why)
	return len(w.refusals)
}

// note adds a note unless it exists already. A term is evaluated once for each address family, but gets only one note.
func (w *walk) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(w.notes, s) {
		w.notes = append(w.notes, s)
	}
}
