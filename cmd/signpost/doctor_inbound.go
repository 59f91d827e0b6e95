package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/journal"
	"signpost/internal/owner"
	"signpost/internal/spf"
	"signpost/policy"
)

const (
	// inboundDays covers a whole week: mail of a weekend differs from that of a working day.
	inboundDays = 7
	// inboundPerDay is enough to estimate a share. The sample is spread over the days, so that one burst does not decide.
	inboundPerDay = 1000
	// inboundTime is how long doctor may read the journal for this, on a slow disk.
	inboundTime = 2 * time.Second
)

// readInbound counts the inbound messages of the last days by client: of each day the newest. After inboundTime it returns
// what it has counted so far.
func readInbound(ctx context.Context, conf *config.Config, now time.Time) (in doctor.Inbound) {
	in.Clients = map[netip.Addr]doctor.ClientMail{}
	back, err := owner.Act(conf.JournalFile())
	if err != nil {
		in.Err = err
		return in
	}
	defer func() { in.Err = errors.Join(in.Err, back()) }()
	r, err := readJournal(conf)
	if errors.Is(err, journal.ErrNone) {
		return in
	}
	if err != nil {
		in.Err = err
		return in
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, inboundTime)
	defer cancel()
	f := journal.Filter{Outcome: func(o journal.Outcome) bool { return o.Role == string(policy.Verify) && o.SPF != "" }}
	for day := range inboundDays {
		f.Before = now.AddDate(0, 0, -day)
		f.Since = now.AddDate(0, 0, -day-1)
		ids, err := r.IDs(ctx, f, inboundPerDay, false)
		if err == nil {
			var entries []journal.Entry
			entries, err = r.Entries(ctx, ids)
			for i := range entries {
				countInbound(&in, conf, &entries[i])
			}
		}
		switch {
		case ctx.Err() != nil && in.Messages > 0:
			return in
		case ctx.Err() != nil:
			in.Err = fmt.Errorf("%s: timeout after %s", conf.JournalFile(), inboundTime)
			return in
		case err != nil:
			in.Err = err
			return in
		}
	}
	return in
}

func countInbound(in *doctor.Inbound, conf *config.Config, e *journal.Entry) {
	client := e.Evidence.Connection.Client.Unmap().WithZone("")
	result := e.Evidence.SPF
	ours := func(p netip.Prefix) bool { return p.Contains(client) }
	if !client.IsValid() || result == nil || slices.ContainsFunc(conf.TrustedNetworks, ours) || slices.ContainsFunc(conf.Verify.SkipNetworks, ours) {
		return
	}
	n := in.Clients[client]
	n.Messages++
	if result.Status == spf.Fail || result.Status == spf.SoftFail {
		n.SPFFailed++
	}
	in.Clients[client], in.Messages, in.Since = n, in.Messages+1, e.Time
}
