package dmarc

import (
	"cmp"
	"context"
	"strings"

	"signpost/internal/domain"
)

// Status is the outcome, as in RFC 9989 section 9.2.
type Status string

// The values of Status in a Result.
const (
	Pass      Status = "pass"
	Fail      Status = "fail"
	None      Status = "none"      // no policy is published, or its record has no effect
	TempError Status = "temperror" // a lookup failed, and its answer could have led to a pass
	PermError Status = "permerror" // a DNS answer cannot be used, and a retry would not change it
)

// Method is the way in which an identifier was authenticated.
type Method string

// The methods. In Result.FailedMethod, DNS means DMARC's own lookups.
const (
	DKIM Method = "dkim"
	SPF  Method = "spf"
	DNS  Method = "dmarc"
)

// Identifier is a domain that DKIM or SPF authenticated, or whose check by DKIM or SPF failed temporarily.
type Identifier struct {
	Method Method
	Domain string // lower-case A-labels
	Open   bool   // the identifier could not be checked (temperror); otherwise it passed
	Failed string // if Open, the DNS name whose lookup failed
}

// AlignedIdentifier is a domain that DKIM or SPF authenticated and that is aligned with the Author Domain.
type AlignedIdentifier struct {
	Method Method `json:"method"`
	Domain string `json:"domain"`
}

// Result is the DMARC result for one Author Domain.
type Result struct {
	Status       Status `json:"status"`
	Domain       string `json:"domain"`                  // Author Domain
	OrgDomain    string `json:"org_domain,omitempty"`    // the Organizational Domain; empty if it was not needed or not found
	PolicyDomain string `json:"policy_domain,omitempty"` // the domain of the record
	Record       string `json:"record,omitempty"`
	Tag          string `json:"tag,omitempty"`       // the tag that applies: p, sp or np
	Published    Policy `json:"published,omitempty"` // the value of that tag
	Policy       Policy `json:"policy,omitempty"`    // the policy to apply: Published or, with t=y, a milder policy
	Testing      bool   `json:"testing,omitempty"`   // t=y

	Aligned *AlignedIdentifier `json:"aligned,omitempty"` // the identifier that passed and is aligned; set for a pass, and for a temperror that would be a pass

	Cause            Cause  `json:"cause,omitempty"`             // why the Status is not pass
	Detail           string `json:"detail,omitempty"`            // the comment of the Cause describes it
	IdentifierDomain string `json:"identifier_domain,omitempty"` // for a temperror: the domain of the identifier whose check or comparison failed
	Failed           string `json:"failed,omitempty"`            // for a temperror or PolicyLookupUnusable: the DNS name of the first lookup that failed

	// Assumed is set for a temperror. It is the status that would apply if the failed lookups had found nothing: pass, fail or none.
	Assumed Status `json:"assumed,omitempty"`
	// Remembered reports that the lookup of the policy failed, and that the policy is from an earlier answer.
	Remembered bool `json:"remembered,omitempty"`
	// Fault states why the record counts as p=none although it does not contain p=none. It is nil for other records.
	Fault *Fault `json:"record_fault,omitempty"`
}

// FailedMethod returns the method whose lookup failed, or "" if none failed.
func (r Result) FailedMethod() Method {
	switch r.Cause {
	case PolicyLookupFailed, PolicyLookupUnusable, OrganizationLookupFailed:
		return DNS
	case KeyLookupFailed:
		return DKIM
	case SPFLookupFailed:
		return SPF
	}
	return ""
}

// Unauthenticated reports whether the message fails DMARC. For a temperror, it reports whether the message would fail if the failed lookups
// had found nothing.
func (r Result) Unauthenticated() bool {
	return r.Status == Fail || r.Status == TempError && r.Assumed == Fail
}

// AsIf returns the result that a message would have if its domain published another policy instead of p=none. Other results are unchanged.
func (r Result) AsIf(p Policy) Result {
	if r.Published != PolicyNone {
		return r
	}
	r.Published, r.Policy, r.Fault = p, p, nil
	if r.Testing {
		r.Policy = p.soften()
	}
	return r
}

// Discovery is the policy of an Author Domain, before identifiers are compared with it.
type Discovery struct {
	resolver Resolver
	record   *Record
	failed   *failure // a temporary failure in the lookup of the policy; a failed lookup counts as one that found nothing
	declared bool
	walked   *walked // from the Author Domain, nil until it is needed
	result   Result
}

// MaxQueries is the maximum number of queries of a Discovery, including those for the Organizational Domain. It is the number of queries of
// one walk, plus one query that asks whether the domain exists.
const MaxQueries = maxWalk + 2

// Discover finds the policy of an Author Domain: RFC 9989 section 4.10.1. A lookup that fails temporarily counts as one that found
// nothing. So a policy of a parent domain or a remembered policy still applies.
func Discover(ctx context.Context, r Resolver, author string) *Discovery {
	d := &Discovery{resolver: r, result: Result{Domain: author}}
	var own walked
	record := own.lookup(ctx, r, author)
	if record != nil {
		d.failed, d.result.Remembered = own.failed, own.remembered
		d.take(record, author)
		d.result.Published, d.result.Tag = record.P, "p"
		d.finish()
		return d
	}
	w := d.organizational(ctx)
	d.failed, d.result.Remembered = w.failed, w.remembered
	if len(w.found) == 0 {
		d.none(w)
		return d
	}
	// The record at the Organizational Domain applies. If there is none, the record of the public suffix above it applies. The walk ended
	// at that record. Records between these domains and the author are not used.
	use := w.found[len(w.found)-1]
	for _, f := range w.found {
		if f.domain == d.result.OrgDomain {
			use = f
		}
	}
	d.take(use.record, use.domain)
	d.result.Published, d.result.Tag = d.below(ctx, use.record)
	d.finish()
	return d
}

// below returns the policy of a record above the Author Domain. If the lookup that decides between np and sp fails, the stricter of the two
// policies applies.
func (d *Discovery) below(ctx context.Context, record *Record) (Policy, string) {
	p, tag := record.below(true)
	if record.NP == "" || record.NP == p {
		return p, tag
	}
	exists, err := d.resolver.Exists(ctx, d.result.Domain)
	switch {
	case err != nil && !permanent(err):
		d.failed = cmp.Or(d.failed, &failure{d.result.Domain, err})
		if !record.NP.stricter(p) {
			return p, tag
		}
	case err != nil || exists:
		return p, tag
	}
	return record.below(false)
}

func (d *Discovery) take(r *Record, at string) {
	d.record = r
	d.result.PolicyDomain, d.result.Record, d.result.Testing = at, r.Text, r.Testing
}

func (d *Discovery) finish() {
	r := &d.result
	if r.Policy = r.Published; r.Testing {
		r.Policy = r.Policy.soften()
	}
	if d.record.Broken { // section 4.10.1: no DMARC processing
		r.Status, r.Cause, r.Detail, r.Policy, r.Published, r.Tag = None, d.record.Fault.Cause, d.record.Fault.Detail, "", "", ""
		return
	}
	if r.Tag == "p" {
		r.Fault = d.record.Fault
	}
}

// none ends a discovery that found no record. Section 5.3.6: if a lookup failed, a message neither passes nor fails.
func (d *Discovery) none(w *walked) {
	r := &d.result
	switch {
	case w.failed != nil:
		r.OrgDomain = "" // OrgDomain is not reliable, because a lookup failed
		d.temporary(PolicyLookupFailed, w.failed, None)
	case w.unusable != nil:
		r.Status, r.Cause, r.Detail, r.Failed = PermError, PolicyLookupUnusable, dnsStatus(w.unusable.err), w.unusable.name
	default:
		r.Status, r.Cause = None, NoRecord
	}
}

// temporary sets the result to temperror. assumed is the status that would apply if the failed lookup had found nothing.
func (d *Discovery) temporary(cause Cause, f *failure, assumed Status) {
	r := &d.result
	r.Status, r.Cause, r.Detail, r.Failed, r.Assumed = TempError, cause, dnsStatus(f.err), strings.TrimSuffix(f.name, "."), assumed
}

// organizational finds the author's Organizational Domain. It does the tree walk only once.
func (d *Discovery) organizational(ctx context.Context) *walked {
	if d.walked == nil {
		w := walk(ctx, d.resolver, d.result.Domain)
		d.walked = &w
		d.result.OrgDomain, d.declared = organizational(d.result.Domain, w.found)
	}
	return d.walked
}

// Evaluate compares a message's identifiers with the policy: RFC 9989 sections 4.4 and 5.3. r does the lookups of the walks from the
// identifiers. Evaluate must be called at most once.
func (d *Discovery) Evaluate(ctx context.Context, r Resolver, ids []Identifier) Result {
	if d.result.Status != "" {
		return d.result
	}
	var open *Identifier   // this identifier could be aligned, but its check failed
	var likely *Identifier // this identifier passed, and the lookups that succeeded indicate that it is aligned
	var openWhy, likelyWhy *failure
	for _, same := range []bool{true, false} { // identifiers equal to the Author Domain come first, because they need no walk
		for _, id := range ids {
			if (id.Domain == d.result.Domain) != same {
				continue
			}
			aligned, doubt := same, (*failure)(nil)
			if !same {
				aligned, doubt = d.aligned(ctx, r, id)
			}
			switch {
			case aligned && !id.Open && doubt == nil:
				d.result.Aligned = &AlignedIdentifier{id.Method, id.Domain}
				if d.failed != nil {
					d.temporary(PolicyLookupFailed, d.failed, Pass)
				} else {
					d.result.Status = Pass
				}
				return d.result
			case aligned && !id.Open:
				likely, likelyWhy = &id, doubt
			case aligned || doubt != nil:
				open, openWhy = &id, doubt
			}
		}
	}
	d.organizational(ctx) // the checks for relays need the Organizational Domain
	switch {
	case likely != nil:
		d.result.Aligned = &AlignedIdentifier{likely.Method, likely.Domain}
		d.result.IdentifierDomain = likely.Domain
		d.temporary(OrganizationLookupFailed, likelyWhy, Pass)
	case open != nil && openWhy != nil:
		d.result.IdentifierDomain = open.Domain
		d.temporary(OrganizationLookupFailed, openWhy, Fail)
	case open != nil:
		cause := SPFLookupFailed
		if open.Method == DKIM {
			cause = KeyLookupFailed
		}
		d.result.IdentifierDomain = open.Domain
		d.temporary(cause, &failure{name: cmp.Or(open.Failed, open.Domain)}, Fail)
	case d.failed != nil:
		d.temporary(PolicyLookupFailed, d.failed, Fail)
	default:
		d.result.Status, d.result.Cause = Fail, NoAlignedIdentifierPassed
	}
	return d.result
}

// aligned reports whether a name other than the Author Domain is aligned with it: section 4.10.2. A failed lookup counts as one that found
// nothing. If the answer to a failed lookup could change the result, doubt is that failure.
func (d *Discovery) aligned(ctx context.Context, r Resolver, id Identifier) (aligned bool, doubt *failure) {
	if id.Method == DKIM && d.record.StrictDKIM || id.Method == SPF && d.record.StrictSPF {
		return false, nil
	}
	own := d.organizational(ctx).failed
	// Names that share no more than the TLD are never aligned, so no walk is needed.
	if common(id.Domain, d.result.Domain) < 2 {
		own = nil
	}
	org := d.result.OrgDomain
	// A name's Organizational Domain is the name itself or a parent. So only a name within the author's Organizational Domain can have the
	// same Organizational Domain. A record without psd= at a single label belongs to a registry that omits psd=y. Its subdomains belong to
	// different owners (section 11.8).
	if !domain.Within(id.Domain, org) || !d.declared && !strings.Contains(org, ".") {
		return false, own
	}
	if id.Open {
		return true, nil // the name could be aligned; a walk is not needed
	}
	w := walk(ctx, r, id.Domain)
	if w.incomplete {
		return false, nil // the name counts as not aligned, because a sender can add any number of identifiers to reach the limit
	}
	other, _ := organizational(id.Domain, w.found)
	return other == org, cmp.Or(own, w.failed)
}

// common returns the number of labels that two names share, from the right.
func common(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	n := 0
	for n < len(x) && n < len(y) && x[len(x)-1-n] == y[len(y)-1-n] {
		n++
	}
	return n
}
