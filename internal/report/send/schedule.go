package send

import (
	"hash/fnv"
	"time"

	"signpost/internal/report"
)

// The time of a day (UTC) at which reports about the day before are sent. A site of several hosts waits for the counts of all hosts first.
const (
	firstMinute        = 10
	lastMinute         = 6 * 60
	clusterFirstMinute = 3 * 60
	clusterLastMinute  = 8 * 60
)

// First returns the time from which the reports of a day are computed.
func First(day time.Time) time.Time {
	return report.Day(day).AddDate(0, 0, 1).Add(firstMinute * time.Minute)
}

// Due returns the time at which the report about a domain and a day is sent. It depends on the domain, so that the reports of all servers
// do not arrive at one time.
func Due(policyDomain string, day time.Time) time.Time {
	return due(policyDomain, day, firstMinute, lastMinute)
}

// FirstInCluster returns the time from which a site of several hosts sends the reports of a day, even if the counts of a host are missing.
func FirstInCluster(day time.Time) time.Time {
	return report.Day(day).AddDate(0, 0, 1).Add(clusterFirstMinute * time.Minute)
}

// DueInCluster is Due for a site of several hosts.
func DueInCluster(policyDomain string, day time.Time) time.Time {
	return due(policyDomain, day, clusterFirstMinute, clusterLastMinute)
}

func due(policyDomain string, day time.Time, first, last int) time.Time {
	h := fnv.New32a()
	_, _ = h.Write([]byte(policyDomain)) // returns no error
	second := int(h.Sum32() % uint32((last-first)*60))
	return report.Day(day).AddDate(0, 0, 1).Add(time.Duration(first*60+second) * time.Second)
}
