package domain

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/doctor"
	"signpost/internal/spf"
)

// term is a term of an SPF record that needs DNS lookups, with the terms of its target record.
type term struct {
	text     string
	cost     int // lookups, including those below
	below    []*term
	voids    int  // void lookups of IPv4 clients
	voids6   int  // void lookups of IPv6 clients
	passes   bool // the qualifier is +
	fixed    bool // the term matches the networks, and nothing else
	networks []netip.Prefix
	wrong    string // why the networks of the term are not known
	failed   error  // the error of a failed lookup, if wrong describes a failed lookup
	source   *term  // the include or redirect that wrong concerns: this term or a term below it; nil: wrong concerns another kind of term
	target   string // only for include and redirect: the name of the target
	domain   string // only for include and redirect: the target, if it has a record
	record   string // only for include and redirect: the record of the target
}

// walkSPF returns the tree of a record. The tree contains the terms that an SPF check evaluates if no term matches. RFC 7208 section 4.6.4
// limits the lookups of all these terms.
func (l *examination) walkSPF(ctx context.Context, domain string, rec *spf.Record) *term {
	open := []*term{{text: domain, passes: true, fixed: true}} // the path to the current node: the record, and the include and redirect terms above the node
	closeTo := func(depth int) {
		for ; len(open) > depth+1; open = open[:len(open)-1] {
			open[len(open)-2].take(open[len(open)-1])
		}
	}
	for n := range spf.Walk(ctx, l.view, domain, rec) {
		closeTo(n.Depth)
		at := open[n.Depth]
		switch {
		case spf.CauseOf(n.Err) == spf.TreeTooLarge:
			at.wrong, at.fixed = n.Err.Error(), false
		case n.Mechanism.AsksDNS():
			open = append(open, l.newTerm(ctx, n))
		case n.Mechanism == spf.All:
		case n.Qualifier == spf.Pass:
			at.networks = append(at.networks, n.Network.Masked())
		default:
			at.fixed = false
		}
	}
	closeTo(0)
	return open[0]
}

func (l *examination) newTerm(ctx context.Context, n spf.Node) *term {
	t := &term{text: n.Text, cost: 1, passes: n.Qualifier == spf.Pass, record: n.Record}
	t.fixed = t.passes && n.Target != "" && n.Mechanism != spf.Exists && n.Err == nil
	name := strings.ToLower(n.Target)
	switch {
	case n.Err != nil:
		t.source, t.target = t, name
		c := l.chainOf(ctx, name)
		_, failed := l.view.LookupTXT(ctx, name)
		switch t.wrong = n.Err.Error(); {
		case c.loops:
			t.wrong = "its CNAME records form a loop"
		case failed != nil && !spf.IsNotFound(failed):
			t.wrong, t.failed = "the DNS lookup failed", failed
		case c.isAlias():
			t.wrong += " at " + c.end() + ", the target of its CNAME record"
		}
	case name == "":
	case n.Mechanism == spf.A:
		l.addHost(ctx, t, n.Directive, name)
	case n.Mechanism == spf.MX:
		l.addExchanges(ctx, t, n.Directive, name)
	case n.Record != "":
		t.domain = name
	}
	return t
}

// take adds a completed term b to t, the term above it.
func (t *term) take(b *term) {
	if !b.passes {
		b.networks = nil // a match of this term is not a pass, so the record does not allow these networks
	}
	t.below = append(t.below, b)
	t.cost += b.cost
	t.voids += b.voids
	t.voids6 += b.voids6
	t.fixed = t.fixed && b.fixed
	t.networks = append(t.networks, b.networks...)
	if t.wrong == "" && b.wrong != "" {
		t.wrong, t.failed, t.source = b.text+": "+b.wrong, b.failed, b.source
	}
}

// addHost adds the addresses of a name. RFC 7208 section 4.6.4 counts terms, so a term counts as at most one void lookup.
func (l *examination) addHost(ctx context.Context, t *term, d spf.Directive, name string) {
	four, err := l.view.LookupA(ctx, name)
	six, err6 := l.view.LookupAAAA(ctx, name)
	if err != nil && !spf.IsNotFound(err) || err6 != nil && !spf.IsNotFound(err6) {
		t.fixed = false
	}
	if spf.IsNotFound(err) {
		t.voids = 1
	}
	if spf.IsNotFound(err6) {
		t.voids6 = 1
	}
	for _, a := range slices.Concat(four, six) {
		t.networks = append(t.networks, d.Around(a))
	}
}

func (l *examination) addExchanges(ctx context.Context, t *term, d spf.Directive, name string) {
	hosts, err := l.view.LookupMX(ctx, name)
	switch {
	case spf.IsNotFound(err):
		t.voids, t.voids6 = 1, 1
	case err != nil:
		t.fixed = false
	case len(hosts) > spf.MaxHosts:
		t.wrong, t.fixed = "more than 10 mail exchanges", false
	default:
		for _, h := range hosts {
			if h.Host != "." { // RFC 7505: the domain accepts no mail
				l.addHost(ctx, t, d, strings.TrimSuffix(h.Host, "."))
			}
		}
	}
}

// lines returns the tree as text, with the count before each term.
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

// width returns the number of different IPv4 addresses in the networks.
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

// checkSPFTree checks the tree of a record.
func (l *examination) checkSPFTree(ctx context.Context, text string, rec *spf.Record, tree *term) {
	where := record(l.domain, text) + "\n" + tree.lines("")
	report := func(level doctor.Level, what, why, fix string) {
		l.tree = append(l.tree, doctor.Finding{Level: level, What: what, Where: where, Why: why, Fix: fix})
	}
	switch {
	case tree.failed != nil:
		if f, isNew := l.failure(ctx, tree.source.target, tree.failed); isNew {
			l.tree = append(l.tree, f)
		}
	case tree.wrong != "" && tree.cost <= spf.MaxTerms:
		var bad []string
		for _, b := range tree.below {
			if b.wrong != "" {
				bad = append(bad, b.text)
			}
		}
		fix := record(l.domain, l.without(text, bad...))
		if mended := spaced(text); mended != text {
			fix = record(l.domain, mended)
		}
		f := doctor.Finding{Level: doctor.Red, What: "a term of the SPF record of " + l.domain + " has no valid target: " + tree.wrong, Where: where, Fix: fix,
			Why: "RFC 7208 section 5.2: the target of a term must have one valid SPF record; otherwise the result is permerror"}
		if t := tree.source; t != nil {
			f.Cause = "no valid target: " + t.target
			if text := l.mendTarget(ctx, t.target); text != "" {
				f.Fix = record(t.target, text)
			}
		}
		l.tree = append(l.tree, f)
	case tree.cost > spf.MaxTerms:
		report(doctor.Red, fmt.Sprintf("the SPF record of %s needs %d DNS lookups; the limit is %d", l.domain, tree.cost, spf.MaxTerms),
			"RFC 7208 section 4.6.4: with more than 10 lookups the result is permerror, and no mail passes SPF. The proposed record contains the networks to which the terms resolve today; update the record when these networks change",
			l.spread(text, tree, spf.MaxTerms))
	case tree.cost > manyTerms:
		report(doctor.Yellow, fmt.Sprintf("the SPF record of %s needs %d of %d DNS lookups", l.domain, tree.cost, spf.MaxTerms), "RFC 7208 section 4.6.4: if providers in the record add more, the result is permerror",
			l.spread(text, tree, manyTerms))
	}
	if tree.voids > spf.MaxVoids || tree.voids6 > spf.MaxVoids {
		level := doctor.Yellow // only IPv6 clients are affected
		if tree.voids > spf.MaxVoids {
			level = doctor.Red
		}
		report(level, fmt.Sprintf("the SPF record of %s causes %d void lookups; the limit is %d", l.domain, max(tree.voids, tree.voids6), spf.MaxVoids),
			"RFC 7208 section 4.6.4: with more than 2 void lookups the result is permerror", record(l.domain, fewerVoids(text, tree)))
	}
	if n := width(tree.networks); n > maxWidth {
		report(doctor.Yellow, fmt.Sprintf("the SPF record of %s allows %d IPv4 addresses to send", l.domain, n),
			"RFC 9989 section 11.1: any other customer of these providers passes SPF for your domain; use DKIM for shared senders, and put ? before their terms", record(l.domain, l.neutral(text, rec, tree)))
	}
	if len(text) > maxRecord && tree.cost <= spf.MaxTerms {
		l.add(doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("the SPF record of %s has %d bytes", l.domain, len(text)), Where: record(l.domain, text),
			Why: "RFC 7208 section 3.4: the DNS answer should fit into 512 bytes; some receivers cannot receive longer answers", Fix: l.spread(text, tree, spf.MaxTerms)})
	}
}
