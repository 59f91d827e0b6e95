package forwarders

import (
	"context"
	"time"

	"signpost/internal/journal"
	"signpost/policy"
)

const (
	// inboundDays covers a whole week, because mail differs between weekends and working days.
	inboundDays = 7
	// inboundPerDay is enough to estimate a share. The sample is spread over the days, so that one burst of mail does not dominate it.
	inboundPerDay = 1000
)

// Inbound calls the function add for each message of a sample. The sample is taken from those inbound messages of the last days that have
// an SPF result. The sample has the newest messages of each day.
func Inbound(ctx context.Context, r *journal.Reader, now time.Time, add func(*journal.Entry)) error {
	f := journal.Filter{Outcome: func(o journal.Outcome) bool { return o.Role == string(policy.RoleVerify) && o.SPF != "" }}
	for day := range inboundDays {
		f.Before = now.AddDate(0, 0, -day)
		f.Since = now.AddDate(0, 0, -day-1)
		ids, err := r.IDs(ctx, f, inboundPerDay, false)
		if err != nil {
			return err
		}
		entries, err := r.Entries(ctx, ids)
		for i := range entries {
			add(&entries[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}
