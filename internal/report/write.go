package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The elements of a report, in the namespace and order of RFC 9990 section 3.1.1. Older readers need this order too.
type (
	feedback struct {
		XMLName  xml.Name  `xml:"urn:ietf:params:xml:ns:dmarc-2.0 feedback"`
		Version  string    `xml:"version"`
		Metadata metadata  `xml:"report_metadata"`
		Policy   published `xml:"policy_published"`
		Records  []record  `xml:"record"`
	}
	metadata struct {
		OrgName   string `xml:"org_name"`
		Email     string `xml:"email"`
		Extra     string `xml:"extra_contact_info,omitempty"`
		ID        string `xml:"report_id"`
		Begin     int64  `xml:"date_range>begin"`
		End       int64  `xml:"date_range>end"`
		Error     string `xml:"error,omitempty"`
		Generator string `xml:"generator,omitempty"`
	}
	published struct {
		Domain    string `xml:"domain"`
		Discovery string `xml:"discovery_method"`
		P         string `xml:"p"`
		SP        string `xml:"sp"`
		NP        string `xml:"np"`
		FO        string `xml:"fo"`
		ADKIM     string `xml:"adkim"`
		ASPF      string `xml:"aspf"`
		Testing   string `xml:"testing"`
	}
	record struct {
		Source       string      `xml:"row>source_ip"`
		Count        int         `xml:"row>count"`
		Disposition  string      `xml:"row>policy_evaluated>disposition"`
		DKIM         string      `xml:"row>policy_evaluated>dkim"`
		SPF          string      `xml:"row>policy_evaluated>spf"`
		Reasons      []override  `xml:"row>policy_evaluated>reason"`
		HeaderFrom   string      `xml:"identifiers>header_from"`
		EnvelopeFrom *string     `xml:"identifiers>envelope_from"` // empty for the null sender; nil: folded
		Auth         authResults `xml:"auth_results"`
	}
	authResults struct {
		Signatures []dkimResult `xml:"dkim"`
		SPF        *spfResult   `xml:"spf"`
	}
	override struct {
		Type    string `xml:"type"`
		Comment string `xml:"comment,omitempty"`
	}
	dkimResult struct {
		Domain   string `xml:"domain"`
		Selector string `xml:"selector"`
		Result   string `xml:"result"`
	}
	spfResult struct {
		Domain string `xml:"domain"`
		Scope  string `xml:"scope"`
		Result string `xml:"result"`
	}
)

// write writes a report as XML.
func (r *Report) write(w io.Writer, s Sender, id string) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", " ")
	if err := e.Encode(r.feedback(s, id)); err != nil {
		return fmt.Errorf("writing the report about %s: %w", r.Policy.Domain, err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r *Report) feedback(s Sender, id string) feedback {
	p := r.Policy
	f := feedback{
		Version:  "1.0",
		Metadata: metadata{clean(s.OrgName), clean(s.Email), clean(s.Extra), id, r.Begin().Unix(), r.End().Unix(), r.errors(), clean(s.Generator)},
		Policy: published{clean(p.Domain), "treewalk", clean(string(p.P)), clean(string(p.SP)), clean(string(p.NP)), clean(p.FO),
			mode(p.StrictDKIM), mode(p.StrictSPF), yes(p.Testing)},
		Records: make([]record, len(r.Rows)),
	}
	for i := range r.Rows {
		f.Records[i] = r.Rows[i].record()
	}
	return f
}

func (r *Row) record() record {
	x := record{Source: r.Source.String(), Count: r.Count, Disposition: string(r.Disposition), DKIM: passed(r.DKIM), SPF: passed(r.SPF), HeaderFrom: clean(r.HeaderFrom)}
	for _, why := range r.Reasons {
		x.Reasons = append(x.Reasons, override{clean(string(why.Type)), clean(why.Comment)})
	}
	if !r.Folded {
		x.EnvelopeFrom = new(clean(r.EnvelopeFrom))
	}
	for _, s := range r.Signatures {
		x.Auth.Signatures = append(x.Auth.Signatures, dkimResult{clean(s.Domain), clean(s.Selector), clean(string(s.Result))})
	}
	if r.SPFDomain != "" {
		x.Auth.SPF = &spfResult{clean(r.SPFDomain), "mfrom", clean(string(r.SPFResult))}
	}
	return x
}

// errors returns the text of the error element, or "". There is only one such element, because the schema allows no more.
func (r *Report) errors() string {
	var all []string
	add := func(n int, text string) {
		if n > 0 {
			all = append(all, fmt.Sprintf(text, n))
		}
	}
	if r.Policy.Faulty {
		all = append(all, "the policy record has no valid p, sp or np, and counts as p=none")
	}
	add(r.TempErrors, "messages that are not in this report because a DNS lookup failed temporarily: %d")
	add(r.Omitted, "messages that are not in this report because it would be too large: %d")
	add(r.Lost, "messages of this period, from any domain, whose results were not recorded: %d")
	if r.Late {
		all = append(all, "no results were recorded at the beginning of this period")
	}
	if r.Partial {
		all = append(all, "the results of a server of this site are missing; another report will follow if they become available")
	}
	if r.Part > 1 {
		all = append(all, "this report adds the results of a server that were missing in an earlier report")
	}
	return strings.Join(all, "; ")
}

func passed(aligned bool) string {
	if aligned {
		return "pass"
	}
	return "fail"
}

func mode(strict bool) string {
	if strict {
		return "s"
	}
	return "r"
}

func yes(set bool) string {
	if set {
		return "y"
	}
	return "n"
}

// clean removes what XML 1.0 does not allow even in escaped form: control characters, and bytes that are not UTF-8. A sender could otherwise
// make a report unreadable for its recipient.
func clean(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)) {
			continue
		}
		if r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 {
			b.WriteRune(r)
		}
	}
	return b.String()
}
