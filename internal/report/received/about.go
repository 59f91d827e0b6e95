package received

import (
	"context"
	"time"

	"signpost/internal/report/status"
)

// About is what the reports state about a domain.
type About struct {
	Domain string    `json:"domain"`
	Since  time.Time `json:"since"` // reports about ranges that begin from here on
	Volume
	Untrusted int64          `json:"messages_of_untrusted_reporters"` // part of Messages
	Alarms    []status.Alarm `json:"alarms"`                          // the caller sets them
	Policies  []PolicyPeriod `json:"policies"`
	Days      []Day          `json:"days"`
	Sources
	Reporters []Reporter  `json:"reporters"`
	TLS       TLSSessions `json:"tls"`
}

// About returns what the reports that match f state about f.Domain, with lists of at most most sources.
func (s *Store) About(ctx context.Context, f Filter, site Site, most int) (a About, err error) {
	a.Domain, a.Since, a.Alarms = f.Domain, f.Since, []status.Alarm{}
	if a.Policies, err = s.Policies(ctx, f); err != nil {
		return a, err
	}
	if a.Days, err = s.Days(ctx, f); err != nil {
		return a, err
	}
	if a.Reporters, err = s.Reporters(ctx, f); err != nil {
		return a, err
	}
	if a.TLS, err = s.TLS(ctx, f); err != nil {
		return a, err
	}
	if a.Sources, err = s.Sources(ctx, f, site, most); err != nil {
		return a, err
	}
	for _, r := range a.Reporters {
		a.Messages, a.Passed, a.Failed = a.Messages+r.Messages, a.Passed+r.Passed, a.Failed+r.Failed
		if !r.Trusted {
			a.Untrusted += r.Messages
		}
	}
	return a, nil
}
