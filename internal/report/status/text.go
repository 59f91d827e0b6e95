package status

import (
	"fmt"
	"strings"
	"time"
)

// String returns the alarm as a sentence without its domain, for people. It may contain texts of a report.
func (a Alarm) String() string {
	var text string
	switch a.Code {
	case UnknownSource:
		what := "SPF"
		if a.Selector != "" {
			what = fmt.Sprintf("DKIM with %s._domainkey.%s", a.Selector, a.Signer)
		}
		text = fmt.Sprintf("mail from %s passes %s, but this source is not known", a.Source, what)
		if a.Sources > 1 {
			text = fmt.Sprintf("mail from %d addresses, such as %s, passes %s, but these sources are not known", a.Sources, a.Source, what)
		}
	case ReporterSilent:
		return fmt.Sprintf("%s sent reports regularly, and none since %s", names(a.Reporters), a.Since.UTC().Format(time.DateOnly))
	case PolicyDiffers:
		published := a.Published
		if published == "" {
			published = "no record"
		}
		text = fmt.Sprintf("reporters see the policy %s, but DNS has %s,", a.Seen, published)
	case TLSFailure:
		return fmt.Sprintf("TLS sessions fail (%s): %d of %d since %s, by %s", a.Failure, a.Messages, a.Total, a.Since.UTC().Format(time.DateOnly), names(a.Reporters))
	case SelectorFails:
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
	return fmt.Sprintf("%s since %s, by %s", text, a.Since.UTC().Format(time.DateOnly), names(a.Reporters))
}

// names joins the first names of a list.
func names(all []string) string {
	const most = 3
	if len(all) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
	}
	return strings.Join(all, ", ")
}
