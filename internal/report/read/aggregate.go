package read

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// aggregate reads a DMARC aggregate report. The names of elements are compared without case and namespace: each version of the format has
// another namespace, and reporters omit it. The order of elements is free, and unknown ones are skipped.
func aggregate(r io.Reader) (*Report, error) {
	e := newElements(r)
	doctype := false
	for {
		switch t := e.token().(type) {
		case nil:
			if CauseOf(e.err) == Malformed {
				return nil, notReport()
			}
			return nil, e.err
		case xml.Directive: // also in a page of HTML
			doctype = true
		case xml.StartElement:
			if !strings.EqualFold(t.Name.Local, "feedback") {
				return nil, notReport()
			}
			if doctype {
				return nil, e.fail(Doctype, "")
			}
			return e.feedback()
		}
	}
}

// feedback reads the content of the element feedback.
func (e *elements) feedback() (*Report, error) {
	r := &Report{Kind: Aggregate}
	var begin, end, extra string
	omitted := 0
	e.each(func(element string) {
		switch element {
		case "report_metadata":
			begin, end, extra = e.metadata(r)
		case "policy_published":
			e.policy(r)
		case "record":
			row, ok := e.record()
			switch {
			case len(r.Rows) == maxRows:
				e.err = e.fail(TooMany, "records")
			case ok:
				r.Rows = append(r.Rows, row)
			default:
				omitted++
			}
		}
	})
	if e.err != nil {
		return nil, e.err
	}
	if r.Domain == "" {
		return nil, malformed("policy_published has no valid domain")
	}
	if err := r.period(begin, end); err != nil {
		return nil, err
	}
	r.Contact = cmp.Or(r.Contact, extra)
	if omitted > 0 {
		r.note(fmt.Sprintf("records without a valid source_ip and count: %d", omitted))
	}
	r.complete()
	return r, nil
}

func (e *elements) metadata(r *Report) (begin, end, extra string) {
	e.each(func(element string) {
		switch element {
		case "org_name":
			r.OrgName = text(e.text())
		case "email":
			r.Contact = text(e.text())
		case "extra_contact_info":
			extra = text(e.text())
		case "report_id":
			r.ID = text(e.text())
		case "generator":
			r.Generator = text(e.text())
		case "error":
			r.note(e.text())
		case "date_range":
			e.each(func(element string) {
				switch element {
				case "begin":
					begin = text(e.text())
				case "end":
					end = text(e.text())
				}
			})
		}
	})
	return begin, end, extra
}

func (e *elements) policy(r *Report) {
	p := &r.Policy
	tags := map[string]*string{"p": &p.P, "sp": &p.SP, "np": &p.NP, "adkim": &p.ADKIM, "aspf": &p.ASPF, "fo": &p.FO, "pct": &p.Pct, "testing": &p.Testing}
	e.each(func(element string) {
		switch tag := tags[element]; {
		case element == "domain":
			r.Domain, _ = domainName(e.text())
		case tag != nil:
			*tag = word(e.text())
		}
	})
}

// record reads a record. ok is false if it has no valid address or count.
func (e *elements) record() (row Row, ok bool) {
	e.each(func(element string) {
		switch element {
		case "row":
			e.each(func(element string) {
				switch element {
				case "source_ip":
					row.Source = address(e.text())
				case "count":
					row.Count, ok = count(e.text())
				case "policy_evaluated":
					e.evaluated(&row)
				}
			})
		case "identifiers", "identities": // "identities" is in drafts
			e.each(func(element string) {
				switch element {
				case "header_from":
					row.HeaderFrom = name(e.text())
				case "envelope_from":
					row.EnvelopeFrom = name(e.text())
				case "envelope_to":
					row.EnvelopeTo = name(e.text())
				}
			})
		case "auth_results":
			e.results(&row)
		}
	})
	return row, ok && row.Source.IsValid()
}

func (e *elements) evaluated(row *Row) {
	e.each(func(element string) {
		switch element {
		case "disposition":
			row.Disposition = word(e.text())
		case "dkim":
			row.DKIM = word(e.text()) == "pass"
		case "spf":
			row.SPF = word(e.text()) == "pass"
		case "reason":
			var why Reason
			e.each(func(element string) {
				switch element {
				case "type":
					why.Type = word(e.text())
				case "comment":
					why.Comment = text(e.text())
				}
			})
			if why != (Reason{}) && len(row.Reasons) < maxKept {
				row.Reasons = append(row.Reasons, why)
			}
		}
	})
}

// results reads the results of a record. Those without a domain state only that there was no signature or no MAIL FROM.
func (e *elements) results(row *Row) {
	e.each(func(element string) {
		var domain, selector, scope, result, human string
		e.each(func(element string) {
			switch element {
			case "domain":
				domain = name(e.text())
			case "selector":
				selector = word(e.text())
			case "scope":
				scope = word(e.text())
			case "result":
				result = word(e.text())
			case "human_result":
				human = text(e.text())
			}
		})
		switch {
		case domain == "":
		case element == "dkim" && len(row.Signatures) < maxKept:
			row.Signatures = append(row.Signatures, Signature{domain, selector, result, human})
		case element == "spf" && len(row.SPFResults) < maxKept:
			if result == "hardfail" {
				result = "fail"
			}
			row.SPFResults = append(row.SPFResults, SPFResult{domain, scope, result})
		}
	})
}
