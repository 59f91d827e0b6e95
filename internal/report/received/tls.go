package received

import (
	"context"
	"database/sql"
	"time"

	"signpost/internal/report/read"
)

// TLSSessions counts the sessions in TLS reports.
type TLSSessions struct {
	Reports    int64        `json:"reports"`
	Reporters  int64        `json:"reporters"`
	Successful int64        `json:"successful_sessions"`
	Failed     int64        `json:"failed_sessions"`
	Last       time.Time    `json:"last,omitzero"` // the last day that a report is about
	Failures   []TLSFailing `json:"failures"`      // those with most sessions first
}

// TLSFailing are the failed sessions of a type.
type TLSFailing struct {
	Domain    string    `json:"domain"`
	Policy    string    `json:"policy_type"` // sts, tlsa or no-policy-found
	Type      string    `json:"type"`        // a result-type of RFC 8460 section 4.3
	Sessions  int64     `json:"failed_sessions"`
	Reporters int64     `json:"reporters"`
	MX        string    `json:"receiving_mx_hostname,omitempty"` // one of them
	Last      time.Time `json:"last"`
}

// mostFailures limits the types of failures. A reporter can write types that no RFC has.
const mostFailures = 100

// TLS returns the sessions in TLS reports about policies of f.Domain.
func (s *Store) TLS(ctx context.Context, f Filter) (t TLSSessions, err error) {
	t.Failures = []TLSFailing{}
	where, args := f.where(read.TLS)
	if f.Domain != "" {
		where, args = where+" AND t.domain = ?", append(args, f.Domain)
	}
	const from = " FROM report r JOIN tls t ON t.report = r.id"
	var last sql.NullInt64
	err = s.db.QueryRowContext(ctx, "SELECT COUNT(DISTINCT r.id), COUNT(DISTINCT r.reporter), COALESCE(SUM(t.successful), 0), COALESCE(SUM(t.failed), 0), MAX(COALESCE(r.day, r.begin_at))"+
		from+" WHERE "+where, args...).Scan(&t.Reports, &t.Reporters, &t.Successful, &t.Failed, &last)
	if err != nil || t.Reports == 0 {
		return t, err
	}
	t.Last = date(last.Int64)
	err = s.each(ctx, func(scan func(...any) error) error {
		var one TLSFailing
		var last int64
		err := scan(&one.Domain, &one.Policy, &one.Type, &one.Sessions, &one.Reporters, &one.MX, &last)
		one.Last = date(last)
		t.Failures = append(t.Failures, one)
		return err
	}, `SELECT t.domain, t.type, COALESCE(f.value ->> 'type', ''), SUM(f.value ->> 'failed_sessions') AS n, COUNT(DISTINCT r.reporter),
		COALESCE(MAX(f.value ->> 'receiving_mx_hostname'), ''), MAX(COALESCE(r.day, r.begin_at))`+
		from+" JOIN json_each(t.failures) f ON f.type = 'object' WHERE "+where+" GROUP BY 1, 2, 3 ORDER BY n DESC, 1, 2, 3 LIMIT ?", append(args, mostFailures)...)
	return t, err
}
