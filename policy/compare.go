package policy

import (
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// Other is a result that another filter of this host wrote into the message, beside which Signpost only observes.
type Other struct {
	Method    string `json:"method"` // spf, dkim or dmarc
	Result    string `json:"result"`
	Domain    string `json:"domain,omitempty"` // smtp.mailfrom, smtp.helo, header.d or header.from; lower-case A-labels
	HELO      bool   `json:"helo,omitempty"`   // spf: of the HELO identity
	Selector  string `json:"selector,omitempty"`
	Signature string `json:"signature,omitempty"` // header.b
	Reason    string `json:"reason,omitempty"`
}

// Difference is a result that differs from the other filter's.
type Difference struct {
	Method string `json:"method"`
	Name   string `json:"name,omitempty"`
	Ours   string `json:"ours"` // with the reason
	Theirs string `json:"theirs"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: %s here, %s there", strings.TrimSpace(d.Method+" "+d.Name), d.Ours, d.Theirs)
}

// Compare says where the results differ from those that another filter wrote. A method of which it says nothing is not
// compared: OpenDKIM knows no SPF.
func Compare(e Evidence) []Difference {
	var all []Difference
	all = append(all, compareSPF(e)...)
	all = append(all, compareDKIM(e)...)
	return append(all, compareDMARC(e)...)
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

func compareSPF(e Evidence) []Difference {
	if e.SPF == nil {
		return nil
	}
	for _, o := range e.others("spf") {
		// The same identity alone: OpenDMARC writes a result for HELO beside the one for MAIL FROM.
		if o.HELO != (e.SPF.Identity == spf.HELO) {
			continue
		}
		if o.Result == "hardfail" {
			o.Result = "fail" // the word of old filters
		}
		if o.Result != string(e.SPF.Status) || o.Domain != "" && o.Domain != e.SPF.Domain {
			return []Difference{{"spf", e.SPF.Domain, because(string(e.SPF.Status), e.SPF.Reason), because(named(o, e.SPF.Domain), o.Reason)}}
		}
		return nil
	}
	return nil
}

func compareDKIM(e Evidence) []Difference {
	theirs := e.others("dkim")
	if len(theirs) == 0 {
		return nil
	}
	theirs = slices.DeleteFunc(theirs, func(o Other) bool { return o.Result == "none" && o.Domain == "" })
	var all []Difference
	for _, s := range e.DKIM {
		ours := because(string(s.Status), s.Reason)
		name := strings.TrimSuffix(s.Domain+"/"+s.Selector, "/")
		i := slices.IndexFunc(theirs, func(o Other) bool { return o.about(s) })
		if i < 0 {
			all = append(all, Difference{"dkim", name, ours, "no result"})
			continue
		}
		if theirs[i].Result != string(s.Status) {
			all = append(all, Difference{"dkim", name, ours, because(theirs[i].Result, theirs[i].Reason)})
		}
		theirs = slices.Delete(theirs, i, i+1)
	}
	for _, o := range theirs {
		all = append(all, Difference{"dkim", strings.TrimSuffix(o.Domain+"/"+o.Selector, "/"), "no such signature", because(o.Result, o.Reason)})
	}
	return all
}

// about says whether a result is that of a signature; what it does not say is no difference.
func (o Other) about(s dkim.Result) bool {
	return (o.Domain == "" || o.Domain == s.Domain) && (o.Selector == "" || o.Selector == s.Selector) && strings.HasPrefix(s.Signature, o.Signature)
}

func compareDMARC(e Evidence) []Difference {
	theirs := e.others("dmarc")
	if len(theirs) == 0 {
		return nil
	}
	var all []Difference
	for _, d := range e.DMARC {
		i := slices.IndexFunc(theirs, func(o Other) bool { return o.Domain == "" || o.Domain == d.Domain })
		if i < 0 {
			all = append(all, Difference{"dmarc", d.Domain, because(string(d.Status), whyDMARC(d)), because(named(theirs[0], d.Domain), theirs[0].Reason)})
		} else if theirs[i].Result != string(d.Status) {
			all = append(all, Difference{"dmarc", d.Domain, because(string(d.Status), whyDMARC(d)), because(theirs[i].Result, theirs[i].Reason)})
		}
	}
	if e.Author.Doubt != "" && theirs[0].Result != string(dmarc.None) {
		all = append(all, Difference{"dmarc", theirs[0].Domain, because("none", e.Author.Doubt), because(theirs[0].Result, theirs[0].Reason)})
	}
	return all
}

// whyDMARC has what most often tells the tree walk's verdict from one by the Public Suffix List: who the organisation is.
func whyDMARC(d dmarc.Result) string {
	var why []string
	if d.Reason != "" {
		why = append(why, d.Reason)
	}
	if d.Aligned != "" {
		why = append(why, "aligned: "+d.Aligned)
	}
	if d.OrgDomain != "" && d.OrgDomain != d.Domain {
		why = append(why, "Organizational Domain "+d.OrgDomain)
	}
	return strings.Join(why, "; ")
}

func named(o Other, ours string) string {
	if o.Domain == "" || o.Domain == ours {
		return o.Result
	}
	return o.Result + " for " + o.Domain
}

func because(word, reason string) string {
	if reason == "" {
		return word
	}
	return word + " (" + reason + ")"
}
