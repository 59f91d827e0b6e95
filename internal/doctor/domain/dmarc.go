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
		mended, _ := mendDMARC(slices.MaxFunc(found, func(a, b string) int { return len(a) - len(b) })) // DNS returns them in any order
		l.add(doctor.Finding{Level: doctor.Red, What: fmt.Sprintf("%d DMARC records at %s", len(found), name), Where: records(name, found),
			Why: "RFC 9989 section 4.10: several are discarded, and the domain has no policy; publish this one alone", Fix: record(name, mended)})
	case len(all) > 0:
		like := slices.IndexFunc(all, func(t string) bool { return strings.Contains(strings.ToLower(t), "dmarc") })
		mended, faults := mendDMARC(all[max(0, like)])
		l.add(doctor.Finding{Level: doctor.Red, What: "the DMARC record of " + l.domain + " is none: " + strings.Join(faults, "; "), Where: records(name, all),
			Why: "RFC 9989 section 4.7: what does not begin with v=DMARC1, in these letters, is passed over, and the domain has no policy", Fix: record(name, mended)})
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
			l.add(doctor.Finding{Level: doctor.Yellow, What: name + " is an alias that leads nowhere", Where: c.absent("TXT"),
				Why: "the policy of " + d.PolicyDomain + " applies instead of one of its own", Fix: "; remove " + c.names[0] + ". IN CNAME " + c.names[1] + "."})
		}
		l.inherited(name, d)
		return
	}
	text := "v=DMARC1; p=none; rua=mailto:postmaster@" + l.domain
	if l.nullMX { // it sends no mail that could be lost
		text = "v=DMARC1; p=reject"
	}
	f := doctor.Finding{Level: doctor.Red, What: l.domain + " has no DMARC record", Where: name + ": no TXT record",
		Why: "RFC 9989 section 4.10.1: receivers let forged mail pass; Gmail, Yahoo and Microsoft refuse those who send much without one"}
	if d.Record != "" {
		f.Where = record("_dmarc."+d.PolicyDomain, d.Record)
		f.Why = "RFC 9989 section 4.10.1: that of " + d.PolicyDomain + " would apply, and has no effect: " + (&dmarc.Fault{Cause: d.Cause, Detail: d.Detail}).Error() + "; with one of its own the domain does not need it"
	}
	for _, wrong := range []string{l.domain, name + "." + l.domain} {
		all, _ := l.text(ctx, wrong)
		for _, t := range only(all, isDMARC) {
			f.Where = record(wrong, t)
			f.Why += "; one stands at " + wrong + ", where nobody asks"
			text, _ = mendDMARC(t)
		}
	}
	f.Fix = record(name, text)
	l.add(l.nowhere(ctx, name, name, f))
}

// inherited checks the record of the Organizational Domain, or of the public suffix above it, if that applies: RFC 9989 section 4.10.1.
func (l *examination) inherited(name string, d dmarc.Result) {
	l.dmarcFor, l.dmarcSub = string(d.Policy), string(d.Policy)
	above := "_dmarc." + d.PolicyDomain
	l.dmarcName, l.dmarcText = above, d.Record
	f := doctor.Finding{Level: doctor.Yellow, Where: record(above, d.Record)}
	switch {
	case strings.Count(l.domain, ".") >= manyLabels:
		f.What = fmt.Sprintf("%s has more than %d labels and no DMARC record of its own", l.domain, manyLabels)
		f.Why = "RFC 9989 section 4.10: who looks for its policy goes from it to its last seven labels at once, and passes over what stands between; the record of " + d.PolicyDomain + " applies"
		f.Fix = record(name, withTag([]tag{{"v", "DMARC1"}}, "p", string(d.Published))+"; rua=mailto:postmaster@"+l.domain)
	case d.Testing:
		f.What = fmt.Sprintf("the DMARC policy of %s, which applies to %s, is only tested (t=y)", d.PolicyDomain, l.domain)
		f.Why = "RFC 9989 section 4.7: it is not enforced"
		f.Fix = record(above, withTag(tagsOf(d.Record), "t", "n"))
	case d.Policy == dmarc.PolicyNone:
		f.What = fmt.Sprintf("%s of %s applies to %s: none", d.Tag, d.PolicyDomain, l.domain)
		f.Why = "RFC 9989 section 4.7: forged mail is let through; when the reports show that your own passes, ask for more"
		f.Fix = record(above, withTag(tagsOf(d.Record), d.Tag, "quarantine"))
		if r, ok := dmarc.ParseRecord(d.Record); ok && r.PSD == 'y' { // not ours to change
			f.Fix = record(name, "v=DMARC1; p=quarantine; rua=mailto:postmaster@"+l.domain)
		}
	default:
		l.good(fmt.Sprintf("%s of %s applies to %s: %s", d.Tag, d.PolicyDomain, l.domain, d.Policy), record(above, d.Record))
		return
	}
	l.add(f)
}

// manyLabels is the number of labels from which a tree walk skips names: RFC 9989 section 4.10, step 4.
const manyLabels = 8

// below describes what applies to names below that of a record: RFC 9989 section 4.7.
func below(r *dmarc.Record) string {
	sp := cmp.Or(r.SP, r.P)
	np := cmp.Or(r.NP, sp)
	return fmt.Sprintf("below it: %s for names that exist (sp), %s for others (np)", sp, np)
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
		level, why := doctor.Yellow, "RFC 9989 section 4.8: receivers pass over what they cannot read, and take the default"
		if m, ok := dmarc.ParseRecord(mended); r.Broken {
			level, why = doctor.Red, "RFC 9989 section 4.10.1: receivers apply no DMARC: "+r.Fault.Error()+", and the record has no valid rua"
		} else if ok && m.P != r.P {
			level, why = doctor.Red, fmt.Sprintf("RFC 9989 section 4.10.1: receivers take the policy as p=%s, not the p=%s that was meant", r.P, m.P)
		}
		report(level, "the DMARC record of "+l.domain+" has a typo: "+strings.Join(faults, "; "), why, mended)
		return
	}
	rest := tagsOf(text)
	switch {
	case len(r.RUA) == 0:
		report(doctor.Yellow, "the DMARC record of "+l.domain+" has no rua", "RFC 9989 section 4.7: nobody sends you reports, and you do not see what fails", withTag(rest, "rua", "mailto:postmaster@"+l.domain))
	case r.P == dmarc.PolicyNone:
		report(doctor.Yellow, "the DMARC policy of "+l.domain+" is none", "RFC 9989 section 4.7: forged mail is let through; when the reports show that your own passes, ask for more", withTag(rest, "p", "quarantine"))
	case r.Testing:
		report(doctor.Yellow, "the DMARC policy of "+l.domain+" is only tested (t=y)", "RFC 9989 section 4.7: it is not enforced", withTag(rest, "t", "n"))
	case r.SP == dmarc.PolicyNone:
		report(doctor.Yellow, "subdomains of "+l.domain+" may be forged (sp=none)", "RFC 9989 section 4.7: sp is what applies below the name", withTag(rest, "sp", string(r.P)))
	case r.NP == dmarc.PolicyNone:
		report(doctor.Yellow, "names below "+l.domain+" that do not exist may be forged (np=none)", "RFC 9989 section 4.7: np is what applies to them; nobody sends from them", withTag(rest, "np", "reject"))
	case r.P == dmarc.PolicyReject && l.own != nil && !slices.ContainsFunc(l.own.Keys, func(k *keys.Key) bool { return k.State == keys.Active }):
		l.add(doctor.Finding{Level: doctor.Red, What: l.domain + " has p=reject and does not sign", Where: record(name, text),
			Why: "RFC 9989 section 7.4: with p=reject a domain must not rely on SPF alone: forwarded mail is lost", Fix: "dkimkey add " + l.domain})
	}
	l.externalReports(ctx, name, r)
	org, met, err := dmarc.Organization(ctx, l.view, l.domain)
	switch {
	case err != nil:
		l.unknown(ctx, name, err)
	case !strings.Contains(org, ".") && len(met) > 1:
		report(doctor.Yellow, "the registry "+org+" has a DMARC record without psd=y above "+l.domain, "RFC 9989 section 4.10.2: it is taken for your Organizational Domain", withTag(rest, "psd", "n"))
	case len(l.all)+len(l.rua) == 0:
		l.good(fmt.Sprintf("the DMARC record of %s is right: p=%s", l.domain, r.P), record(name, text)+"\nOrganizational Domain: "+org+"\n"+below(r))
	}
}

// maxReports is how many addresses of rua are checked.
const maxReports = 10

// externalReports checks whether other organizations have agreed in DNS to receive the reports: RFC 9990 section 4.
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
			l.rua = append(l.rua, doctor.Finding{Level: doctor.Yellow, What: host + " has not agreed to take DMARC reports about " + l.domain, Where: record(name, r.Text) + "\n" + asked + ": no DMARC record",
				Why: "RFC 9990 section 4: reports are not sent to another organisation that does not say so", Fix: record(asked, "v=DMARC1")})
		}
	}
}
