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

// term is a term of an SPF record that asks DNS, with everything below it.
type term struct {
	text     string
	cost     int // lookups, those below included
	below    []*term
	voids    int  // void lookups of IPv4 clients
	voids6   int  // and of IPv6 clients
	passes   bool // its qualifier is +
	fixed    bool // it stands for the networks, and for nothing else
	networks []netip.Prefix
	wrong    string // why its value is not known
	failed   error  // of the lookup that failed, if wrong is nothing else
	source   *term  // the term below, or this one, that wrong is about; nil: not include or redirect
	target   string // of include and redirect: the name that it leads to
	domain   string // of redirect: where it leads
	record   string // of redirect: the record there
}

// walkSPF reads the tree of a record, as a check that matches nothing does: RFC 7208 section 4.6.4 counts all of its terms.
func (l *examination) walkSPF(ctx context.Context, domain string, rec *spf.Record) *term {
	open := []*term{{text: domain, passes: true, fixed: true}} // the record, and the include and redirect terms that lead to a node
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
			t.wrong, t.failed = "it could not be looked up", failed
		case c.isAlias():
			t.wrong += " at " + c.end() + ", where its CNAME record leads"
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

// take adds a term that is complete to the one above it.
func (t *term) take(b *term) {
	if !b.passes {
		b.networks = nil // they may not send
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

// addHost adds the addresses of a name. RFC 7208 section 4.6.4 counts terms, so a term is one void lookup at most.
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

// width returns how many different IPv4 addresses the networks contain.
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
		f := doctor.Finding{Level: doctor.Red, What: "a term of the SPF record of " + l.domain + " leads nowhere: " + tree.wrong, Where: where, Fix: fix,
			Why: "RFC 7208 section 5.2: what a term leads to has to be one valid SPF record; otherwise the result is permerror"}
		if t := tree.source; t != nil {
			f.Cause = "leads nowhere: " + t.target
			if text := l.mendTarget(ctx, t.target); text != "" {
				f.Fix = record(t.target, text)
			}
		}
		l.tree = append(l.tree, f)
	case tree.cost > spf.MaxTerms:
		report(doctor.Red, fmt.Sprintf("SPF of %s takes %d look-ups, and %d are allowed", l.domain, tree.cost, spf.MaxTerms),
			"RFC 7208 section 4.6.4: after the tenth the result is permerror: mail does not pass SPF. The networks in this record are what the terms stand for today; follow their owners when they change",
			l.spread(text, tree, spf.MaxTerms))
	case tree.cost > manyTerms:
		report(doctor.Yellow, fmt.Sprintf("SPF of %s takes %d of %d look-ups", l.domain, tree.cost, spf.MaxTerms), "RFC 7208 section 4.6.4: the next provider that adds one breaks it",
			l.spread(text, tree, manyTerms))
	}
	if tree.voids > spf.MaxVoids || tree.voids6 > spf.MaxVoids {
		level := doctor.Yellow // only IPv6 clients meet them
		if tree.voids > spf.MaxVoids {
			level = doctor.Red
		}
		report(level, fmt.Sprintf("%d look-ups of SPF of %s find nothing, and %d are allowed", max(tree.voids, tree.voids6), l.domain, spf.MaxVoids),
			"RFC 7208 section 4.6.4: after the second the result is permerror", record(l.domain, fewerVoids(text, tree)))
	}
	if n := width(tree.networks); n > maxWidth {
		report(doctor.Yellow, fmt.Sprintf("SPF of %s lets %d IPv4 addresses send", l.domain, n),
			"RFC 9989 section 11.1: whoever rents one of them passes as you; let DKIM speak for shared senders, and mark their terms with ?", record(l.domain, l.neutral(text, rec, tree)))
	}
	if len(text) > maxRecord && tree.cost <= spf.MaxTerms {
		l.add(doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("the SPF record of %s has %d octets", l.domain, len(text)), Where: record(l.domain, text),
			Why: "RFC 7208 section 3.4: the answer should fit into 512 octets; some receivers get no longer ones", Fix: l.spread(text, tree, spf.MaxTerms)})
	}
}
