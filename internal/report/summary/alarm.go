package summary

import (
	"fmt"

	"signpost/internal/report/status"
)

// Alarm returns an alarm as a sentence without its domain.
func Alarm(a status.Alarm) string {
	var text string
	switch a.Code {
	case status.UnknownSource:
		what := "SPF"
		if a.Selector != "" {
			what = fmt.Sprintf("DKIM with %s._domainkey.%s", a.Selector, a.Signer)
		}
		text = fmt.Sprintf("mail from %s passes %s, but this source is not known", a.Source, what)
		if a.Sources > 1 {
			text = fmt.Sprintf("mail from %d addresses, such as %s, passes %s, but these sources are not known", a.Sources, a.Source, what)
		}
	case status.ReporterSilent:
		return fmt.Sprintf("%s sent reports regularly, and none since %s", names(a.Reporters), day(a.Since))
	case status.PolicyDiffers:
		published := a.Published
		if published == "" {
			published = "no record"
		}
		text = fmt.Sprintf("reporters see the policy %s, but DNS has %s,", a.Seen, published)
	case status.TLSFailure:
		return fmt.Sprintf("TLS sessions fail (%s): %d of %d since %s, by %s", a.Failure, a.Messages, a.Total, day(a.Since), names(a.Reporters))
	case status.SelectorFails:
		text = fmt.Sprintf("signatures of selector %s fail", a.Selector)
	default:
		text = string(a.Code)
	}
	if a.Messages > 0 {
		text += fmt.Sprintf(": %d", a.Messages)
		if a.Total > 0 {
			text += fmt.Sprintf(" of %d", a.Total)
		}
		text += " messages"
	}
	return fmt.Sprintf("%s since %s, by %s", text, day(a.Since), names(a.Reporters))
}
