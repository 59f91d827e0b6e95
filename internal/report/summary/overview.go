package summary

import (
	"maps"
	"slices"

	"signpost/internal/report/received"
	"signpost/internal/report/status"
)

// Overview is what the reports state about all hosted domains.
type Overview struct {
	Domains []received.Domain `json:"domains"`         // hosted, with reports
	Silent  []string          `json:"without_reports"` // hosted domains without reports, sorted
	Foreign int               `json:"not_hosted"`      // the number of domains with reports that are not hosted
	Alarms  []status.Alarm    `json:"alarms"`
	Omitted int               `json:"alarms_omitted"`
}

// NewOverview returns an Overview without alarms.
func NewOverview(all []received.Domain, hosted map[string]bool) (o Overview) {
	o.Domains, o.Alarms = []received.Domain{}, []status.Alarm{}
	silent := maps.Clone(hosted)
	for _, d := range all {
		if !hosted[d.Domain] {
			o.Foreign++
			continue
		}
		delete(silent, d.Domain)
		o.Domains = append(o.Domains, d)
	}
	o.Silent = slices.AppendSeq([]string{}, maps.Keys(silent))
	slices.Sort(o.Silent)
	return o
}
