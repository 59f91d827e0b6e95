package domain

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"signpost/internal/doctor"
	"signpost/internal/spf"
)

// likeSPF reports whether a text was probably intended as an SPF record, and returns the text after the version.
func likeSPF(t string) (rest string, ok bool) {
	// U+FFFD stands for a byte that is not UTF-8, such as the no-break space of ISO 8859-1.
	t = strings.TrimLeft(t, " \t\u00a0\ufeff\ufffd\"'")
	low := strings.ToLower(t)
	for _, start := range []string{"v=spf1", "v = spf1", "v= spf1", "v =spf1", "v=spf 1", "v=spf-1", "v=spf2", "v=spf", "v:spf1", "v-spf1", "vspf1", "spf1", "=spf1"} {
		if strings.HasPrefix(low, start) {
			return strings.Trim(t[len(start):], " \t\u00a0\ufffd\\;,:.\"'"), true
		}
	}
	return "", false
}

// mergeSPF merges several records into one. The result has the terms of all records without repetitions, and the least strict of their all
// terms.
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
				terms = appendNew(terms, "include:"+t[len("redirect="):]) // an all term would disable redirect, so include is used
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

// mendSPF returns the record with each recognizable term corrected. It omits other terms.
func mendSPF(text string) string {
	terms := []string{"v=spf1"}
	for _, t := range strings.Fields(spaced(text))[1:] {
		switch t = mendTerm(t); strings.ToLower(t) {
		case "":
		case "all", "+all": // +all is probably a mistake
			terms = append(terms, "~all")
		default:
			terms = append(terms, t)
		}
	}
	return strings.Join(terms, " ")
}

// spaced returns the text with corrected white space. It inserts missing white space before all, and removes white space after a qualifier
// or before a value. It also replaces typographic dashes by hyphens and URLs by their host names, and removes backslashes.
func spaced(text string) string {
	text = strings.NewReplacer("\u2010", "-", "\u2011", "-", "\u2012", "-", "\u2013", "-", "\u2014", "-", "\u2212", "-",
		"\u00a0", " ", "\ufeff", "", "\xa0", " ", `\`, "").Replace(text)
	for _, r := range []struct{ wrong, right string }{
		{`(?i)(:)https?://([^\s/]+)\S*`, "$1$2"},
		{`(?i)(\s)([-~?+])\s+(all|a|mx|ip4|ip6|include|exists)\b`, "$1$2$3"},
		{`(?i)(\s[+~?-]?(?:include|exists|ip4|ip6|redirect))[:=]?\s+([^\s+~?-]\S*[.:]\S*)`, "$1:$2"},
		{`(?i)(\S)([-~?+]all[.;,]?)(\s|$)`, "$1 $2$3"},
		{`(?i)(\s)all([-~?])(\s|$)`, "$1${2}all$3"},
	} {
		text = regexp.MustCompile(r.wrong).ReplaceAllString(text, r.right)
	}
	return text
}

// mendTerm returns the corrected term, or "" if the intended term cannot be determined.
func mendTerm(t string) string {
	valid := func(t string) bool {
		_, err := spf.ParseRecord("v=spf1 " + t)
		return err == nil
	}
	t = strings.TrimRight(strings.Trim(t, ",;\"'"), ".")
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
		if addr, bits, ok := strings.Cut(value, "/"); ok && !valid("ip4:0.0.0.0/"+bits) && !strings.Contains(addr, ":") {
			value = addr // the length of the prefix is not valid
		}
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
		if name = doctor.Nearest(low, "include", "redirect", "exists", "ip4", "ip6", "all", "mx"); name == "redirect" {
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

// without removes terms from a record. If necessary, it adds others, so that the result authorizes senders and has all or redirect.
func (l *examination) without(text string, terms ...string) string {
	fields := slices.DeleteFunc(strings.Fields(text), func(t string) bool { return slices.Contains(terms, t) })
	text = strings.Join(fields, " ")
	rec, err := spf.ParseRecord(text)
	if err != nil {
		return text
	}
	senders, ends := 0, rec.Redirect != ""
	for _, d := range rec.Directives {
		if d.Mechanism == spf.All {
			ends = true
		} else {
			senders++
		}
	}
	switch {
	case senders == 0 && rec.Redirect == "":
		return l.firstSPF()
	case !ends:
		return text + " ~all"
	}
	return text
}

// mendTarget returns a record for the target of an include or redirect. The new record is correct for all domains that use the target.
// mendTarget returns "" if the target belongs to another site, or if it cannot determine the content of the record.
func (l *examination) mendTarget(ctx context.Context, name string) string {
	all, err := l.text(ctx, name)
	if c := l.chainOf(ctx, name); err != nil || c.loops || !l.controls(ctx, c.end()) {
		return ""
	}
	switch found := only(all, spf.IsRecord); len(found) {
	case 0:
	case 1:
		if _, err := spf.ParseRecord(found[0]); err == nil {
			return "" // the includes form a loop
		}
		return mendSPF(found[0])
	default:
		return mergeSPF(found)
	}
	for _, t := range all {
		if rest, ok := likeSPF(t); ok {
			return mendSPF("v=spf1 " + rest)
		}
	}
	if l.own == nil || len(l.own.Sends) == 0 {
		return ""
	}
	text := "v=spf1" + l.lastSPF()
	for _, a := range slices.Backward(l.own.Sends) {
		text = allow(text, a)
	}
	return text
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
