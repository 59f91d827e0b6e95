package policy

import (
	"cmp"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// Other is a result that another filter of this host wrote into the message. It is recorded in observe mode.
type Other struct {
	Method    string `json:"method"` // spf, dkim or dmarc
	Result    string `json:"result"`
	Domain    string `json:"domain,omitempty"` // smtp.mailfrom, smtp.helo, header.d or header.from; lower-case A-labels
	HELO      bool   `json:"helo,omitempty"`   // spf: of the HELO identity
	Selector  string `json:"selector,omitempty"`
	Signature string `json:"signature,omitempty"` // header.b
	Reason    string `json:"reason,omitempty"`
}

// Comparison is the comparison of our results with those of another filter.
type Comparison struct {
	Same      []string     `json:"same,omitempty"`      // methods whose results are the same
	Missing   []string     `json:"missing,omitempty"`   // methods for which the other filter reported no result
	Different []Difference `json:"different,omitempty"` // each result that differs
}

// Difference is a result that differs from the result of the other filter.
type Difference struct {
	Method string `json:"method"`
	Name   string `json:"name,omitempty"` // a domain, with /selector for DKIM
	Ours   Side   `json:"ours"`
	Theirs Side   `json:"theirs"`
}

// Side is one of the two results. An empty Result means that there is none.
type Side struct {
	Result  string `json:"result,omitempty"`
	Domain  string `json:"domain,omitempty"`     // the domain of the result, if it is not the domain of the Difference
	Cause   string `json:"cause,omitempty"`      // ours: the cause that the protocol engine returned
	Detail  string `json:"detail,omitempty"`     // ours: the detail of the cause; theirs: the reason that they state
	Aligned string `json:"aligned,omitempty"`    // ours, DMARC: the aligned domain
	Org     string `json:"org_domain,omitempty"` // ours, DMARC: the Organizational Domain if it is not the Author Domain
}

// Compare compares our results with those that another filter wrote. If the other filter reported no result of a method, the method is in
// Missing and not in Different. OpenDKIM, for example, reports no SPF result.
func Compare(e Evidence) Comparison {
	var c Comparison
	if len(e.Others) == 0 || e.SPF == nil { // every message that was verified has an SPF result
		return c
	}
	for _, m := range []struct {
		name    string
		compare func(Evidence) (different []Difference, reported bool)
	}{
		{"spf", compareSPF},
		{"dkim", compareDKIM},
		{"dmarc", compareDMARC},
	} {
		different, reported := m.compare(e)
		switch {
		case !reported:
			c.Missing = append(c.Missing, m.name)
		case len(different) == 0:
			c.Same = append(c.Same, m.name)
		}
		c.Different = append(c.Different, different...)
	}
	return c
}

func (e Evidence) others(method string) []Other {
	var all []Other
	for _, o := range e.Others {
		if o.Method == method {
			all = append(all, o)
		}
	}
	return all
}

// compareSPF, compareDKIM and compareDMARC return the differences, and whether the other filter reported the method.
func compareSPF(e Evidence) ([]Difference, bool) {
	for _, o := range e.others("spf") {
		// Only results for the same identity are compared. OpenDMARC writes results for both HELO and MAIL FROM.
		if o.HELO != (e.SPF.Identity == spf.HELO) {
			continue
		}
		if o.Result == "hardfail" {
			o.Result = "fail" // old filters write hardfail
		}
		if o.Result != string(e.SPF.Status) || o.Domain != "" && o.Domain != e.SPF.Domain {
			ours := Side{Result: string(e.SPF.Status), Cause: string(e.SPF.Cause), Detail: cmp.Or(e.SPF.Term, e.SPF.Detail)}
			return []Difference{{"spf", e.SPF.Domain, ours, o.side(e.SPF.Domain)}}, true
		}
		return nil, true
	}
	return nil, false
}

func compareDKIM(e Evidence) ([]Difference, bool) {
	theirs := e.others("dkim")
	if len(theirs) == 0 {
		return nil, false
	}
	theirs = slices.DeleteFunc(theirs, func(o Other) bool { return o.Result == "none" && o.Domain == "" })
	var all []Difference
	for _, s := range e.DKIM {
		ours := Side{Result: string(s.Status), Cause: string(s.Cause), Detail: s.Detail}
		name := strings.TrimSuffix(s.Domain+"/"+s.Selector, "/")
		i := slices.IndexFunc(theirs, func(o Other) bool { return o.about(s) })
		if i < 0 {
			all = append(all, Difference{"dkim", name, ours, Side{}})
			continue
		}
		if theirs[i].Result != string(s.Status) {
			all = append(all, Difference{"dkim", name, ours, theirs[i].side("")})
		}
		theirs = slices.Delete(theirs, i, i+1)
	}
	for _, o := range theirs {
		all = append(all, Difference{"dkim", strings.TrimSuffix(o.Domain+"/"+o.Selector, "/"), Side{}, o.side("")})
	}
	return all, true
}

// about reports whether o may be the result of the signature s. If o lacks a property, that property matches every signature.
func (o Other) about(s dkim.Result) bool {
	return (o.Domain == "" || o.Domain == s.Domain) && (o.Selector == "" || o.Selector == s.Selector) && strings.HasPrefix(s.Signature, o.Signature)
}

func compareDMARC(e Evidence) ([]Difference, bool) {
	theirs := e.others("dmarc")
	if len(theirs) == 0 {
		return nil, false
	}
	var all []Difference
	for _, d := range e.DMARC {
		i := slices.IndexFunc(theirs, func(o Other) bool { return o.Domain == "" || o.Domain == d.Domain })
		if i < 0 {
			all = append(all, Difference{"dmarc", d.Domain, sideDMARC(d), theirs[0].side(d.Domain)})
		} else if theirs[i].Result != string(d.Status) {
			all = append(all, Difference{"dmarc", d.Domain, sideDMARC(d), theirs[i].side("")})
		}
	}
	if e.Author.Cause != "" && theirs[0].Result != string(dmarc.None) {
		ours := Side{Result: string(dmarc.None), Cause: string(e.Author.Cause), Detail: e.Author.Detail}
		all = append(all, Difference{"dmarc", theirs[0].Domain, ours, theirs[0].side(theirs[0].Domain)})
	}
	return all, true
}

// sideDMARC returns our DMARC result. It includes the Organizational Domain, because most differences arise when one filter uses a tree
// walk and the other the Public Suffix List.
func sideDMARC(d dmarc.Result) Side {
	s := Side{Result: string(d.Status), Cause: string(d.Cause), Detail: d.Detail}
	if d.Aligned != nil {
		s.Aligned = d.Aligned.Domain
	}
	if d.OrgDomain != d.Domain {
		s.Org = d.OrgDomain
	}
	return s
}

// side returns the result of the other filter. The parameter of is the domain of the Difference. It is "" if the result has the same
// domain.
func (o Other) side(of string) Side {
	s := Side{Result: o.Result, Detail: o.Reason}
	if of != "" && o.Domain != of {
		s.Domain = o.Domain
	}
	return s
}
