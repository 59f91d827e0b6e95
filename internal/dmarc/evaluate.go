package dmarc

import (
	"context"
	"strings"

	"signpost/internal/dkim"
)

// Status is the outcome, in the words of RFC 9989 section 9.2.
type Status string

// The words that a Result can carry.
const (
	Pass      Status = "pass"
	Fail      Status = "fail"
	None      Status = "none"      // no policy is published
	TempError Status = "temperror" // what could have passed could not be looked up
	PermError Status = "permerror" // the policy cannot be read
)

// Method is how an identifier was authenticated.
type Method string

// The methods. DNS stands for DMARC's own look-ups in Result.Cause.
const (
	DKIM Method = "dkim"
	SPF  Method = "spf"
	DNS  Method = "dmarc"
)

// record says what is looked up for a method.
func (m Method) record() string {
	if m == DKIM {
		return "DKIM key"
	}
	return "SPF record"
}

// Identifier is a domain that DKIM or SPF speaks for.
type Identifier struct {
	Method Method
	Domain string // lower-case A-labels
	Open   bool   // it could not be checked (temperror); otherwise it passed
}

// Result is DMARC's view of one Author Domain.
type Result struct {
	Status       Status `json:"status"`
	Domain       string `json:"domain"`                  // Author Domain
	OrgDomain    string `json:"org_domain,omitempty"`    // empty where it was not needed or could not be found
	PolicyDomain string `json:"policy_domain,omitempty"` // where the record stands
	Record       string `json:"record,omitempty"`
	Tag          string `json:"tag,omitempty"`       // p, sp or np: which one applies
	Published    Policy `json:"published,omitempty"` // what it says
	Policy       Policy `json:"policy,omitempty"`    // what is left of it after t=y
	Testing      bool   `json:"testing,omitempty"`   // t=y
	Aligned      string `json:"aligned,omitempty"`   // pass: the method and the domain that aligned, as "dkim example.org"
	Cause        Method `json:"cause,omitempty"`     // temperror: whose look-up failed
	Reason       string `json:"reason,omitempty"`
}

// Discovery is the policy of an Author Domain, before anybody is held to it.
type Discovery struct {
	resolver Resolver
	record   *Record
	declared bool
	walked   bool
	walkErr  error
	result   Result
}

// MaxQueries is what a Discovery asks at most, with the Organizational Domain: a walk, and whether the domain exists.
const MaxQueries = maxWalk + 2

// Discover finds the policy of an Author Domain: RFC 9989 section 4.10.1.
func Discover(ctx context.Context, r Resolver, author string) *Discovery {
	d := &Discovery{resolver: r, result: Result{Domain: author}}
	own, err := lookup(ctx, r, author)
	if err != nil {
		return d.fail(author, err)
	}
	if own != nil {
		d.take(own, author)
		d.result.Published, d.result.Tag = own.P, "p"
		d.finish()
		return d
	}
	all := d.organizational(ctx)
	if d.walkErr != nil {
		return d.fail(author, d.walkErr)
	}
	if len(all) == 0 {
		d.result.Status, d.result.Reason = None, "no DMARC record"
		return d
	}
	// The record at the Organizational Domain; where it has none, that of the public suffix above, which ended the walk.
	// Records between them and the author are not used.
	use := all[len(all)-1]
	for _, f := range all {
		if f.domain == d.result.OrgDomain {
			use = f
		}
	}
	d.take(use.record, use.domain)
	exists := true
	if fallback, _ := use.record.below(true); use.record.NP != "" && use.record.NP != fallback {
		if exists, err = r.Exists(ctx, author); err != nil {
			return d.fail(author, err)
		}
	}
	d.result.Published, d.result.Tag = use.record.below(exists)
	d.finish()
	return d
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
	if d.record.Broken != "" {
		r.Status, r.Reason, r.Policy, r.Published, r.Tag = PermError, d.record.Broken, "", "", ""
	}
}

// fail: section 5.3.6: where a query that is needed fails, a message neither passes nor fails.
func (d *Discovery) fail(author string, err error) *Discovery {
	d.result.Status, d.result.Cause = TempError, DNS
	d.result.Reason = "the DMARC policy of " + author + " could not be looked up: " + err.Error()
	if permanent(err) {
		d.result.Status = PermError
	}
	return d
}

func permanent(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && !t.Temporary()
}

// organizational finds the author's Organizational Domain once, and gives the records of the walk.
func (d *Discovery) organizational(ctx context.Context) []found {
	if d.walked {
		return nil
	}
	d.walked = true
	var all []found
	if all, d.walkErr = walk(ctx, d.resolver, d.result.Domain); d.walkErr == nil {
		d.result.OrgDomain, d.declared = organizational(d.result.Domain, all)
	}
	return all
}

// Evaluate holds a message's identifiers against the policy: RFC 9989 sections 4.4 and 5.3. r is asked for walks from the
// identifiers. It may be called once.
func (d *Discovery) Evaluate(ctx context.Context, r Resolver, ids []Identifier) Result {
	if d.result.Status != "" {
		return d.result
	}
	var open *Identifier
	why := ""
	for _, same := range []bool{true, false} { // equal names first: they need no walk
		for _, id := range ids {
			if (id.Domain == d.result.Domain) != same {
				continue
			}
			aligned, err := true, error(nil)
			if !same {
				aligned, err = d.aligned(ctx, r, id)
			}
			switch {
			case err != nil:
				open, why = &Identifier{Method: DNS}, "the Organizational Domain of "+id.Domain+" could not be looked up: "+err.Error()
			case aligned && id.Open:
				open, why = &id, "the "+id.Method.record()+" of "+id.Domain+" could not be looked up"
			case aligned:
				d.result.Status, d.result.Aligned = Pass, string(id.Method)+" "+id.Domain
				return d.result
			}
		}
	}
	if open != nil {
		d.result.Status, d.result.Cause, d.result.Reason = TempError, open.Method, why
		return d.result
	}
	d.organizational(ctx) // who judges the evidence needs it
	d.result.Status, d.result.Reason = Fail, "no aligned identifier passed"
	return d.result
}

// aligned says whether another name than the Author Domain belongs to it: section 4.10.2. An error says that nobody
// could tell.
func (d *Discovery) aligned(ctx context.Context, r Resolver, id Identifier) (bool, error) {
	if id.Method == DKIM && d.record.StrictDKIM || id.Method == SPF && d.record.StrictSPF {
		return false, nil
	}
	d.organizational(ctx)
	if d.walkErr != nil {
		// Names that share no more than the TLD are strangers whatever the walk would have said.
		if common(id.Domain, d.result.Domain) < 2 {
			return false, nil
		}
		return false, d.walkErr
	}
	org := d.result.OrgDomain
	// A name's Organizational Domain is the name itself or above it: what is not below the author's cannot share it. One
	// of a single label that does not say so itself is a registry's without psd=y, and joins strangers (section 11.8).
	if !dkim.Within(id.Domain, org) || !d.declared && !strings.Contains(org, ".") {
		return false, nil
	}
	if id.Open {
		return true, nil // it could align, and no more is asked
	}
	all, err := walk(ctx, r, id.Domain)
	if err != nil {
		return false, err
	}
	other, _ := organizational(id.Domain, all)
	return other == org, nil
}

// common is how many labels two names share, from the right.
func common(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	n := 0
	for n < len(x) && n < len(y) && x[len(x)-1-n] == y[len(y)-1-n] {
		n++
	}
	return n
}
