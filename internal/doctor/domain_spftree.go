package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/spf"
)

// term is a term of an SPF record that asks DNS, and all that is below it.
type term struct {
	text     string
	cost     int // look-ups, with all below
	below    []*term
	voids    int  // of IPv4 clients
	voids6   int  // of IPv6 clients
	fixed    bool // the networks are all that it stands for
	networks []netip.Prefix
	wrong    string // why the tree has no answer here
}

// maxTree is where the walk ends: the count is far above the limit then.
const maxTree = 60

// spfWalk counts across the whole tree.
type spfWalk struct {
	*look
	terms int
}

func (l *look) walkSPF(ctx context.Context, domain, text string, rec *spf.Record) *term {
	w := &spfWalk{look: l}
	root := &term{text: domain, fixed: true}
	w.walk(ctx, root, rec, domain, []string{domain})
	return root
}

// walk goes through a record as a check does that matches nowhere: RFC 7208 section 4.6.4 counts all of its terms.
func (w *spfWalk) walk(ctx context.Context, at *term, rec *spf.Record, domain string, path []string) {
	ended := false
	for _, d := range rec.Directives {
		if d.Mechanism == spf.All {
			ended = true
			break // section 5.1: what follows is not read
		}
		t := &term{text: d.Text, fixed: d.Qualifier == spf.Pass}
		name := domain
		if d.Domain != "" {
			name = strings.ToLower(strings.TrimSuffix(string(d.Domain), "."))
		}
		switch {
		case d.Mechanism == spf.IP4 || d.Mechanism == spf.IP6:
			if d.Qualifier == spf.Pass {
				at.networks = append(at.networks, d.Network.Masked())
			} else {
				at.fixed = false
			}
			continue
		case w.terms >= maxTree:
			at.wrong, at.fixed = "the tree goes on", false
			return
		}
		w.terms++
		t.cost = 1
		switch {
		case d.Domain.HasMacros() || d.Mechanism == spf.Exists || d.Mechanism == spf.PTR:
			t.fixed = false
		case d.Mechanism == spf.Include:
			w.follow(ctx, t, name, path)
		case d.Mechanism == spf.A:
			w.host(ctx, t, d, name, true)
		case d.Mechanism == spf.MX:
			w.mx(ctx, t, d, name)
		}
		at.take(t)
	}
	if rec.Redirect == "" || ended {
		return
	}
	w.terms++
	t := &term{text: "redirect=" + string(rec.Redirect), cost: 1, fixed: true}
	if rec.Redirect.HasMacros() {
		t.fixed = false
	} else {
		w.follow(ctx, t, strings.ToLower(strings.TrimSuffix(string(rec.Redirect), ".")), path)
	}
	at.take(t)
}

func (t *term) take(b *term) {
	t.below = append(t.below, b)
	t.cost += b.cost
	t.voids += b.voids
	t.voids6 += b.voids6
	t.fixed = t.fixed && b.fixed
	t.networks = append(t.networks, b.networks...)
	if t.wrong == "" && b.wrong != "" {
		t.wrong = b.text + ": " + b.wrong
	}
}

func (w *spfWalk) follow(ctx context.Context, t *term, name string, path []string) {
	if slices.Contains(path, name) {
		t.wrong, t.fixed = "it leads in circles", false
		return
	}
	all, err := w.text(ctx, name)
	if err != nil {
		t.wrong, t.fixed = "it could not be looked up", false
		return
	}
	all = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !spf.IsRecord(s) })
	if len(all) != 1 {
		t.wrong, t.fixed = fmt.Sprintf("%d SPF records", len(all)), false
		return
	}
	rec, err := spf.ParseRecord(all[0])
	if err != nil {
		t.wrong, t.fixed = err.Error(), false
		return
	}
	w.walk(ctx, t, rec, name, append(slices.Clone(path), name))
}

// host adds the addresses of a name; a void look-up is counted where counted is true.
func (w *spfWalk) host(ctx context.Context, t *term, d spf.Directive, name string, counted bool) {
	four, err := w.view.LookupA(ctx, name)
	six, err6 := w.view.LookupAAAA(ctx, name)
	if err != nil && !absent(err) || err6 != nil && !absent(err6) {
		t.fixed = false
	}
	if counted && absent(err) {
		t.voids++
	}
	if counted && absent(err6) {
		t.voids6++
	}
	for _, a := range slices.Concat(four, six) {
		bits := d.Bits4
		if a.Is6() {
			bits = d.Bits6
		}
		if p, err := a.Prefix(bits); err == nil {
			t.networks = append(t.networks, p)
		}
	}
}

func (w *spfWalk) mx(ctx context.Context, t *term, d spf.Directive, name string) {
	hosts, err := w.view.LookupMX(ctx, name)
	switch {
	case absent(err):
		t.voids, t.voids6 = 1, 1
	case err != nil:
		t.fixed = false
	case len(hosts) > maxExchanges:
		t.wrong, t.fixed = "more than 10 mail exchanges", false
	default:
		for _, h := range hosts {
			w.host(ctx, t, d, strings.TrimSuffix(h.Host, "."), false)
		}
	}
}

// lines draws the tree, the count in front of each term.
func (t *term) lines(indent string) string {
	s := fmt.Sprintf("%3d  %s%s", t.cost, indent, t.text)
	if len(t.below) == 0 && t.wrong != "" {
		s += " (" + t.wrong + ")"
	}
	for _, b := range t.below {
		s += "\n" + b.lines(indent+"  ")
	}
	return s
}

// width is how many IPv4 addresses the networks hold, each once.
func width(networks []netip.Prefix) int {
	n := 0
	for i, p := range networks {
		inside := slices.ContainsFunc(networks[:i], func(q netip.Prefix) bool { return q == p })
		for _, q := range networks {
			inside = inside || q.Bits() < p.Bits() && q.Contains(p.Addr())
		}
		if p.Addr().Is4() && !inside {
			n += 1 << (32 - p.Bits())
		}
	}
	return n
}

// judgeTree looks at what a check has to ask.
func (l *look) judgeTree(text string, tree *term) {
	where := record(l.domain, text) + "\n" + tree.lines("")
	say := func(level Level, what, why, fix string) {
		l.add(Finding{Check: "spf-tree", Level: level, What: what, Where: where, Why: why, Fix: fix})
	}
	switch {
	case tree.wrong != "" && tree.cost <= maxTerms:
		var bad string
		for _, b := range tree.below {
			if b.wrong != "" {
				bad = b.text
			}
		}
		say(Red, "a term of the SPF record of "+l.domain+" leads nowhere: "+tree.wrong, "RFC 7208 section 5.2: what a term leads to has to be one valid SPF record; otherwise the result is permerror",
			record(l.domain, without(text, bad)))
	case tree.cost > maxTerms:
		say(Red, fmt.Sprintf("SPF of %s takes %d look-ups, and %d are allowed", l.domain, tree.cost, maxTerms),
			"RFC 7208 section 4.6.4: after the tenth the result is permerror: mail does not pass SPF. The networks in this record are what the terms stand for today; follow their owners when they change",
			l.flatten(text, tree, maxTerms))
	case tree.cost > manyTerms:
		say(Yellow, fmt.Sprintf("SPF of %s takes %d of %d look-ups", l.domain, tree.cost, maxTerms), "RFC 7208 section 4.6.4: the next provider that adds one breaks it",
			l.flatten(text, tree, manyTerms))
	}
	if tree.voids > maxVoids || tree.voids6 > maxVoids {
		level, fix := Yellow, text
		if tree.voids > maxVoids {
			level = Red
		}
		for _, b := range tree.below {
			if b.voids > 0 && len(b.below) == 0 && len(b.networks) == 0 {
				fix = without(fix, b.text)
			}
		}
		if level == Yellow { // only IPv6 clients meet them
			fix = strings.TrimPrefix(strings.Trim(strings.TrimPrefix(l.flatten(text, tree, 0), l.domain+". IN TXT "), `"`), `"`)
		}
		say(level, fmt.Sprintf("%d look-ups of SPF of %s find nothing, and %d are allowed", max(tree.voids, tree.voids6), l.domain, maxVoids),
			"RFC 7208 section 4.6.4: after the second the result is permerror", record(l.domain, fix))
	}
	if n := width(tree.networks); n > maxWidth {
		say(Yellow, fmt.Sprintf("SPF of %s lets %d IPv4 addresses send", l.domain, n),
			"RFC 9989 section 11.1: whoever rents one of them passes as you; let DKIM speak for shared senders, and mark their terms with ?", "; put ? before the widest term of "+record(l.domain, text))
	}
}

// flatten replaces terms of the record by the networks that they stand for, the cheapest first, until the tree is small enough.
// Its own record is changed, or that to which it redirects.
func (l *look) flatten(text string, tree *term, limit int) string {
	fields := strings.Fields(text)
	cost := tree.cost
	terms := slices.Clone(tree.below)
	seen := map[string]bool{}
	for _, t := range tree.below { // the same term twice is worth nothing
		if seen[t.text] {
			i := len(fields) - 1 - slices.Index(reversed(fields), t.text)
			fields = slices.Delete(fields, i, i+1)
			cost -= t.cost
		}
		seen[t.text] = true
	}
	slices.SortStableFunc(terms, func(a, b *term) int { return len(a.networks)*b.cost - len(b.networks)*a.cost })
	for _, t := range terms {
		if i := slices.Index(fields, t.text); cost > limit && t.fixed && i >= 0 && !strings.HasPrefix(t.text, "redirect=") {
			var flat []string
			for _, n := range t.networks {
				if s := ipTerm(n); !slices.Contains(fields, s) {
					flat = appendNew(flat, s)
				}
			}
			fields = slices.Replace(fields, i, i+1, flat...)
			cost -= t.cost
		}
	}
	return record(l.domain, strings.Join(fields, " "))
}

func reversed(all []string) []string {
	all = slices.Clone(all)
	slices.Reverse(all)
	return all
}
