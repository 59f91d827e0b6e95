// Package summary writes what received reports state, for people: as text, and as CSV. Texts from reports are untrusted, and printed by
// term.Printable.
package summary

import (
	"fmt"
	"strings"
	"time"

	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
)

// Percent returns a part of all as a percentage. It is rounded down to a tenth, so that 100.0 % means all.
func Percent(part, all int64) string {
	if all == 0 {
		return "-"
	}
	tenths := int64(float64(part) / float64(all) * 1000)
	if part == all {
		tenths = 1000
	}
	return fmt.Sprintf("%d.%d %%", tenths/10, tenths%10)
}

// Cause returns a description of a cause why messages fail.
func Cause(c received.Cause) string {
	return map[received.Cause]string{
		received.OwnFails:   "from your own addresses",
		received.KnownFails: "from known sources",
		received.Relayed:    "probably forwarded, or from a mailing list",
		received.Mixed:      "from other addresses that also send mail that passes",
		received.Unknown:    "from addresses that never pass: forged, or a system of yours that is not configured",
	}[c]
}

// Effect returns what a policy would do to the messages with a cause, and what to do before.
func Effect(c received.Cause) string {
	return map[received.Cause]string{
		received.OwnFails:   "this is your mail, and would be lost; repair DKIM or SPF first",
		received.KnownFails: "this is your mail, and would be lost; set up DKIM or SPF at these systems first",
		received.Relayed:    "genuine mail may be among it; a valid DKIM signature survives most forwarders",
		received.Mixed:      "find out whose addresses these are first",
		received.Unknown:    "a policy would stop it; look at the largest sources first",
	}[c]
}

// Cost returns the sentence about the cost of p=quarantine or p=reject. Only trusted reporters count.
func Cost(c received.Cost) string {
	if c.Messages == 0 {
		return "cannot be estimated: no trusted reporter has sent a report in this period"
	}
	return fmt.Sprintf("%d of %d messages (%s) would be affected, by the reports of trusted reporters about %d days", c.Failed, c.Messages, Percent(c.Failed, c.Messages), c.Days)
}

// leastDays is the number of days with reports below which no policy is recommended: some mail is sent only once a month.
const leastDays = 28

// Verdict returns what the Cost means for the policy.
func Verdict(c received.Cost) string {
	var own int64
	for _, f := range c.Causes {
		if f.Cause == received.OwnFails || f.Cause == received.KnownFails {
			own += f.Messages
		}
	}
	switch {
	case c.Messages == 0:
		return ""
	case own > 0:
		return fmt.Sprintf("Do not publish p=quarantine or p=reject yet: %d of these messages are yours.", own)
	case c.Days < leastDays:
		return fmt.Sprintf("None of these messages is known to be yours, but %d days are not enough: some mail is sent only once a month.", c.Days)
	}
	return "None of these messages is known to be yours. Check the sources before you change the policy, and begin with p=quarantine."
}

// Policy returns a policy as in a DMARC record.
func Policy(p read.Policy) string {
	var tags []string
	for _, tag := range []struct{ name, value string }{{"p", p.P}, {"sp", p.SP}, {"np", p.NP}, {"adkim", p.ADKIM}, {"aspf", p.ASPF}, {"fo", p.FO}, {"pct", p.Pct}, {"t", p.Testing}} {
		if tag.value != "" {
			tags = append(tags, tag.name+"="+tag.value)
		}
	}
	return strings.Join(tags, " ")
}

// Advice returns what to do about the alarms with a code.
func Advice(c status.Code) string {
	return map[status.Code]string{
		status.UnknownSource:  "if it may send in your name, add it to reports.receive.networks or known_sources; if not, remove its key or its SPF term from DNS at once",
		status.ReporterSilent: "check that the rua still has the address, and that mail to it arrives: signpost doctor",
		status.PolicyDiffers:  "ask each authoritative name server of the domain; one of them may have an old zone",
		status.TLSFailure:     "signpost doctor checks MTA-STS and DANE",
		status.SelectorFails:  "dkimkey check compares the record with the key; a program may change mail after Signpost has signed it",
	}[c]
}

// names joins the first names of a list.
func names(all []string) string {
	const most = 3
	if len(all) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
	}
	return strings.Join(all, ", ")
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}
