package explain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/internal/spf"
	"signpost/policy"
)

// dmarcRows returns the steps of the tree walk.
func dmarcRows(steps []dmarc.Step) []Row {
	var l list
	for _, s := range steps {
		l.row("lookup", "%s: %s", s.Name, dmarcOutcome(s))
		l.more(s.Record)
	}
	return l
}

// dmarcOutcome returns a text about the result of one lookup of the walk.
func dmarcOutcome(s dmarc.Step) string {
	switch s.Outcome {
	case dmarc.LookupFailed:
		return "lookup failed: " + dns.Status(s.Detail).Words()
	case dmarc.NameExists:
		return "the name exists: np does not apply"
	case dmarc.NameMissing:
		return "the name does not exist: np applies"
	case dmarc.RecordWithoutEffect:
		return "a record without effect: " + policy.FaultText(s.Cause, s.Detail) + ", and the record has no valid rua"
	case dmarc.RecordNone:
		switch s.Cause {
		case dmarc.SeveralRecords:
			return s.Detail + " records, which count as none"
		case dmarc.VersionMissing:
			return "no DMARC record among its TXT records: a record must begin with v=DMARC1"
		case dmarc.SemicolonMissing:
			return "no DMARC record: v=DMARC1 is followed by " + s.Detail + " instead of a semicolon"
		}
		return "no record"
	}
	switch {
	case s.PSD == "y":
		return "a record of a public suffix (psd=y): the walk ends"
	case s.PSD == "n":
		return "a record of an Organizational Domain (psd=n): the walk ends"
	case s.Cause != "":
		return "a record: " + policy.FaultText(s.Cause, s.Detail) + "; with rua it counts as p=none"
	}
	return "a record"
}

// policyOf returns the policy that applies and the tag or fault that sets it. at is the name of the record.
func policyOf(d dmarc.Result, at string) string {
	if d.Fault != nil {
		return "none, at " + at + ": " + policy.FaultText(d.Fault.Cause, d.Fault.Detail) + "; with rua it counts as p=none"
	}
	return fmt.Sprintf("%s, by %s=%s at %s", d.Policy, d.Tag, d.Published, at)
}

func (x *explainer) dmarc() []Row {
	var l list
	for _, d := range x.e.DMARC {
		l.row("DMARC", "%s for %s", d.Status, d.Domain)
		switch {
		case d.Status == dmarc.Fail:
			l.more(policy.DMARCText(d))
			for _, s := range x.unaligned(d) {
				l.more("- " + s)
			}
		case d.Status == dmarc.None && d.Record == "":
			l.more("no DMARC record: the owner of the domain requests nothing")
		default:
			l.more(policy.DMARCText(d))
		}
		if a := d.Aligned; a != nil {
			l.more(fmt.Sprintf("%s passes for %s, which %s", strings.ToUpper(string(a.Method)), a.Domain, same(a.Domain, d)))
		}
		switch {
		case d.PolicyDomain == "":
		case d.Published == "":
			l.more(fmt.Sprintf("no policy can be taken from the record at _dmarc.%s: %s", d.PolicyDomain, d.Record))
		default:
			l.more(fmt.Sprintf("policy %s: %s", policyOf(d, "_dmarc."+d.PolicyDomain), d.Record))
			l.more(whichTag(d))
		}
		if d.OrgDomain != "" {
			l.more("Organizational Domain " + d.OrgDomain)
		}
		l = append(l, dmarcRows(x.walk(d))...)
	}
	return l
}

func same(domain string, d dmarc.Result) string {
	if domain == d.Domain {
		return "is the author's domain"
	}
	return "belongs to " + cmp.Or(d.OrgDomain, d.Domain) + ", like the author's domain"
}

// testMode explains t=y: RFC 9989 section 4.7.
const testMode = "t=y: the policy is in test mode, so the next weaker one applies"

// whichTag returns why the tag of the policy applies, and the effect of t=y.
func whichTag(d dmarc.Result) string {
	var all []string
	switch d.Tag {
	case "sp":
		all = append(all, fmt.Sprintf("sp applies because %s is below %s", d.Domain, d.PolicyDomain))
	case "np":
		all = append(all, fmt.Sprintf("np applies because %s does not exist in DNS", d.Domain))
	}
	if d.Testing {
		all = append(all, testMode)
	}
	return strings.Join(all, "; ")
}

// walk repeats the tree walk with the recorded answers. It omits lookups that were not made or were only prefetched. It also omits the
// record that applies, because that is already shown.
func (x *explainer) walk(d dmarc.Result) []dmarc.Step {
	_, steps := dmarc.Explain(context.Background(), x.view, d.Domain)
	// If the Author Domain has a record, the walk continues only for the Organizational Domain.
	failed := d.FailedMethod() == dmarc.DNS || d.Status == dmarc.TempError && d.Cause == policy.LegacyCause
	needed := d.OrgDomain != "" || d.Status == dmarc.Fail || failed
	if !needed && d.PolicyDomain == d.Domain {
		steps = steps[:min(1, len(steps))]
	}
	for i := range steps {
		if steps[i].Record == d.Record {
			steps[i].Record = ""
		}
	}
	return slices.DeleteFunc(steps, func(s dmarc.Step) bool { return !x.asked(s.Name) })
}

// asked reports whether the TXT records of a name were looked up for the message.
func (x *explainer) asked(name string) bool {
	for _, l := range x.Lookups {
		if l.Type == "TXT" && strings.EqualFold(strings.TrimSuffix(l.Name, "."), strings.TrimSuffix(name, ".")) {
			return true
		}
	}
	return false
}

// unaligned returns a text for each identifier: the reason why it does not authenticate the author.
func (x *explainer) unaligned(d dmarc.Result) []string {
	var all []string
	if s := x.e.SPF; s != nil {
		passes, fails := "SPF passes for "+s.Domain, fmt.Sprintf("SPF does not pass for %s (%s)", s.Domain, s.Status)
		if s.Domain == "" {
			all = append(all, "SPF: MAIL FROM has no domain that could be aligned with "+d.Domain)
		} else {
			all = append(all, x.notAuthentic(d, dmarc.SPF, s.Domain, s.Status == spf.Pass, passes, fails))
		}
	}
	for i, s := range x.signatures() {
		if i == maxSignatures {
			break
		}
		name := "the signature of " + cmp.Or(s.Domain, "an unreadable domain")
		all = append(all, x.notAuthentic(d, dmarc.DKIM, s.Domain, s.Status == dkim.Pass, name+" passes", fmt.Sprintf("%s does not pass (%s)", name, s.Status)))
	}
	if len(x.e.DKIM) == 0 {
		all = append(all, "there is no DKIM signature")
	}
	return all
}

// notAuthentic returns why an identifier does not authenticate the author. The text begins with the parameter passes or the parameter
// fails. Then it states why the identifier is not aligned.
func (x *explainer) notAuthentic(d dmarc.Result, m dmarc.Method, name string, passed bool, passes, fails string) string {
	not := x.whyUnaligned(d, m, name, passed)
	switch {
	case passed:
		return passes + ", but " + cmp.Or(not, "it does not count here")
	case not == "":
		return fails
	}
	return fails + ", and " + not
}

// whyUnaligned returns the reason why a domain is not aligned with the Author Domain, or "" if it is aligned: RFC 9989 section 4.10.2. The
// journal has the answers of a tree walk only for an identifier that passed.
func (x *explainer) whyUnaligned(d dmarc.Result, m dmarc.Method, name string, passed bool) string {
	if name == d.Domain || name == "" {
		return ""
	}
	org := cmp.Or(d.OrgDomain, d.Domain)
	record, _ := dmarc.ParseRecord(d.Record)
	of := d.Domain
	if org != d.Domain {
		of = org + ", the Organizational Domain of " + d.Domain
	}
	switch {
	case record != nil && (m == dmarc.DKIM && record.StrictDKIM || m == dmarc.SPF && record.StrictSPF):
		tag := map[dmarc.Method]string{dmarc.DKIM: "adkim=s", dmarc.SPF: "aspf=s"}[m]
		return fmt.Sprintf("%s is not %s itself, which %s requires", name, d.Domain, tag)
	case !domain.Within(name, org):
		return fmt.Sprintf("%s does not belong to %s", name, of)
	}
	if !passed {
		return ""
	}
	other, _, err := dmarc.Organization(context.Background(), x.view, name)
	switch {
	case err == nil && other != org:
		return fmt.Sprintf("%s belongs to %s by its DMARC record, not to %s", name, other, of)
	case !strings.Contains(org, "."):
		return fmt.Sprintf("%s and %s have only the top-level domain %s in common", name, d.Domain, org)
	}
	return ""
}
