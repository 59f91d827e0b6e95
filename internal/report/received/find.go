package received

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"signpost/internal/report/read"
)

// Stored is a report in the database.
type Stored struct {
	Number   int64     `json:"number"` // of the database
	Kind     read.Kind `json:"kind"`
	Reporter string    `json:"reporter"`
	Verified bool      `json:"verified"`
	QueueID  string    `json:"queue_id,omitempty"` // empty: imported
	Received time.Time `json:"received"`

	OrgName   string      `json:"org_name"`
	Contact   string      `json:"contact,omitempty"`
	ID        string      `json:"report_id"`
	Generator string      `json:"generator,omitempty"`
	Errors    string      `json:"errors,omitempty"`
	Begin     time.Time   `json:"begin"`
	End       time.Time   `json:"end"`
	Domain    string      `json:"policy_domain"`
	Policy    read.Policy `json:"policy,omitzero"`
	Messages  int64       `json:"messages"`
	Passed    int64       `json:"passed"`

	Folded   bool             `json:"folded"` // rows were added up after 90 days
	Rows     []read.Row       `json:"rows,omitempty"`
	Policies []read.TLSPolicy `json:"policies,omitempty"`
	Omitted  int64            `json:"omitted,omitempty"` // rows beyond limit
}

// mostFound limits the reports that Find returns. Different reporters can use the same ID.
const mostFound = 10

// Find returns the reports with an ID: the number in the database, or the ID that the reporter chose.
func (s *Store) Find(ctx context.Context, id string) (all []Stored, err error) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		number = -1 // no report has it
	}
	if all, err = s.find(ctx, "id = ? OR report_id = ? ORDER BY id LIMIT ?", number, id, mostFound); err != nil {
		return nil, err
	}
	for i := range all {
		if err := s.fill(ctx, &all[i], limit); err != nil {
			return nil, fmt.Errorf("report %d: %w", all[i].Number, err)
		}
	}
	return all, nil
}

// find returns reports without their rows.
func (s *Store) find(ctx context.Context, where string, args ...any) (all []Stored, err error) {
	return all, s.each(ctx, func(scan func(...any) error) error {
		var r Stored
		var begin, end, received int64
		var policy string
		err := scan(&r.Number, &r.Kind, &r.Reporter, &r.ID, &r.Domain, &begin, &end, &received, &r.Verified, &r.QueueID, &r.OrgName, &r.Contact, &r.Generator, &r.Errors, &policy, &r.Messages, &r.Passed, &r.Folded)
		if err == nil {
			err = json.Unmarshal([]byte(policy), &r.Policy)
		}
		r.Begin, r.End, r.Received = time.Unix(begin, 0).UTC(), time.Unix(end, 0).UTC(), time.Unix(received, 0).UTC()
		all = append(all, r)
		return err
	}, `SELECT id, kind, reporter, report_id, domain, begin_at, end_at, received, verified, queue_id, org_name, contact, generator, errors, policy, messages, passed, folded
		FROM report WHERE `+where, args...)
}

// fill reads the rows of a report: those with the most messages, at most most.
func (s *Store) fill(ctx context.Context, r *Stored, most int) error {
	if err := s.db.QueryRowContext(ctx, "SELECT MAX(0, COUNT(*) - ?) FROM source WHERE report = ?", most, r.Number).Scan(&r.Omitted); err != nil {
		return err
	}
	err := s.each(ctx, func(scan func(...any) error) error {
		var row read.Row
		var address []byte
		var text string
		if err := scan(&address, &row.Count, &row.DKIM, &row.SPF, &row.Disposition, &row.HeaderFrom, &row.EnvelopeFrom, &text); err != nil {
			return err
		}
		row.Source, _ = netip.AddrFromSlice(address)
		if text != "" {
			var more detail
			if err := json.Unmarshal([]byte(text), &more); err != nil {
				return err
			}
			row.Reasons, row.Signatures, row.SPFResults = more.Reasons, more.Signatures, more.SPF
		}
		r.Rows = append(r.Rows, row)
		return nil
	}, "SELECT address, count, dkim, spf, disposition, header_from, envelope_from, detail FROM source WHERE report = ? ORDER BY count DESC, address LIMIT ?", r.Number, most)
	if err != nil {
		return err
	}
	return s.each(ctx, func(scan func(...any) error) error {
		var p read.TLSPolicy
		var text string
		if err := scan(&p.Domain, &p.Type, &p.Successful, &p.Failed, &text); err != nil {
			return err
		}
		r.Policies = append(r.Policies, p)
		return json.Unmarshal([]byte(text), &r.Policies[len(r.Policies)-1].Failures)
	}, "SELECT domain, type, successful, failed, failures FROM tls WHERE report = ?", r.Number)
}
