package web

import (
	"testing"
	"time"

	"signpost/internal/doctor"
	"signpost/internal/doctor/domain"
	"signpost/internal/glance"
	"signpost/internal/report"
	"signpost/internal/report/received"
	"signpost/keys"
)

// someReports returns a delivery in each stage, with hostile texts.
func someReports(now time.Time) (all Reports) {
	for _, stage := range []report.Stage{report.StageFrozen, report.StageAccepted, report.StageRefused, report.StageGivenUp, report.StageSuppressed} {
		all.Deliveries = append(all.Deliveries, report.Delivery{Report: report.Frozen{ID: "id", Day: report.Day(now), Domain: "example.com", Messages: 12}, Destination: "<b>@example.com",
			Stage: stage, Changed: now, Detail: "550 <script>\x1b[2J", Bounced: "5.1.1"})
	}
	all.Suppressed = []report.Suppression{{Destination: "dmarc@example.net", Until: now.AddDate(0, 0, 30), Count: 1, Status: "5.1.1"}, {Destination: "hand@example.net", Until: now.AddDate(1, 0, 0)}}
	return all
}

// someDomain returns everything about a domain, with hostile texts.
func someDomain(t testing.TB, now time.Time, name string) glance.Domain {
	about, err := someAbout(t, now, "", received.Filter{Domain: name, Since: now.AddDate(0, 0, -30), Until: now})
	if err != nil {
		t.Fatal(err)
	}
	return glance.Domain{Name: name, At: now, Hosted: true, Keys: glance.NewKeys(name, someKeys(now), nil, now),
		DNS:      domain.Found{Exchanges: []string{"mail.example.org"}, SPF: "v=spf1 mx <script> -all", SPFLookups: 1, DMARCName: "_dmarc." + name, DMARC: "v=DMARC1; p=none", Policy: "none"},
		Findings: []doctor.Finding{{Check: "mx", Level: doctor.Green, What: "mail.example.org"}, {Check: "dmarc", Level: doctor.Yellow, What: "the policy is none", Where: "_dmarc", Why: "forged mail", Fix: "_dmarc TXT p=quarantine"}},
		Optional: []glance.Record{{Check: "tlsrpt", Why: "reports", Line: "_smtp._tls." + name + ". IN TXT \"v=TLSRPTv1\"\n; <b>"}},
		Mail:     &glance.Mail{Since: now.AddDate(0, 0, -7), Signed: 3}, Reports: glance.NewReports(about)}
}

// someKeys returns keys in each state.
func someKeys(now time.Time) (all []keys.Status) {
	day := func(n int) *time.Time { t := now.AddDate(0, 0, n); return &t }
	add := func(domain, selector, next string, l keys.Metadata, steps ...keys.Step) {
		l.Domain, l.Selector, l.Algorithm, l.Bits = domain, selector, "rsa", 2048
		k := &keys.Key{Domain: domain, Selector: selector, Algorithm: "rsa", Bits: 2048, Metadata: &l, State: l.State(), Since: l.Created}
		all = append(all, keys.Status{Key: k, Next: next, Steps: steps, Signs: l.State() == keys.Active})
	}
	add("example.net", "s1", "signs", keys.Metadata{Created: *day(-40), Published: day(-40), Seen: day(-39), Activated: day(-38)})
	add("example.org", "s202606", "its record is removed on a day", keys.Metadata{Created: *day(-200), Published: day(-200), Seen: day(-199), Activated: day(-190), Retired: day(-100), Revoked: day(-80)},
		keys.Step{Do: keys.DoRemove, Due: *day(10)})
	add("example.org", "s202609", "its record is revoked on a day", keys.Metadata{Created: *day(-101), Published: day(-101), Seen: day(-100), Activated: day(-100), Retired: day(-8)}, keys.Step{Do: keys.DoRevoke, Due: *day(6)})
	add("example.org", "s202611", "signs; hands over on a day", keys.Metadata{Created: *day(-12), Published: day(-12), Seen: day(-11), Activated: day(-8)})
	add("example.org", "s202612", "signs from a day on", keys.Metadata{Created: *day(-6), Published: day(-5), Seen: day(-4)}, keys.Step{Do: keys.DoActivate, Due: *day(30)})
	return all
}
