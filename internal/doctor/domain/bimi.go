package domain

import (
	"context"
	"errors"
	"slices"
	"strings"

	"signpost/internal/doctor"
)

// checkBIMI checks the BIMI record: draft-brand-indicators-for-message-identification-14. It does not fetch the files of the record.
func (l *examination) checkBIMI(ctx context.Context) {
	name := "default._bimi." + l.domain
	all := l.optional(ctx, name, "has no BIMI record")
	if len(all) == 0 {
		return
	}
	all = versioned(all, "v=BIMI1")
	declined, err := parseBIMI(all[0])
	if len(all) > 1 {
		err = errors.New("there is more than one record")
	}
	switch {
	case err != nil:
		l.add(doctor.Finding{Level: doctor.Yellow, What: "the BIMI record of " + l.domain + " is not valid: " + err.Error(), Where: records(name, all),
			Why: "BIMI draft: mail clients show no logo", Fix: record(name, "v=BIMI1; l=https://"+l.domain+"/logo.svg; a=")})
	case !declined && (l.dmarcFor != "quarantine" && l.dmarcFor != "reject" || l.dmarcSub == "none"):
		l.add(doctor.Finding{Level: doctor.Yellow, What: l.domain + " has a BIMI record, but no enforced DMARC policy", Where: record(name, all[0]),
			Why: "BIMI draft: mail clients show a logo only if the DMARC policy is quarantine or reject, also for subdomains, and is not in test mode (t=y)",
			Fix: l.enforced()})
	default:
		l.good("the BIMI record of "+l.domain+" is valid", record(name, all[0]))
	}
}

// enforced returns the DMARC record that applies, with the policy that BIMI requires.
func (l *examination) enforced() string {
	all := tagsOf(l.dmarcText)
	if len(all) == 0 {
		return record("_dmarc."+l.domain, "v=DMARC1; p=quarantine; rua=mailto:postmaster@"+l.domain)
	}
	for _, want := range []struct{ tag, bad, good string }{{"p", "none", "quarantine"}, {"sp", "none", "quarantine"}, {"t", "y", "n"}} {
		if slices.ContainsFunc(all, func(t tag) bool { return strings.EqualFold(t.name, want.tag) && strings.EqualFold(t.value, want.bad) }) {
			all = tagsOf(withTag(all, want.tag, want.good))
		}
	}
	return record(l.dmarcName, joinTags(all))
}

// parseBIMI parses a record. declined is true if l= and a= are empty.
func parseBIMI(text string) (declined bool, err error) {
	all := tagsOf(text)
	if len(all) == 0 || all[0] != (tag{"v", "BIMI1"}) {
		return false, errors.New("it does not begin with v=BIMI1")
	}
	logo, cert, has := "", "", false
	for _, t := range all {
		switch t.name {
		case "l":
			logo, has = t.value, true
		case "a":
			cert = t.value
		}
	}
	switch {
	case !has:
		return false, errors.New("l= is missing")
	case logo != "" && (!isHTTPS(logo) || !strings.HasSuffix(strings.ToLower(logo), ".svg") && !strings.HasSuffix(strings.ToLower(logo), ".svgz")):
		return false, errors.New("l= must be an https URI of an SVG file")
	case cert != "" && !isHTTPS(cert):
		return false, errors.New("a= must be an https URI")
	}
	return logo == "" && cert == "", nil
}
