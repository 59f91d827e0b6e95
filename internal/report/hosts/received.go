package hosts

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/report/received"
)

const (
	// maxShared is the number of received reports that a host shares on a UTC day. Anyone can send reports.
	maxShared = 20_000
	// maxSharedBytes is the size of these reports in the database, in bytes.
	maxSharedBytes = 256 << 20
	// receivedKept is the time after which received reports are deleted from the database. The hosts keep them longer in their own.
	receivedKept = 30 * 24 * time.Hour
)

// Received shares the reports that others sent about the domains of the site, whichever host received them. Reports that are not verified, such as
// imported ones, stay on their host.
type Received struct {
	Client control.Client
	Store  *received.Store
	Now    func() time.Time
	Log    *slog.Logger
	Position
}

// Position is what the next run must know.
type Position struct {
	Begun  bool           `json:"begun"`
	Pulled control.Cursor `json:"pulled"`
	Shared int64          `json:"shared"` // the number of the last report that was shared or pulled
	Day    string         `json:"day"`
	Count  int            `json:"count"` // the reports that were shared on Day
	Bytes  int            `json:"bytes"` // their size
}

// Pull stores the reports that other hosts received. Call it before new reports are stored.
func (r *Received) Pull(ctx context.Context) error {
	if !r.Begun { // reports that arrived before the host joined stay there
		last, err := r.Store.Last(ctx)
		if err != nil {
			return err
		}
		r.Begun, r.Shared = true, last
	}
	if err := r.Push(ctx); err != nil {
		return err
	}
	at := r.Pulled
	at.Written, at.Last = max(0, at.Written-overlap.Milliseconds()), control.Item{}
	for {
		page, err := r.Client.ChangedItems(ctx, at, control.KindReceived)
		if err != nil {
			return err
		}
		if page.Refused > 0 {
			r.Log.Warn("rows of the database were refused", "rows", "of received reports", "count", page.Refused)
		}
		for _, i := range page.Items {
			var one received.Stored
			if err := unpack(i.Body, &one); err != nil {
				return err
			}
			err := r.Store.Add(ctx, one.Report(), received.Origin{Reporter: one.Reporter, Verified: true, QueueID: one.QueueID, Received: one.Received, Shared: true})
			if err != nil && !errors.Is(err, received.ErrDuplicate) && !errors.Is(err, received.ErrQuota) && !errors.Is(err, received.ErrLarge) {
				return err
			}
		}
		if page.After.Written > 0 {
			at, r.Pulled = page.After, page.After
		}
		if !page.More {
			r.Shared, err = r.Store.Last(ctx)
			return err
		}
	}
}

// Push shares the reports that this host has received since the last call.
func (r *Received) Push(ctx context.Context) error {
	if today := date(r.Now()); today != r.Day {
		r.Day, r.Count, r.Bytes = today, 0, 0
	}
	over := 0
	for {
		one, ok, err := r.Store.Next(ctx, r.Shared)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		number := one.Number
		one.Number = 0 // each host has numbers of its own
		name := hash(strings.Join([]string{string(one.Kind), one.Reporter, one.ID, one.Domain}, "\n"))
		body := pack(one)
		if r.Count >= maxShared || r.Bytes+len(body) > maxSharedBytes || len(body) > control.MaxItemBody {
			over++
		} else if _, err := r.Client.PutItems(ctx, []control.Item{{Kind: control.KindReceived, Day: date(one.Received), Name: name, Body: body}}); err != nil {
			return err
		} else {
			r.Count, r.Bytes = r.Count+1, r.Bytes+len(body)
		}
		r.Shared = number
	}
	if over > 0 {
		r.Log.Warn("received reports are too many or too large, the other hosts do not get them", "reports", over, "limit", maxShared, "limit_bytes", maxSharedBytes)
	}
	return nil
}

// Expire deletes old received reports from the database, if this host holds the lease. They are old in comparison with the last one that was
// written, by the clock of the database: if the clock of this host is ahead, no report is deleted.
func (r *Received) Expire(ctx context.Context) error {
	if l, err := r.Client.Lease(ctx); err != nil || !l.Mine {
		return err
	}
	now := r.Now()
	if newest := time.UnixMilli(r.Pulled.Written); newest.Before(now) {
		now = newest
	}
	return r.Client.ExpireItems(ctx, now.Add(-receivedKept), control.KindReceived)
}
