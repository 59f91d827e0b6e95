// Package reports checks what the sending of DMARC reports needs: the DNS records of the domain of the reports, and the settings of Postfix
// that return bounces to Signpost. Steps returns the commands and records that make the checks green. ReceivedChecks checks what the
// receiving of reports needs, and Discover finds the addresses to which others send them.
//
//	findings := doctor.Run(ctx, reports.Checks(facts))
package reports

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/spf"
)

// Facts are what the checks need to know.
type Facts struct {
	Domain    string    // the domain of the reports
	Selectors []string  // of its active keys
	Resolver  *dns.View // at most a few dozen lookups
	Postconf  func(ctx context.Context, args ...string) (string, error)
	// Ask looks up a key in a Postfix lookup table.
	Ask func(ctx context.Context, table, key string) (value string, found bool, err error)
}

// Checks returns the checks.
func Checks(f Facts) []doctor.Check {
	s := &site{Facts: f}
	check := func(name, doc, good string, run func(context.Context) []doctor.Finding) doctor.Check {
		return doctor.Check{Name: name, Doc: doc, Run: doctor.Or(good, func(ctx context.Context) []doctor.Finding {
			found := run(ctx)
			for i := range found {
				found[i].Domain = f.Domain
			}
			return found
		})}
	}
	return []doctor.Check{
		check("reports-mx", "the MX record of the domain of reports.send.from", "bounces of reports reach an MX", s.mx),
		check("reports-spf", "the SPF record of the domain of reports.send.from", "the domain of the reports has an SPF record", s.spf),
		check("reports-key", "an active key of the domain of reports.send.from, and its record", "the reports are signed", s.key),
		check("reports-dmarc", "the DMARC record of the domain of reports.send.from: p=reject, without rua", "other servers send no reports about the reports", s.dmarc),
		check("reports-recipient", "relay_domains, virtual_mailbox_domains and mydestination, and the table of the recipients", "Postfix accepts bounces of reports", s.recipient),
		check("reports-discard", "transport_maps", "Postfix discards the bounces of reports after Signpost has read them", s.discard),
		check("reports-sender", "masquerade_domains, canonical_maps, sender_canonical_maps (which SRS uses), smtp_generic_maps, in main.cf and for single services; milters that do SRS", "Postfix does not rewrite the envelope sender of reports", s.sender),
		check("reports-bounce", "internal_mail_filter_classes, non_smtpd_milters", "Signpost reads the bounces that Postfix writes", s.bounce),
	}
}

// site has the facts and the settings of Postfix.
type site struct {
	Facts
	main map[string]string // see settings
}

func red(what, where, why, fix string) []doctor.Finding {
	return []doctor.Finding{{Level: doctor.Red, What: what, Where: where, Why: why, Fix: fix}}
}

// unknown is the finding for a lookup that failed. It is red, because reports must not be sent before the check has succeeded.
func unknown(name string, err error) []doctor.Finding {
	return red("the lookup of "+name+" failed", err.Error(), "no report is sent until this check succeeds", "dig "+name)
}

func (s *site) mx(ctx context.Context) []doctor.Finding {
	all, err := s.Resolver.LookupMX(ctx, s.Domain)
	switch {
	case err != nil && !spf.IsNotFound(err):
		return unknown(s.Domain+" MX", err)
	case len(all) == 0 || all[0].Host == ".":
		return red("reports.send.from: "+s.Domain+" has no MX record", s.Domain+" MX: not found",
			"bounces of reports cannot return, so reports to dead addresses never stop", s.records(ctx)[0])
	}
	return nil
}

func (s *site) spf(ctx context.Context) []doctor.Finding {
	texts, err := s.Resolver.LookupTXT(ctx, s.Domain)
	if err != nil && !spf.IsNotFound(err) {
		return unknown(s.Domain+" TXT", err)
	}
	texts = slices.DeleteFunc(slices.Clone(texts), func(t string) bool { return t != "v=spf1" && !strings.HasPrefix(strings.ToLower(t), "v=spf1 ") })
	if len(texts) != 1 {
		return red(fmt.Sprintf("reports.send.from: %s has %d SPF records instead of one", s.Domain, len(texts)), s.Domain+" TXT",
			"others may reject or misjudge the reports", s.records(ctx)[1])
	}
	return nil
}

func (s *site) key(ctx context.Context) []doctor.Finding {
	const why = "RFC 9990 section 3.5: a report must itself pass DMARC"
	if len(s.Selectors) == 0 {
		return red("reports.send.from: "+s.Domain+" has no active DKIM key", "dkimkey status "+s.Domain, why, "dkimkey add "+s.Domain+" # then publish the record that it prints")
	}
	for _, selector := range s.Selectors {
		name := selector + "._domainkey." + s.Domain
		texts, err := s.Resolver.LookupTXT(ctx, name)
		if err != nil && !spf.IsNotFound(err) {
			return unknown(name+" TXT", err)
		}
		if !slices.ContainsFunc(texts, func(t string) bool { _, err := dkim.ParseKeyRecord(t); return err == nil }) {
			return red("the record of the key "+selector+" of "+s.Domain+" is not published", name+" TXT: no usable key", why, "dkimkey show "+s.Domain+" "+selector)
		}
	}
	return nil
}

func (s *site) dmarc(ctx context.Context) []doctor.Finding {
	name, fix := "_dmarc."+s.Domain, s.records(ctx)[2]
	texts, err := s.Resolver.LookupTXT(ctx, name)
	if err != nil && !spf.IsNotFound(err) {
		return unknown(name+" TXT", err)
	}
	var records []*dmarc.Record
	for _, text := range texts {
		if r, ok := dmarc.ParseRecord(text); ok {
			records = append(records, r)
		}
	}
	if len(records) != 1 {
		return red(fmt.Sprintf("reports.send.from: %s has %d DMARC records instead of one", s.Domain, len(records)), name+" TXT", "the record of a parent domain may ask for reports about the reports, without end", fix)
	}
	switch r := records[0]; {
	case len(r.RUA) > 0:
		return red("the DMARC record of "+s.Domain+" has a rua", name+" TXT: "+r.Text, "two servers that send reports about each other's reports never stop", fix)
	case r.P != dmarc.PolicyReject || r.Testing:
		return red("the DMARC record of "+s.Domain+" is not p=reject", name+" TXT: "+r.Text, "others could send reports in your name", fix)
	}
	return nil
}

// Red runs the checks, and returns the findings that are red. Reports are sent only if there are none.
func Red(ctx context.Context, f Facts) []doctor.Finding {
	return slices.DeleteFunc(doctor.Run(ctx, Checks(f)), func(found doctor.Finding) bool { return found.Level != doctor.Red })
}
