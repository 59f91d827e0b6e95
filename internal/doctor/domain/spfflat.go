package domain

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/spf"
)

// flat is a record whose terms are replaced by the networks that they resolve to.
type flat struct {
	fields []string // after the version
	terms  []*term  // the fields that need DNS lookups
}

func newFlat(text string, tree *term) *flat {
	return &flat{strings.Fields(text)[1:], slices.Clone(tree.below)}
}

func (f *flat) text() string { return strings.Join(append([]string{"v=spf1"}, f.fields...), " ") }

func (f *flat) cost() int {
	n := 0
	for _, t := range f.terms {
		n += t.cost
	}
	return n
}

// replace replaces a term by its networks. It does nothing if the term could match other addresses too.
func (f *flat) replace(t *term) {
	at := slices.Index(f.fields, t.text)
	if !t.fixed || t.record != "" && strings.HasPrefix(t.text, "redirect=") || at < 0 {
		return
	}
	var networks []string
	for _, n := range t.networks {
		if s := ipTerm(n); !slices.Contains(f.fields, s) {
			networks = appendNew(networks, s)
		}
	}
	f.fields = slices.Replace(f.fields, at, at+1, networks...)
	f.drop(t)
}

func (f *flat) drop(t *term) {
	at := slices.Index(f.terms, t)
	f.terms = slices.Delete(f.terms, at, at+1)
}

// inline replaces redirect= by the terms of its target record: RFC 7208 section 6.1. It returns false if there is no such record, or if
// that record contains a macro for its domain name.
func (f *flat) inline() bool {
	at := slices.IndexFunc(f.fields, func(s string) bool { return strings.HasPrefix(strings.ToLower(s), "redirect=") })
	i := slices.IndexFunc(f.terms, func(t *term) bool { return strings.HasPrefix(t.text, "redirect=") })
	if at < 0 || i < 0 || f.terms[i].record == "" || strings.Contains(strings.ToLower(f.terms[i].record), "%{d") {
		return false
	}
	t := f.terms[i]
	var fields []string
	for _, s := range strings.Fields(t.record)[1:] {
		if !strings.HasPrefix(strings.ToLower(s), "exp=") {
			fields = append(fields, of(s, t.domain))
		}
	}
	f.fields = slices.Replace(f.fields, at, at+1, fields...)
	f.drop(t)
	for _, b := range t.below {
		moved := *b
		moved.text = of(b.text, t.domain)
		f.terms = append(f.terms, &moved)
	}
	return true
}

// of adds the domain to a term without a domain. Such a term uses the domain of its record.
func of(term, domain string) string {
	name, bits, _ := strings.Cut(strings.ToLower(term), "/")
	switch strings.TrimLeft(name, "+-~?") {
	case "a", "mx", "ptr":
		return term[:len(name)] + ":" + domain + term[len(term)-len(bits)-min(1, len(term)-len(name)):]
	}
	return term
}

// smaller returns a record that needs at most limit lookups. It replaces the terms with the fewest networks first.
func smaller(text string, tree *term, limit int) *flat {
	f := newFlat(text, tree)
	for i := len(f.terms) - 1; i > 0; i-- { // a repeated term has no effect
		if t := f.terms[i]; slices.ContainsFunc(f.terms[:i], func(o *term) bool { return o.text == t.text }) {
			last := len(f.fields) - 1
			for f.fields[last] != t.text {
				last--
			}
			f.fields = slices.Delete(f.fields, last, last+1)
			f.drop(t)
		}
	}
	for {
		byPrice := slices.Clone(f.terms)
		slices.SortStableFunc(byPrice, func(a, b *term) int { return len(a.networks)*b.cost - len(b.networks)*a.cost })
		for _, t := range byPrice {
			if f.cost() > limit {
				f.replace(t)
			}
		}
		if f.cost() <= limit || !f.inline() {
			break
		}
	}
	for _, t := range slices.Clone(f.terms) { // RFC 7208 section 5.5: ptr should not be used anyway
		if at := slices.Index(f.fields, t.text); f.cost() > limit && at >= 0 && strings.HasPrefix(strings.ToLower(strings.TrimLeft(t.text, "+-~?")), "ptr") {
			f.fields = slices.Delete(f.fields, at, at+1)
			f.drop(t)
		}
	}
	return f
}

// fewerVoids returns a record with fewer void lookups. It first replaces terms that have no address at all, then terms that have no IPv4 or
// no IPv6 address.
func fewerVoids(text string, tree *term) string {
	f := newFlat(text, tree)
	for {
		for _, needed := range []int{2, 1} {
			for _, t := range slices.Clone(f.terms) {
				if min(t.voids, 1)+min(t.voids6, 1) >= needed {
					f.replace(t)
				}
			}
			voids, voids6 := 0, 0
			for _, t := range f.terms {
				voids, voids6 = voids+t.voids, voids6+t.voids6
			}
			if voids <= spf.MaxVoids && voids6 <= spf.MaxVoids {
				return f.text()
			}
		}
		if !f.inline() {
			return f.text()
		}
	}
}

// spread returns a record that needs at most limit lookups. If the record is too long, spread returns it as several lines.
func (l *examination) spread(text string, tree *term, limit int) string {
	f := smaller(text, tree, limit)
	if len(f.text()) <= maxRecord {
		return record(l.domain, f.text())
	}
	for more := 1; more <= limit; more++ { // each part costs one lookup
		f = smaller(text, tree, limit-more)
		first, parts := f.cut(l.domain)
		if len(parts) > more {
			continue
		}
		all := []string{record(l.domain, first)}
		for i, p := range parts {
			all = append(all, record(part(i, l.domain), p))
		}
		return strings.Join(all, "\n")
	}
	return record(l.domain, f.text())
}

// fitting returns the lines of a corrected record. If the record needs too many lookups or is too long, fitting changes it.
func (l *examination) fitting(ctx context.Context, text string) string {
	rec, err := spf.ParseRecord(text)
	if err != nil {
		return record(l.domain, text)
	}
	return l.spread(text, l.walkSPF(ctx, l.domain, rec), spf.MaxTerms)
}

func part(i int, domain string) string { return fmt.Sprintf("_spf%d.%s", i+1, domain) }

// cut moves terms with the qualifier + into records of their own, which the first record includes.
func (f *flat) cut(domain string) (first string, parts []string) {
	const end = " -all"
	var stay, move, ends []string
	for _, s := range f.fields {
		rec, err := spf.ParseRecord("v=spf1 " + s)
		switch {
		case err != nil || len(rec.Directives) == 0 || rec.Directives[0].Mechanism == spf.All:
			ends = append(ends, s)
		case rec.Directives[0].Qualifier != spf.Pass: // this term does not pass, so the terms before it must stay before it
			stay, move = slices.Concat(stay, move, []string{s}), nil
		case rec.Directives[0].Domain.HasMacros():
			stay = append(stay, s)
		default:
			move = append(move, s)
		}
	}
	now := "v=spf1"
	for _, s := range move {
		s = of(s, domain)
		if len(now)+1+len(s)+len(end) > maxRecord {
			parts = append(parts, now+end)
			now = "v=spf1"
		}
		now += " " + s
	}
	if now != "v=spf1" {
		parts = append(parts, now+end)
	}
	for i := range parts {
		stay = append(stay, "include:"+part(i, domain))
	}
	return strings.Join(slices.Concat([]string{"v=spf1"}, stay, ends), " "), parts
}

// neutral changes the qualifier of the largest terms to ?, and inserts our own addresses at the beginning. It returns the new record.
func (l *examination) neutral(text string, rec *spf.Record, tree *term) string {
	wide := tree.below
	for _, d := range rec.Directives {
		if d.Mechanism == spf.IP4 && d.Qualifier == spf.Pass {
			wide = append(wide[:len(wide):len(wide)], &term{text: d.Text, networks: []netip.Prefix{d.Network.Masked()}})
		}
	}
	slices.SortFunc(wide, func(a, b *term) int { return width(b.networks) - width(a.networks) })
	for left := width(tree.networks); len(wide) > 0 && left > maxWidth; wide = wide[1:] {
		t := wide[0]
		left -= width(t.networks)
		by := "?" + strings.TrimPrefix(t.text, "+")
		if to, ok := strings.CutPrefix(t.text, "redirect="); ok {
			by = "?include:" + to + " ~all"
		}
		text = replaceTerm(text, t.text, by)
	}
	if l.own != nil {
		for _, a := range slices.Backward(l.own.Sends) {
			text = allow(text, a)
		}
	}
	return text
}
