package forwarders

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"signpost/internal/doctor/host"
	"signpost/internal/journal"
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

// Inbound counts the inbound messages of the last days by client, for doctor's check of gateways: of each day the newest. It omits the
// clients in these networks. After inboundTime it returns what it has counted so far. file is the journal's, for errors.
func Inbound(ctx context.Context, r *journal.Reader, file string, omit []netip.Prefix, now time.Time) host.Inbound {
	in := host.Inbound{Clients: map[netip.Addr]host.ClientMail{}}
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
				countInbound(&in, omit, &entries[i])
			}
		}
		switch {
		case ctx.Err() != nil && in.Messages > 0:
			return in
		case ctx.Err() != nil:
			in.Err = fmt.Errorf("%s: timeout after %s", file, inboundTime)
			return in
		case err != nil:
			in.Err = err
			return in
		}
	}
	return in
}

func countInbound(in *host.Inbound, omit []netip.Prefix, e *journal.Entry) {
	client := e.Evidence.Connection.Client.Unmap().WithZone("")
	result := e.Evidence.SPF
	if !client.IsValid() || result == nil || slices.ContainsFunc(omit, func(p netip.Prefix) bool { return p.Contains(client) }) {
		return
	}
	n := in.Clients[client]
	n.Messages++
	if result.Status == spf.Fail || result.Status == spf.SoftFail {
		n.SPFFailed++
	}
	in.Clients[client], in.Messages, in.Since = n, in.Messages+1, e.Time
}
