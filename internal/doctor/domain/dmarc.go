package domain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dmarc"
	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/keys"
)

// checkDMARC checks the DMARC record that applies: RFC 9989 sections 4.7 to 4.10.
func (l *examination) checkDMARC(ctx context.Context) {
	name := "_dmarc." + l.domain
	all, err := l.text(ctx, name)
	if err != nil {
		l.unknown(ctx, name, err)
		return
	}
	found := only(all, isDMARC)
	switch {
	case len(found) == 1:
		l.checkDMARCRecord(ctx, name, found[0])
	case len(found) > 1:
		mended, _ := mendDMARC(slices.MaxFunc(found, func(a, b string) int { return len(a) - len(b) })) // the order of the records in DNS varies, so the longest one is used
		l.add(doctor.Finding{Level: doctor.Red, What: fmt.Sprintf("%d DMARC records at %s", len(found), name), Where: records(name, found),
			Why: "RFC 9989 section 4.10: receivers ignore all of several records, so the domain has no policy; publish only this one", Fix: record(name, mended)})
	case len(all) > 0:
		like := slices.IndexFunc(all, func(t string) bool { return strings.Contains(strings.ToLower(t), "dmarc") })
		mended, faults := mendDMARC(all[max(0, like)])
		l.add(doctor.Finding{Level: doctor.Red, What: "the DMARC record of " + l.domain + " is not valid: " + strings.Join(faults, "; "), Where: records(name, all),
			Why: "RFC 9989 section 4.7: receivers ignore a record that does not begin with v=DMARC1 and a semicolon, so the domain has no policy", Fix: record(name, mended)})
	default:
		l.noDMARC(ctx, name)
	}
}

func isDMARC(text string) bool {
	_, ok := dmarc.ParseRecord(text)
	return ok
}

func (l *examination) noDMARC(ctx context.Context, name string) {
	d := dmarc.Discover(ctx, l.view, l.domain).Found()
	if d.Status == dmarc.TempError {
		l.unknown(ctx, d.Failed, l.errorOf(ctx, d.Failed))
		return
	}
	if d.PolicyDomain != "" && d.Status == "" {
		if c := l.chainOf(ctx, name); c.isAlias() {
			l.add(doctor.Finding{Level: doctor.Yellow, What: name + " is an alias without a TXT record at its target", Where: c.absent("TXT"),
				Why: "the policy of " + d.PolicyDomain + " applies instead", Fix: "; remove " + c.names[0] + ". IN CNAME " + c.names[1] + "."})
		}
		l.inherited(name, d)
		return
	}
	text := "v=DMARC1; p=none; rua=mailto:postmaster@" + l.domain
	if l.nullMX { // p=reject is safe: a domain that sends no mail cannot lose mail
		text = "v=DMARC1; p=reject"
	}
	f := doctor.Finding{Level: doctor.Red, What: l.domain + " has no DMARC record", Where: name + ": no TXT record",
		Why: "RFC 9989 section 4.10.1: without it, receivers accept forged mail; Gmail, Yahoo and Microsoft reject mail of bulk senders without it"}
	if d.Record != "" {
		f.Where = record("_dmarc."+d.PolicyDomain, d.Record)
		f.Why = "RFC 9989 section 4.10.1: the record of " + d.PolicyDomain + " would apply, but has no effect: " + (&dmarc.Fault{Cause: d.Cause, Detail: d.Detail}).Error() + "; correct that record, or publish this one"
	}
	for _, wrong := range []string{l.domain, name + "." + l.domain} {
		all, _ := l.text(ctx, wrong)
		for _, t := range only(all, isDMARC) {
			f.Where = record(wrong, t)
			f.Why += "; there is a record at " + wrong + ", where receivers do not look for it"
			text, _ = mendDMARC(t)
		}
	}
	f.Fix = record(name, text)
	l.add(l.nowhere(ctx, name, name, f))
}

// inherited checks the record that applies to a domain without a record of its own. This is the record of the Organizational Domain, or of
// the public suffix above that: RFC 9989 section 4.10.1.
func (l *examination) inherited(name string, d dmarc.Result) {
	l.dmarcFor, l.dmarcSub = string(d.Policy), string(d.Policy)
	above := "_dmarc." + d.PolicyDomain
	l.dmarcName, l.dmarcText = above, d.Record
	f := doctor.Finding{Level: doctor.Yellow, Where: record(above, d.Record)}
	switch {
	case strings.Count(l.domain, ".") >= manyLabels:
		f.What = fmt.Sprintf("%s has more than %d labels and no DMARC record of its own", l.domain, manyLabels)
		f.Why = "RFC 9989 section 4.10: the DNS tree walk continues at its last seven labels and skips the names between; the record of " + d.PolicyDomain + " applies"
		f.Fix = record(name, withTag([]tag{{"v", "DMARC1"}}, "p", string(d.Published))+"; rua=mailto:postmaster@"+l.domain)
	case d.Testing:
		f.What = fmt.Sprintf("the DMARC policy of %s, which applies to %s, is in test mode (t=y)", d.PolicyDomain, l.domain)
		f.Why = "RFC 9989 section 4.7: receivers do not enforce it"
		f.Fix = record(above, withTag(tagsOf(d.Record), "t", "n"))
	case d.Policy == dmarc.PolicyNone:
		f.What = fmt.Sprintf("the DMARC policy of %s is none, by %s of %s", l.domain, d.Tag, d.PolicyDomain)
		f.Why = "RFC 9989 section 4.7: receivers accept forged mail; publish a stricter policy when the reports show that your own mail passes"
		f.Fix = record(above, withTag(tagsOf(d.Record), d.Tag, "quarantine"))
		if r, ok := dmarc.ParseRecord(d.Record); ok && r.PSD == 'y' { // the record belongs to the registry, so the domain needs its own
			f.Fix = record(name, "v=DMARC1; p=quarantine; rua=mailto:postmaster@"+l.domain)
		}
	default:
		l.good(fmt.Sprintf("the DMARC policy of %s is %s, by %s of %s", l.domain, d.Policy, d.Tag, d.PolicyDomain), record(above, d.Record))
		return
	}
	l.add(f)
}

// manyLabels is a number of labels. If a name has at least this number of labels, the DNS tree walk skips names: RFC 9989 section 4.10,
// step 4.
const manyLabels = 8

// below describes the policies of a record for subdomains: RFC 9989 section 4.7.
func below(r *dmarc.Record) string {
	sp := cmp.Or(r.SP, r.P)
	np := cmp.Or(r.NP, sp)
	return fmt.Sprintf("subdomains: %s (sp), %s if they do not exist (np)", sp, np)
}

func (l *examination) checkDMARCRecord(ctx context.Context, name, text string) {
	r, _ := dmarc.ParseRecord(text)
	mended, faults := mendDMARC(text)
	l.dmarcFor, l.dmarcSub = string(r.P), string(r.SP)
	l.dmarcName, l.dmarcText = name, mended
	if r.Testing {
		l.dmarcFor = "testing"
	}
	report := func(level doctor.Level, what, why, fix string) {
		l.add(doctor.Finding{Level: level, What: what, Where: record(name, text), Why: why, Fix: record(name, fix)})
	}
	if len(faults) > 0 {
		level, why := doctor.Yellow, "RFC 9989 section 4.8: receivers ignore a tag that is not valid, and use its default"
		if m, ok := dmarc.ParseRecord(mended); r.Broken {
			level, why = doctor.Red, "RFC 9989 section 4.10.1: receivers apply no DMARC: "+r.Fault.Error()+", and the record has no valid rua"
		} else if ok && m.P != r.P {
			level, why = doctor.Red, fmt.Sprintf("RFC 9989 section 4.10.1: receivers apply p=%s; p=%s was probably intended", r.P, m.P)
		}
		report(level, "the DMARC record of "+l.domain+" has a typo: "+strings.Join(faults, "; "), why, mended)
		return
	}
	rest := tagsOf(text)
	switch {
	case len(r.RUA) == 0:
		report(doctor.Yellow, "the DMARC record of "+l.domain+" has no rua", "RFC 9989 section 4.7: without rua you receive no reports and do not see which mail fails", withTag(rest, "rua", "mailto:postmaster@"+l.domain))
	case r.P == dmarc.PolicyNone:
		report(doctor.Yellow, "the DMARC policy of "+l.domain+" is none", "RFC 9989 section 4.7: receivers accept forged mail; publish a stricter policy when the reports show that your own mail passes", withTag(rest, "p", "quarantine"))
	case r.Testing:
		report(doctor.Yellow, "the DMARC policy of "+l.domain+" is in test mode (t=y)", "RFC 9989 section 4.7: receivers do not enforce it", withTag(rest, "t", "n"))
	case r.SP == dmarc.PolicyNone:
		report(doctor.Yellow, "the DMARC policy for subdomains of "+l.domain+" is none (sp=none)", "RFC 9989 section 4.7: receivers accept forged mail from subdomains", withTag(rest, "sp", string(r.P)))
	case r.NP == dmarc.PolicyNone:
		report(doctor.Yellow, "the DMARC policy for subdomains of "+l.domain+" that do not exist is none (np=none)", "RFC 9989 section 4.7: receivers accept mail from such names, all of which is forged", withTag(rest, "np", "reject"))
	case r.P == dmarc.PolicyReject && l.own != nil && !slices.ContainsFunc(l.own.Keys, func(k *keys.Key) bool { return k.State == keys.Active }):
		l.add(doctor.Finding{Level: doctor.Red, What: l.domain + " has p=reject, but no active DKIM key", Where: record(name, text),
			Why: "RFC 9989 section 7.4: a domain with p=reject must not depend on SPF alone, because its forwarded mail is rejected", Fix: "dkimkey add " + l.domain})
	}
	l.externalReports(ctx, name, r)
	org, met, err := dmarc.Organization(ctx, l.view, l.domain)
	switch {
	case err != nil:
		l.unknown(ctx, name, err)
	case !strings.Contains(org, ".") && len(met) > 1:
		report(doctor.Yellow, "the registry "+org+" has a DMARC record without psd=y above "+l.domain, "RFC 9989 section 4.10.2: receivers treat the registry as your Organizational Domain", withTag(rest, "psd", "n"))
	case len(l.all)+len(l.rua) == 0:
		l.good(fmt.Sprintf("the DMARC record of %s is valid: p=%s", l.domain, r.P), record(name, text)+"\nOrganizational Domain: "+org+"\n"+below(r))
	}
}

// maxReports is the maximum number of addresses in rua that are checked.
const maxReports = 10

// externalReports checks whether other organizations accept the reports. An organization that does so publishes a DNS record: RFC 9990
// section 4.
func (l *examination) externalReports(ctx context.Context, name string, r *dmarc.Record) {
	org, _, err := dmarc.Organization(ctx, l.view, l.domain)
	if err != nil {
		return // reported already
	}
	for i, uri := range r.RUA {
		at := strings.LastIndexByte(uri, '@')
		if i == maxReports || at < 0 || !strings.HasPrefix(strings.ToLower(uri), "mailto:") {
			continue
		}
		host, _, _ := strings.Cut(uri[at+1:], "?")
		host, err := domain.Parse(host)
		if err != nil || domain.Within(host, org) || host == l.domain {
			continue
		}
		asked := l.domain + "._report._dmarc." + host
		all, err := l.text(ctx, asked)
		if err != nil {
			if f, isNew := l.failure(ctx, asked, err); isNew {
				l.rua = append(l.rua, f)
			}
			continue
		}
		if !slices.ContainsFunc(all, isDMARC) {
			l.rua = append(l.rua, doctor.Finding{Level: doctor.Yellow, What: host + " does not accept DMARC reports about " + l.domain, Where: record(name, r.Text) + "\n" + asked + ": no DMARC record",
				Why: "RFC 9990 section 4: receivers send reports to another organization only if it publishes this record", Fix: record(asked, "v=DMARC1")})
		}
	}
}
