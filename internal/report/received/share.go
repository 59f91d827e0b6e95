package received

import (
	"context"
	"fmt"

	"signpost/internal/report/read"
)

// allRows is more than the rows of a report: package read keeps 100,000.
const allRows = 1_000_000

// Last returns the greatest number of a report, or 0.
func (s *Store) Last(ctx context.Context) (number int64, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM report").Scan(&number)
	return number, err
}

// Next returns the first verified report with a number greater than after, with all of its rows. ok is false if there is none.
func (s *Store) Next(ctx context.Context, after int64) (r Stored, ok bool, err error) {
	all, err := s.find(ctx, "id > ? AND verified AND NOT folded ORDER BY id LIMIT 1", after)
	if err != nil || len(all) == 0 {
		return r, false, err
	}
	if err := s.fill(ctx, &all[0], allRows); err != nil {
		return r, false, fmt.Errorf("report %d: %w", all[0].Number, err)
	}
	return all[0], true, nil
}

// Report returns the report as Add stores it.
func (r Stored) Report() *read.Report {
	report := &read.Report{Kind: r.Kind, OrgName: r.OrgName, Contact: r.Contact, ID: r.ID, Generator: r.Generator, Begin: r.Begin, End: r.End, Domain: r.Domain,
		Policy: r.Policy, Rows: r.Rows, Policies: r.Policies}
	if r.Errors != "" {
		report.Errors = []string{r.Errors}
	}
	return report
}
