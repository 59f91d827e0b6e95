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
	unknown  bool   // wrong only because nobody answers now
	domain   string // of redirect: where it leads
	record   string // of redirect: what stands there
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
			w.host(ctx, t, d, name)
		case d.Mechanism == spf.MX:
			w.mx(ctx, t, d, name)
		}
		if d.Qualifier != spf.Pass {
			t.networks = nil // they may not send
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
	t.unknown = t.unknown || b.unknown
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
		t.wrong, t.fixed, t.unknown = "it could not be looked up", false, true
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
	t.domain, t.record = name, all[0]
	w.walk(ctx, t, rec, name, append(slices.Clone(path), name))
}

// host adds the addresses of a name. RFC 7208 section 4.6.4 counts terms, so a term is one void lookup at most.
func (w *spfWalk) host(ctx context.Context, t *term, d spf.Directive, name string) {
	four, err := w.view.LookupA(ctx, name)
	six, err6 := w.view.LookupAAAA(ctx, name)
	if err != nil && !absent(err) || err6 != nil && !absent(err6) {
		t.fixed = false
	}
	if absent(err) {
		t.voids = 1
	}
	if absent(err6) {
		t.voids6 = 1
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
			if h.Host != "." { // RFC 7505: the domain accepts no mail
				w.host(ctx, t, d, strings.TrimSuffix(h.Host, "."))
			}
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
func (l *look) judgeTree(text string, rec *spf.Record, tree *term) {
	where := record(l.domain, text) + "\n" + tree.lines("")
	say := func(level doctor.Level, what, why, fix string) {
		l.tree = append(l.tree, doctor.Finding{Level: level, What: what, Where: where, Why: why, Fix: fix})
	}
	switch {
	case tree.unknown:
		say(doctor.Yellow, "a term of the SPF record of "+l.domain+" could not be looked up: "+tree.wrong, "RFC 7208 section 2.6.6: receivers answer with temporary errors", "dig "+word(unknownName(tree))+" TXT # and see which name server does not answer")
	case tree.wrong != "" && tree.cost <= maxTerms:
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
		say(doctor.Red, "a term of the SPF record of "+l.domain+" leads nowhere: "+tree.wrong, "RFC 7208 section 5.2: what a term leads to has to be one valid SPF record; otherwise the result is permerror",
			fix)
	case tree.cost > maxTerms:
		say(doctor.Red, fmt.Sprintf("SPF of %s takes %d look-ups, and %d are allowed", l.domain, tree.cost, maxTerms),
			"RFC 7208 section 4.6.4: after the tenth the result is permerror: mail does not pass SPF. The networks in this record are what the terms stand for today; follow their owners when they change",
			l.spread(text, tree, maxTerms))
	case tree.cost > manyTerms:
		say(doctor.Yellow, fmt.Sprintf("SPF of %s takes %d of %d look-ups", l.domain, tree.cost, maxTerms), "RFC 7208 section 4.6.4: the next provider that adds one breaks it",
			l.spread(text, tree, manyTerms))
	}
	if tree.voids > maxVoids || tree.voids6 > maxVoids {
		level := doctor.Yellow // only IPv6 clients meet them
		if tree.voids > maxVoids {
			level = doctor.Red
		}
		say(level, fmt.Sprintf("%d look-ups of SPF of %s find nothing, and %d are allowed", max(tree.voids, tree.voids6), l.domain, maxVoids),
			"RFC 7208 section 4.6.4: after the second the result is permerror", record(l.domain, fewerVoids(text, tree)))
	}
	if n := width(tree.networks); n > maxWidth {
		say(doctor.Yellow, fmt.Sprintf("SPF of %s lets %d IPv4 addresses send", l.domain, n),
			"RFC 9989 section 11.1: whoever rents one of them passes as you; let DKIM speak for shared senders, and mark their terms with ?", record(l.domain, l.neutral(text, rec, tree)))
	}
	if len(text) > maxRecord && tree.cost <= maxTerms {
		l.add(doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("the SPF record of %s has %d octets", l.domain, len(text)), Where: record(l.domain, text),
			Why: "RFC 7208 section 3.4: the answer should fit into 512 octets; some receivers get no longer ones", Fix: l.spread(text, tree, maxTerms)})
	}
}

func unknownName(t *term) string {
	for _, b := range t.below {
		if b.unknown {
			return unknownName(b)
		}
	}
	_, name, _ := strings.Cut(strings.Replace(t.text, "=", ":", 1), ":")
	return name
}
