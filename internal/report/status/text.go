package status

import (
	"fmt"
	"strings"
	"time"
)

// String returns one line about an alarm, for people. It may contain texts of a report.
func (a Alarm) String() string {
	since := " since " + a.Since.UTC().Format(time.DateOnly)
	switch a.Code {
	case UnknownSource:
		how := "SPF"
		if a.Signer != "" {
			how = "a DKIM key that is not ours, " + strings.TrimPrefix(a.Selector+"._domainkey."+a.Signer, "._domainkey.")
		}
		from := a.Source.String()
		if a.Sources > 1 {
			from = fmt.Sprintf("%s and %d more addresses", from, a.Sources-1)
		}
		return fmt.Sprintf("%s: %d messages from an unknown source, %s, pass DMARC with %s%s", a.Domain, a.Messages, from, how, since)
	case ReporterSilent:
		return fmt.Sprintf("%s, a regular reporter, has sent no DMARC report%s", strings.Join(a.Reporters, " "), since)
	case PolicyDiffers:
		published := "DNS has no DMARC record"
		if a.Published != "" {
			published = "DNS has " + a.Published
		}
		return fmt.Sprintf("%s: reporters see the DMARC policy %s, but %s%s", a.Domain, a.Seen, published, since)
	case TLSFailure:
		return fmt.Sprintf("%s: %d of %d TLS sessions fail with %s%s", a.Domain, a.Messages, a.Total, a.Failure, since)
	case SelectorFails:
		return fmt.Sprintf("%s: %d of %d signatures with selector %s fail at %s%s", a.Domain, a.Messages, a.Total, a.Selector, strings.Join(a.Reporters, " "), since)
	}
	return string(a.Code) + " " + a.Domain + since
}
