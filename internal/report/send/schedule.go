package send

import (
	"hash/fnv"
	"time"

	"signpost/internal/report"
)

// The time of a day (UTC) at which reports about the day before are sent.
const (
	firstMinute = 10
	lastMinute  = 6 * 60
)

// First returns the time from which the reports of a day are computed.
func First(day time.Time) time.Time {
	return report.Day(day).AddDate(0, 0, 1).Add(firstMinute * time.Minute)
}

// Due returns the time at which the report about a domain and a day is sent. It depends on the domain, so that the reports of all servers
// do not arrive at one time.
func Due(policyDomain string, day time.Time) time.Time {
	h := fnv.New32a()
	_, _ = h.Write([]byte(policyDomain)) // returns no error
	span := uint32((lastMinute - firstMinute) * 60)
	return First(day).Add(time.Duration(h.Sum32()%span) * time.Second)
}
