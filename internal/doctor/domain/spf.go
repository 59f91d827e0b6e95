package domain

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/internal/spf"
)

// The limits above which doctor warns.
const (
	manyTerms = 8   // the limit is 10: a provider may add a few lookups to its record, which would then break this record
	maxRecord = 450 // RFC 7208 section 3.4: the answer should fit into 512 bytes
	maxWidth  = 1 << 16
)

func (l *examination) checkSPF(ctx context.Context) {
	failed := len(l.failures)
	right := l.examineSPF(ctx)
	if l.own != nil {
		l.compareSPF(ctx)
	}
	if len(l.all)+len(l.tree) == 0 && len(l.failures) == failed {
		l.good(right, record(l.domain, l.spfText))
	}
}

// examineSPF checks the SPF record. If the record is correct, it returns the text of a green finding.
func (l *examination) examineSPF(ctx context.Context) (right string) {
	all, err := l.text(ctx, l.domain)
	if err != nil {
		l.unknown(ctx, l.domain, err)
		return ""
	}
	found := only(all, spf.IsRecord)
	switch len(found) {
	case 0:
		l.noSPF(ctx, all)
		return ""
	case 1:
	default:
		l.add(doctor.Finding{Level: doctor.Red, What: fmt.Sprintf("%d SPF records at %s", len(found), l.domain), Where: records(l.domain, found),
			Why: "RFC 7208 section 4.5: with more than one record the result is permerror: no mail of the domain passes SPF; publish this one in place of all of them",
			Fix: l.fitting(ctx, mergeSPF(found))})
		return ""
	}
	text := found[0]
	rec, err := spf.ParseRecord(text)
	if err != nil {
		l.add(doctor.Finding{Level: doctor.Red, What: "the SPF record of " + l.domain + " has an error", Where: record(l.domain, text) + "\n" + err.Error(),
			Why: "RFC 7208 section 4.6: one invalid term makes the result permerror: no mail of the domain passes SPF",
			Fix: l.fitting(ctx, mendSPF(text))})
		return ""
	}
	l.checkSPFRecord(ctx, text, rec)
	tree := l.walkSPF(ctx, l.domain, rec)
	l.found.SPFLookups, l.found.SPFVoid = tree.cost, max(tree.voids, tree.voids6)
	l.checkSPFTree(ctx, text, rec, tree)
	red := func(f doctor.Finding) bool { return f.Level == doctor.Red } // if there is a red finding, no mail passes SPF
	if l.own != nil && !slices.ContainsFunc(l.all, red) && !slices.ContainsFunc(l.tree, red) {
		l.ownSPF(ctx, text, rec)
	}
	l.spfText = text
	return fmt.Sprintf("the SPF record of %s is correct and needs %d of %d DNS lookups", l.domain, tree.cost, spf.MaxTerms)
}

// firstSPF returns an SPF record for a domain that does not have one.
func (l *examination) firstSPF() string {
	text := "v=spf1"
	if len(l.exchanges) > 0 {
		text += " mx"
	}
	if l.own != nil && !l.nullMX {
		for _, a := range l.own.Sends {
			text += " " + ipTerm(netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		}
	}
	return text + l.lastSPF()
}

// lastSPF returns the last term of a proposed record. With -all, receivers would reject mail from unknown addresses of this host.
func (l *examination) lastSPF() string {
	if l.own != nil && l.own.Partial {
		return " ~all"
	}
	return " -all"
}

func (l *examination) noSPF(ctx context.Context, all []string) {
	for _, t := range all {
		if rest, ok := likeSPF(t); ok {
			l.add(doctor.Finding{Level: doctor.Red, What: "the SPF record of " + l.domain + " does not begin with v=spf1 and a space", Where: record(l.domain, t),
				Why: "RFC 7208 section 4.5: v=spf1 must be followed by a space or the end of the record; otherwise it is not an SPF record, and the domain has none", Fix: l.fitting(ctx, mendSPF("v=spf1 "+rest))})
			return
		}
	}
	if l.nullMX {
		l.add(doctor.Finding{Level: doctor.Yellow, What: l.domain + " accepts no mail, but does not state that it sends none", Where: l.domain + ": no TXT record that begins with v=spf1",
			Why: "RFC 7208 section 10.1: a name that sends no mail should state that; otherwise SPF of forged mail is neutral", Fix: record(l.domain, "v=spf1 -all")})
		return
	}
	f := doctor.Finding{Level: doctor.Red, What: l.domain + " has no SPF record", Where: l.domain + ": no TXT record that begins with v=spf1",
		Why: "RFC 7208 section 4.5: receivers cannot distinguish your servers from others; Gmail, Yahoo and Microsoft reject or junk such mail",
		Fix: record(l.domain, l.firstSPF())}
	f = l.nowhere(ctx, l.domain, l.domain, f)
	if l.own != nil && l.own.Partial {
		f.Why += "; the record must contain the public address of this host, which doctor does not know"
		f.Fix = "signpost doctor --address ADDR # prints the record for this address"
	}
	l.add(f)
}

// checkSPFRecord checks the record itself.
func (l *examination) checkSPFRecord(ctx context.Context, text string, rec *spf.Record) {
	report := func(level doctor.Level, what, why, fix string) {
		l.add(doctor.Finding{Level: level, What: what, Where: record(l.domain, text), Why: why, Fix: record(l.domain, fix)})
	}
	var ignored []string
	mended := text
	for _, t := range rec.Unknown {
		if term := mendTerm(t); term != "" {
			ignored, mended = append(ignored, t), replaceTerm(mended, t, term)
		}
	}
	if len(ignored) > 0 {
		l.add(doctor.Finding{Level: doctor.Red, What: "the SPF record of " + l.domain + " has terms without effect: " + strings.Join(ignored, " "), Where: record(l.domain, text),
			Why: "RFC 7208 section 6: with = they are unknown modifiers, which receivers ignore; a mechanism has a colon, as in ip4:", Fix: l.fitting(ctx, mended)})
	}
	ends := rec.Redirect != ""
	for _, d := range rec.Directives {
		switch {
		case d.Mechanism == spf.PTR:
			report(doctor.Yellow, "the SPF record of "+l.domain+" uses ptr", "RFC 7208 section 5.5: it should not be used; large receivers ignore it", l.without(text, d.Text))
		case d.Mechanism != spf.All:
		case d.Qualifier == spf.Pass:
			report(doctor.Red, "the SPF record of "+l.domain+" allows every host to send", "RFC 7208 section 5.1: +all makes every forgery pass", replaceTerm(text, d.Text, strings.TrimSpace(l.lastSPF())))
			ends = true
		case d.Qualifier == spf.Neutral:
			report(doctor.Yellow, "the SPF record of "+l.domain+" ends in ?all", "RFC 7208 section 8.2: neutral is treated as if there were no record", replaceTerm(text, d.Text, "~all"))
			ends = true
		default:
			ends = true
		}
	}
	if !ends {
		report(doctor.Yellow, "the SPF record of "+l.domain+" has neither all nor redirect", "RFC 7208 section 4.7: the result for other hosts is then neutral, as if there were no record", text+l.lastSPF())
	}
	if l.nullMX && text != "v=spf1 -all" {
		report(doctor.Yellow, l.domain+" accepts no mail, but its SPF record allows hosts to send", "RFC 7505 section 4.2, RFC 7208 section 10.1: a name without mail should state that it sends none", "v=spf1 -all")
	}
}

// ownResult returns the SPF result for mail of the domain from an address of this host.
func (l *examination) ownResult(ctx context.Context, r spf.Resolver, addr netip.Addr) spf.Result {
	return spf.Check(ctx, r, addr, l.own.HELO, "postmaster@"+l.domain)
}

// ownSPF checks whether the record allows the addresses that this host sends from.
func (l *examination) ownSPF(ctx context.Context, text string, rec *spf.Record) {
	fix := text
	var fails []string
	var refused []netip.Addr
	for _, addr := range l.own.Sends {
		r := l.ownResult(ctx, l.view, addr)
		if r.Status == spf.Pass || r.Status == spf.TempError { // compareSPF reports a temporary error
			continue
		}
		fails, refused = append(fails, fmt.Sprintf("%s: %s, %s", addr, r.Status, spfReason(r))), append(refused, addr)
		fix = allow(fix, addr)
	}
	if len(fails) == 0 {
		return
	}
	f := doctor.Finding{Level: doctor.Red, What: "the SPF record of " + l.domain + " does not allow this host", Where: record(l.domain, text) + "\n" + strings.Join(fails, "\n"),
		Why: "RFC 7208 section 8.4: receivers reject or junk mail from hosts that the record does not allow", Fix: record(l.domain, fix)}
	if name, text := l.shared(ctx, rec, refused); name != "" {
		f.Cause, f.Fix = "the record of "+name, record(name, text)
	}
	l.add(f)
}

// shared looks for a record of this site that the domain's record includes. Records of other domains may include the same record. It
// returns the name of that record, and a new text for the record, which allows the addresses. name is empty if there is no such record.
func (l *examination) shared(ctx context.Context, rec *spf.Record, addrs []netip.Addr) (name, text string) {
	for n := range spf.Walk(ctx, l.view, l.domain, rec) {
		name := strings.ToLower(n.Target)
		if n.Depth > 0 || n.Record == "" || n.Qualifier != spf.Pass || domain.Within(name, l.domain) || !l.controls(ctx, l.chainOf(ctx, name).end()) {
			continue
		}
		text := n.Record
		for _, a := range slices.Backward(addrs) {
			text = allow(text, a)
		}
		after := published{l.view, name, text}
		if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return l.ownResult(ctx, after, a).Status != spf.Pass }) {
			return name, text
		}
	}
	return "", ""
}

// spfReason returns why an SPF result is not a pass.
func spfReason(r spf.Result) string {
	switch r.Cause {
	case spf.NoRecord:
		return "no SPF record"
	case spf.TermMatched:
		return r.Term + " of " + r.RecordDomain
	}
	return (&spf.Fault{Cause: r.Cause, Detail: r.Detail, Term: r.Term, RecordDomain: r.RecordDomain, Name: r.Failed}).Error()
}
