package report

import "time"

// Sum adds up reports about one policy and one day, which count different messages: those of several hosts, or of several parts of the day. It
// has the same limits as a report of one host. The zero value is an empty sum.
type Sum struct {
	group    *group
	day      time.Time
	required bool
}

// Add adds a report. It may keep and change the rows of the report.
func (s *Sum) Add(r *Report) {
	if s.group == nil {
		s.group, s.day = newGroup(r.Policy, r.Policy.hash()), r.Day
	}
	for i := range r.Rows {
		s.group.insert(&r.Rows[i])
	}
	s.group.omitted += r.Omitted
	s.group.temp += r.TempErrors
	s.required = s.required || !r.Optional
}

// Report returns the sum, or nil if there is no row. It is optional if all reports are. The order of the reports must be the same for the sum to be
// the same.
func (s *Sum) Report() *Report {
	if s.group == nil || len(s.group.rows) == 0 {
		return nil
	}
	return s.group.report(s.day, !s.required)
}
