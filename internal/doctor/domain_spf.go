package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/spf"
)

// The limits of RFC 7208, and where we begin to warn.
const (
	maxTerms  = 10  // section 4.6.4
	manyTerms = 8   // the next provider that is added, or adds one itself, breaks the record
	maxVoids  = 2   // section 4.6.4
	maxRecord = 450 // section 3.4: the answer should fit into 512 octets
	maxWidth  = 1 << 16
)

func (l *look) checkSPF(ctx context.Context) {
	all, err := l.text(ctx, l.domain)
	if err != nil {
		l.unknown("spf", l.domain, err)
		return
	}
	var found []string
	for _, t := range all {
		if spf.IsRecord(t) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0:
		l.noSPF(all)
		return
	case 1:
	default:
		l.add(Finding{Check: "spf", Level: Red, What: fmt.Sprintf("%d SPF records at %s", len(found), l.domain), Where: records(l.domain, found),
			Why: "RFC 7208 section 4.5: with more than one record the result is permerror: no mail of the domain passes SPF; publish this one in place of all of them",
			Fix: record(l.domain, mergeSPF(found))})
		return
	}
	text := found[0]
	rec, err := spf.ParseRecord(text)
	if err != nil {
		l.add(Finding{Check: "spf", Level: Red, What: "the SPF record of " + l.domain + " has an error", Where: record(l.domain, text) + "\n" + err.Error(),
			Why: "RFC 7208 section 4.6: one wrong term makes the whole record permerror: no mail of the domain passes SPF",
			Fix: record(l.domain, mendSPF(text))})
		return
	}
	before := len(l.all)
	l.judgeSPF(text, rec)
	tree := l.walkSPF(ctx, l.domain, text, rec)
	l.judgeTree(text, tree)
	if len(l.all) == before && l.own != nil {
		l.ownSPF(ctx, text)
	}
	if len(l.all) == before {
		l.good("spf", fmt.Sprintf("the SPF record of %s is right and costs %d of %d look-ups", l.domain, tree.cost, maxTerms), record(l.domain, text))
	}
}

func (l *look) noSPF(all []string) {
	fix := "v=spf1 mx"
	if l.own != nil {
		for _, a := range l.own.Sends {
			fix += " " + ipTerm(netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		}
	}
	fix += " -all"
	if l.nullMX {
		fix = "v=spf1 -all"
	}
	for _, t := range all {
		if rest, ok := likeSPF(t); ok {
			l.add(Finding{Check: "spf", Level: Red, What: "the SPF record of " + l.domain + " does not begin with v=spf1 and a space", Where: record(l.domain, t),
				Why: "RFC 7208 section 4.5: what does not begin so is no SPF record, and the domain has none", Fix: record(l.domain, mendSPF("v=spf1 "+rest))})
			return
		}
	}
	l.add(Finding{Check: "spf", Level: Red, What: l.domain + " has no SPF record", Where: l.domain + ": no TXT record that begins with v=spf1",
		Why: "RFC 7208 section 4.5: receivers cannot tell your servers from others'; Gmail, Yahoo and Microsoft refuse or junk such mail",
		Fix: record(l.domain, fix)})
}

// likeSPF recognises what was meant to be a record.
func likeSPF(t string) (rest string, ok bool) {
	low := strings.ToLower(t)
	for _, start := range []string{"v=spf1", "v = spf1", "v= spf1", "v =spf1", "v=spf 1", "v=spf-1", "v=spf2", "v=spf", "v:spf1", "v-spf1", "vspf1", "spf1", "\"v=spf1", "=spf1"} {
		if strings.HasPrefix(low, start) {
			return strings.Trim(t[len(start):], " ;,:\""), true
		}
	}
	return "", false
}

// mergeSPF makes one record of several: all their terms once, and the mildest of their ends.
func mergeSPF(all []string) string {
	var terms []string
	end := ""
	for _, text := range all {
		for _, t := range strings.Fields(text)[1:] {
			low := strings.ToLower(t)
			switch {
			case strings.HasSuffix(low, "all") && len(low) <= 4:
				if end == "" || low == "~all" {
					end = low
				}
			case strings.HasPrefix(low, "redirect="):
				terms = appendNew(terms, "include:"+t[len("redirect="):]) // beside other terms it would not be read
			default:
				terms = appendNew(terms, t)
			}
		}
	}
	if end != "-all" && end != "~all" {
		end = "~all"
	}
	return mendSPF("v=spf1 " + strings.Join(append(terms, end), " "))
}

func appendNew(all []string, s string) []string {
	if slices.Contains(all, s) {
		return all
	}
	return append(all, s)
}

// mendSPF puts every term right of which one can see what was meant, and leaves the others out.
func mendSPF(text string) string {
	terms := []string{"v=spf1"}
	for _, t := range strings.Fields(text)[1:] {
		if t = mendTerm(t); t != "" {
			terms = append(terms, t)
		}
	}
	return strings.Join(terms, " ")
}

func mendTerm(t string) string {
	valid := func(t string) bool {
		_, err := spf.ParseRecord("v=spf1 " + t)
		return err == nil
	}
	t = strings.Trim(t, ",;\"")
	if t == "" || valid(t) && !strings.Contains(t, "=") {
		return t
	}
	sign := ""
	if strings.ContainsAny(t[:1], "+-~?") {
		sign, t = t[:1], t[1:]
	}
	at := strings.IndexAny(t, ":=")
	name, value := t, ""
	if at >= 0 {
		name, value = t[:at], t[at+1:]
	}
	if addr, err := netip.ParsePrefix(t); err == nil {
		return sign + ipTerm(addr)
	}
	if addr, err := netip.ParseAddr(t); err == nil {
		return sign + ipTerm(netip.PrefixFrom(addr, addr.BitLen()))
	}
	switch low := strings.ToLower(name); low {
	case "ip", "ipv4", "ipv6", "ip4", "ip6":
		name = "ip4"
		if strings.Contains(value, ":") {
			name = "ip6"
		}
	case "redirect", "exp":
		if mended := low + "=" + value; valid(mended) {
			return mended
		}
		return ""
	case "a", "mx", "ptr", "include", "exists", "all":
		name = low
	default:
		if name = meant(low, "include", "redirect", "exists", "ip4", "ip6", "all", "mx"); name == "redirect" {
			return mendTerm("redirect=" + value)
		}
	}
	mended := sign + name
	if value != "" {
		mended += ":" + strings.Trim(value, ":=")
	}
	if name == "" || !valid(mended) {
		return ""
	}
	return mended
}

func ipTerm(p netip.Prefix) string {
	name, s := "ip4:", p.String()
	if p.Addr().Is6() {
		name = "ip6:"
	}
	if p.Bits() == p.Addr().BitLen() {
		s = p.Addr().String()
	}
	return name + s
}

// judgeSPF looks at the record itself.
func (l *look) judgeSPF(text string, rec *spf.Record) {
	say := func(level Level, what, why, fix string) {
		l.add(Finding{Check: "spf", Level: level, What: what, Where: record(l.domain, text), Why: why, Fix: record(l.domain, fix)})
	}
	ends := rec.Redirect != ""
	for _, d := range rec.Directives {
		switch {
		case d.Mechanism == spf.PTR:
			say(Yellow, "the SPF record of "+l.domain+" uses ptr", "RFC 7208 section 5.5: it should not be used; large receivers pass it over", without(text, d.Text))
		case d.Mechanism != spf.All:
		case d.Qualifier == spf.Pass:
			say(Red, "the SPF record of "+l.domain+" lets everybody send", "RFC 7208 section 5.1: +all makes every forgery pass", replaceTerm(text, d.Text, "-all"))
			ends = true
		case d.Qualifier == spf.Neutral:
			say(Yellow, "the SPF record of "+l.domain+" ends in ?all", "RFC 7208 section 8.2: neutral is treated as if there were no record", replaceTerm(text, d.Text, "~all"))
			ends = true
		default:
			ends = true
		}
	}
	if !ends {
		say(Yellow, "the SPF record of "+l.domain+" has no end", "RFC 7208 section 4.7: without all or redirect strangers are neutral, as if there were no record", text+" -all")
	}
	if l.nullMX && text != "v=spf1 -all" {
		say(Yellow, l.domain+" takes no mail, and its SPF record lets hosts send", "RFC 7505 section 4.2, RFC 7208 section 10.1: a name without mail says so", "v=spf1 -all")
	}
	if len(text) > maxRecord {
		l.add(Finding{Check: "spf", Level: Yellow, What: fmt.Sprintf("the SPF record of %s has %d octets", l.domain, len(text)), Where: record(l.domain, text),
			Why: "RFC 7208 section 3.4: the answer should fit into 512 octets; some receivers get no longer ones",
			Fix: record("_spf."+l.domain, text) + " ; and " + record(l.domain, "v=spf1 redirect=_spf."+l.domain)})
	}
}

func without(text, term string) string {
	fields := strings.Fields(text)
	return strings.Join(slices.DeleteFunc(fields, func(t string) bool { return t == term }), " ")
}

func replaceTerm(text, term, by string) string {
	fields := strings.Fields(text)
	for i, t := range fields {
		if t == term {
			fields[i] = by
		}
	}
	return strings.Join(fields, " ")
}

// ownSPF holds the addresses that we send from against the record.
func (l *look) ownSPF(ctx context.Context, text string) {
	fix := text
	var fails []string
	for _, addr := range l.own.Sends {
		r := spf.Check(ctx, l.view, addr, l.own.HELO, "postmaster@"+l.domain)
		switch r.Status {
		case spf.Pass:
		case spf.TempError:
			l.add(Finding{Check: "spf", Level: Yellow, What: fmt.Sprintf("SPF of %s for %s could not be looked up", addr, l.domain), Where: record(l.domain, text) + "\n" + r.Reason,
				Why: "RFC 7208 section 2.6.6: receivers answer with temporary errors", Fix: "dig " + l.domain + " TXT"})
		default:
			fails = append(fails, fmt.Sprintf("%s: %s, %s", addr, r.Status, r.Reason))
			fix = allow(fix, addr)
		}
	}
	if len(fails) > 0 {
		l.add(Finding{Check: "spf", Level: Red, What: "this host may not send for " + l.domain, Where: record(l.domain, text) + "\n" + strings.Join(fails, "\n"),
			Why: "RFC 7208 section 8.4: receivers refuse or junk mail that the record does not allow", Fix: record(l.domain, fix)})
	}
}
