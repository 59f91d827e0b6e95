package dmarc

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// Policy is the handling that a Domain Owner requests: RFC 9989 section 4.7.
type Policy string

// The policies, the mildest first.
const (
	PolicyNone       Policy = "none"
	PolicyQuarantine Policy = "quarantine"
	PolicyReject     Policy = "reject"
)

// Record is a DMARC Policy Record: RFC 9989 section 4.7. Tags that are absent or not valid have their defaults.
type Record struct {
	Text       string
	P          Policy
	SP, NP     Policy // if np is empty, sp applies; if sp is empty, p applies
	StrictDKIM bool   // adkim=s
	StrictSPF  bool   // aspf=s
	PSD        byte   // 'y', 'n' or 'u'
	Testing    bool   // t=y
	RUA, RUF   []string
	FO         string // the options of failure reports, such as 1:d
	Fault      *Fault // the error in p, sp or np: PolicyTagMissing or PolicyTagInvalid; nil if there is none
	Broken     bool   // the record has no effect because of Fault (section 4.10.1); if Broken is false, a record with a Fault counts as p=none
}

// ParseRecord parses a TXT record whose strings are joined. ok is false if it is not a DMARC record, which must begin with v=DMARC1 in
// exactly this case. If a tag is repeated, the first one counts. Unknown tags, pct, rf and ri are ignored.
func ParseRecord(txt string) (r *Record, ok bool) {
	parts := strings.Split(txt, ";")
	name, version, _ := strings.Cut(parts[0], "=")
	if !strings.EqualFold(strings.TrimRight(name, " \t"), "v") || strings.Trim(version, " \t") != "DMARC1" {
		return nil, false
	}
	tags := map[string]string{}
	for _, part := range parts[1:] {
		name, value, ok := strings.Cut(part, "=")
		name = strings.ToLower(strings.Trim(name, " \t"))
		if _, twice := tags[name]; ok && !twice {
			tags[name] = strings.Trim(value, " \t")
		}
	}
	r = &Record{Text: txt, P: PolicyNone, PSD: 'u'}
	if _, ok := tags["p"]; !ok {
		r.Fault = &Fault{Cause: PolicyTagMissing}
	}
	bad := false
	for _, t := range []struct {
		name string
		to   *Policy
	}{{"p", &r.P}, {"sp", &r.SP}, {"np", &r.NP}} {
		value, ok := tags[t.name]
		if !ok {
			continue
		}
		p := Policy(strings.ToLower(value))
		if p != PolicyNone && p != PolicyQuarantine && p != PolicyReject {
			if !bad {
				r.Fault = &Fault{PolicyTagInvalid, t.name + "=" + shown(value)}
			}
			bad = true
			continue
		}
		*t.to = p
	}
	r.StrictDKIM = strings.EqualFold(tags["adkim"], "s")
	r.StrictSPF = strings.EqualFold(tags["aspf"], "s")
	r.Testing = strings.EqualFold(tags["t"], "y")
	if psd := strings.ToLower(tags["psd"]); psd == "y" || psd == "n" {
		r.PSD = psd[0]
	}
	r.FO = failureOptions(tags["fo"])
	r.RUA, r.RUF = reportURIs(tags["rua"]), reportURIs(tags["ruf"])
	// Section 4.10.1: with a valid rua, the record counts as p=none. Without a valid rua, there is no DMARC processing. By section 4.7, an
	// absent p means p=none and does not affect sp and np.
	switch {
	case r.Fault == nil:
		return r, true
	case len(r.RUA) == 0:
		r.Broken = true
	case !bad:
		return r, true
	}
	r.P, r.SP, r.NP = PolicyNone, "", ""
	return r, true
}

// maxShown is the length in bytes of the longest wrong value that a Fault shows. This is enough for a misspelt policy.
const maxShown = 20

// shown returns a wrong value, or "" if the value is long or would need quoting in Authentication-Results.
func shown(value string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" .,:=_-", r)
	}
	if len(value) > maxShown || strings.ContainsFunc(value, func(r rune) bool { return !plain(r) }) {
		return ""
	}
	return value
}

// nearMiss returns the text that follows v=DMARC1 in a TXT record instead of a semicolon, or "".
func nearMiss(txt string) string {
	name, rest, ok := strings.Cut(txt, "=")
	after, version := strings.CutPrefix(strings.TrimLeft(rest, " \t"), "DMARC1")
	if !ok || !version || !strings.EqualFold(strings.TrimRight(name, " \t"), "v") {
		return ""
	}
	after, _, _ = strings.Cut(strings.TrimLeft(after, " \t"), ";")
	return strings.TrimRight(after, " \t")
}

// reportURIs returns the valid URIs of a list: section 4.7. It removes the obsolete size limit after "!".
func reportURIs(list string) []string {
	var uris []string
	for u := range strings.SplitSeq(list, ",") {
		u, _, _ = strings.Cut(strings.Trim(u, " \t"), "!")
		if parsed, err := url.Parse(u); err == nil && parsed.Scheme != "" && (parsed.Opaque != "" || parsed.Host != "") {
			uris = append(uris, u)
		}
	}
	return uris
}

// failureOptions returns the valid options of the tag fo, or its default.
func failureOptions(list string) string {
	var valid []string
	for option := range strings.SplitSeq(strings.ToLower(list), ":") {
		if option = strings.Trim(option, " \t"); len(option) == 1 && strings.Contains("01ds", option) && !slices.Contains(valid, option) {
			valid = append(valid, option)
		}
	}
	return cmp.Or(strings.Join(valid, ":"), "0")
}

// below returns the policy for subdomains of the domain that has the record: section 4.10.1.
func (r *Record) below(exists bool) (p Policy, tag string) {
	switch {
	case !exists && r.NP != "":
		return r.NP, "np"
	case r.SP != "":
		return r.SP, "sp"
	}
	return r.P, "p"
}

// stricter reports whether p is stricter than q.
func (p Policy) stricter(q Policy) bool {
	return p == PolicyReject && q != PolicyReject || p == PolicyQuarantine && q == PolicyNone
}

// soften returns the milder policy that t=y requests: section 4.7.
func (p Policy) soften() Policy {
	if p == PolicyReject {
		return PolicyQuarantine
	}
	return PolicyNone
}
