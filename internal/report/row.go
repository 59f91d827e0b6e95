package report

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/internal/journal"
	"signpost/policy"
)

// maxSignatures is the number of signatures that a row should have at most: RFC 9990 section 3.1.3.
const maxSignatures = 100

// observeMode is the comment of a reason if a decision was not carried out.
const observeMode = "observe_mode"

// reported reports whether a message can have rows: it is inbound mail, and the client was not told to retry.
func reported(e *journal.Entry) bool {
	return e.Role == policy.RoleVerify && e.SMTP && e.Client.IsValid() && e.Action != policy.Tempfail
}

// newRow returns the row of one message for one of its Author Domains. d is pass or fail, and record is the record that was found.
func newRow(ctx context.Context, e *journal.Entry, d dmarc.Result, record *dmarc.Record) Row {
	r := Row{Source: e.Client.Unmap().WithZone(""), Count: 1, HeaderFrom: d.Domain, EnvelopeFrom: envelopeFrom(e.Sender)}
	is := func(method dmarc.Method, name string) bool { return aligned(ctx, e, d, record, method, name) }
	rank := map[Signature]int{}
	for _, s := range e.DKIM {
		if s.Selector == "" || !valid(s.Domain) {
			continue
		}
		signature := Signature{Domain: s.Domain, Selector: s.Selector, Result: s.Status}
		order := 3 // RFC 9990 section 3.1.3
		switch {
		case s.Status != dkim.Pass:
		case s.Domain == d.Domain:
			order, r.DKIM = 0, r.DKIM || is(dmarc.DKIM, s.Domain)
		case is(dmarc.DKIM, s.Domain):
			order, r.DKIM = 1, true
		default:
			order = 2
		}
		rank[signature] = order
		r.Signatures = append(r.Signatures, signature)
	}
	slices.SortStableFunc(r.Signatures, func(a, b Signature) int { return cmp.Compare(rank[a], rank[b]) })
	r.Signatures = r.Signatures[:min(maxSignatures, len(r.Signatures))]
	if e.SPF != nil && valid(e.SPF.Domain) {
		r.SPFDomain, r.SPFResult = e.SPF.Domain, e.SPF.Status
		r.SPF = e.SPF.Status == "pass" && is(dmarc.SPF, e.SPF.Domain)
	}
	r.Disposition = disposition(e.Action, d)
	r.Reasons = reasons(e, r.Disposition, d)
	return r
}

// disposition returns what an action means for a message with the result d.
func disposition(a policy.Action, d dmarc.Result) Disposition {
	switch a {
	case policy.Reject:
		return DispositionReject
	case policy.Tag, policy.Hold:
		return DispositionQuarantine
	}
	if d.Status == dmarc.Pass && d.Policy != dmarc.PolicyNone && d.Policy != "" {
		return DispositionPass
	}
	return DispositionNone
}

// requested returns the disposition that the published policy requests.
func requested(d dmarc.Result) Disposition {
	if d.Status == dmarc.Pass {
		return disposition(policy.Accept, d)
	}
	return Disposition(cmp.Or(d.Published, dmarc.PolicyNone))
}

// reasons returns why a disposition differs from what the policy requests. RFC 9990 section 3.1.1.9 requires a reason if alignment failed.
func reasons(e *journal.Entry, done Disposition, d dmarc.Result) (all []Reason) {
	if done == requested(d) {
		return nil
	}
	add := func(o policy.Override, comment string) {
		if !slices.ContainsFunc(all, func(r Reason) bool { return r.Type == o }) {
			all = append(all, Reason{o, comment})
		}
	}
	if e.Observe && e.Would != "" && disposition(e.Would, d) != done {
		add(policy.LocalPolicy, observeMode)
	}
	for _, why := range e.Reasons {
		if o, _ := why.Code.Override(); o != "" {
			add(o, string(why.Code))
		}
	}
	if e.Override != "" { // an entry of version 1 has no codes
		add(e.Override, "")
	}
	if len(all) == 0 {
		add(policy.LocalPolicy, string(e.Code))
	}
	return all
}

// aligned reports whether an authenticated name is aligned with the Author Domain. A message that fails has no aligned name. A message that
// passes has one in d.Aligned; the daemon may not have compared the others, so their Organizational Domains are derived from the
// recorded lookups.
func aligned(ctx context.Context, e *journal.Entry, d dmarc.Result, record *dmarc.Record, method dmarc.Method, name string) bool {
	switch {
	case d.Status != dmarc.Pass:
		return false
	case name == d.Domain || d.Aligned != nil && *d.Aligned == dmarc.AlignedIdentifier{Method: method, Domain: name}:
		return true
	case method == dmarc.DKIM && record.StrictDKIM || method == dmarc.SPF && record.StrictSPF:
		return false
	case !shareTwoLabels(name, d.Domain): // names that share no more than the TLD are never aligned
		return false
	case d.OrgDomain != "":
		return domain.Within(name, d.OrgDomain)
	case domain.Within(name, d.PolicyDomain): // the walks from both names go through PolicyDomain
		return record.PSD != 'y'
	}
	same, _ := dmarc.SameOrganization(ctx, dns.Recall(e.Lookups), d.Domain, name)
	return same
}

// shareTwoLabels reports whether the last two labels of two names are equal.
func shareTwoLabels(a, b string) bool {
	last := func(name string) string {
		tld := strings.LastIndexByte(name, '.')
		if tld < 0 {
			return ""
		}
		return name[strings.LastIndexByte(name[:tld], '.')+1:]
	}
	return last(a) != "" && last(a) == last(b)
}

// envelopeFrom returns the domain of the envelope sender, or "" for the null sender. A domain that is not valid is kept as it is, in lower
// case, because the recipient of the report may recognize it.
func envelopeFrom(sender string) string {
	at := strings.LastIndexByte(sender, '@')
	if at < 0 {
		return ""
	}
	name := domain.Fold(sender[at+1:])
	if parsed, err := domain.Parse(name); err == nil {
		return parsed
	}
	return name[:min(maxName, len(name))]
}

// maxName is the maximum length of a name, in bytes: RFC 1035 section 2.3.4.
const maxName = 255

// valid reports whether a name is a domain of lower-case A-labels. The journal may have cut a long name.
func valid(name string) bool {
	parsed, err := domain.Parse(name)
	return err == nil && parsed == name
}
