// Package hosts makes one DMARC report of the counts of several hosts. The hosts share counts, reports, the states of deliveries and
// suppressions as items (package control) of the database of their cluster, through the control socket of signpost-cluster.
//
// Each host ships its counts in parts: each part counts other messages, so the parts are added up in any case, and no message is counted
// twice. The host that holds the lease decides which parts belong to the reports about a day: a round. A round, and each report that was made
// from it, is written once, and never changes. If a host dies, the next one therefore sends the same reports, byte for byte. A part that came too
// late for a round belongs to the next round of the day, whose reports have other IDs.
//
//	site := &hosts.Site{Client: client, Name: "mx1", State: state, Now: time.Now, Log: log}
//	err := site.Exchange(ctx)              // with the other hosts
//	err = site.Ship(ctx, journal)          // counts
//	if site.Leads(ctx) == nil {
//		err = site.Freeze(ctx, collection) // then send.Run
//	}
package hosts

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/report"
)

// Site is the site as one of its hosts sees it.
type Site struct {
	Client control.Client
	Name   string // of this host
	State  *report.State
	Now    func() time.Time
	Log    *slog.Logger
}

const (
	// overlap is how long before the last item that was read the next Exchange begins: a transaction may be committed after a later one.
	overlap = 2 * time.Minute
	// maxBody limits a body that was inflated, in bytes.
	maxBody = 64 << 20
)

// NotLeader is the error of Leads.
type NotLeader struct {
	Leader string // the name of a host; empty: no host, or unknown
}

func (e *NotLeader) Error() string {
	return "host " + cmp.Or(e.Leader, "-") + " sends the reports of this site"
}

// Leads returns nil if this host holds the lease for long enough to send a report, and otherwise a *NotLeader or the error of the request.
func (s *Site) Leads(ctx context.Context) error {
	l, err := s.Client.Lease(ctx)
	if err == nil && (!l.Mine || l.LeftMS < control.MinLeft.Milliseconds()) {
		return &NotLeader{l.Holder}
	}
	return err
}

// Lead is Leads, but takes the lease over from a host that ships no counts, or has not shipped those of yesterday by 03:00 UTC:
// reports.send.enabled is false there, its timer does not run, or its clock was set, so it would not send the reports.
func (s *Site) Lead(ctx context.Context) error {
	err := s.Leads(ctx)
	other := (*NotLeader)(nil)
	if !errors.As(err, &other) || other.Leader == "" || other.Leader == s.Name {
		return err
	}
	status, failed := s.Client.Status(ctx)
	if failed != nil {
		return failed
	}
	r := status.Reports
	if r == nil || slices.Contains(r.Hosts, other.Leader) && !slices.Contains(r.Late, other.Leader) {
		return err
	}
	if _, err := s.Client.Lead(ctx); err != nil {
		return err
	}
	return s.Leads(ctx)
}

// BounceKey returns the key of the envelope senders, which all hosts of the site share, and writes it to the file at path for the daemon.
func (s *Site) BounceKey(ctx context.Context, path string) (report.Key, error) {
	text, err := s.Client.BounceKey(ctx)
	if err != nil {
		return nil, err
	}
	return report.ReplaceKey(path, text)
}

// suppression is the body of an item.
type suppression struct {
	report.Suppression
	Changed time.Time `json:"changed"`
}

// frozen is the body of an item.
type frozen struct {
	report.Frozen
	Gzip         []byte               `json:"gzip"`
	Destinations []report.Destination `json:"destinations"`
	Host         string               `json:"host"` // that made the report
}

// Exchange reads what the other hosts shared into the State, and shares what has changed there.
func (s *Site) Exchange(ctx context.Context) error {
	var at control.Cursor
	if err := s.State.Pulled(ctx, &at); err != nil {
		return err
	}
	if at.Written == 0 {
		if err := s.shareUnsent(ctx); err != nil {
			return err
		}
	}
	at.Written, at.Last = max(0, at.Written-overlap.Milliseconds()), control.Item{}
	for {
		page, err := s.Client.ChangedItems(ctx, at, control.KindReport, control.KindDelivery, control.KindSuppression)
		if err != nil {
			return err
		}
		s.refused("of reports", page.Refused)
		for _, i := range page.Items {
			if err := s.apply(ctx, i); err != nil {
				return fmt.Errorf("applying %s %s of another host: %w", i.Kind, i.Name, err)
			}
		}
		if page.After.Written > 0 {
			at = page.After
			if err := s.State.SetPulled(ctx, at); err != nil {
				return err
			}
		}
		if !page.More {
			return s.Push(ctx)
		}
	}
}

func (s *Site) refused(what string, n int) {
	if n > 0 {
		s.Log.Warn("rows of the database were refused", "rows", what, "count", n)
	}
}

// apply applies an item.
func (s *Site) apply(ctx context.Context, i control.Item) error {
	switch i.Kind {
	case control.KindReport:
		f, destinations, err := unpackFrozen(i.Body)
		if err != nil {
			return err
		}
		_, err = s.State.Freeze(ctx, f, destinations)
		return err
	case control.KindDelivery:
		var p report.Progress
		if err := unpack(i.Body, &p); err != nil {
			return err
		}
		return s.State.Merge(ctx, p)
	case control.KindSuppression:
		var p suppression
		if err := unpack(i.Body, &p); err != nil {
			return err
		}
		p.Suppression.Changed = p.Changed
		return s.State.MergeSuppression(ctx, p.Suppression)
	}
	return nil
}

// Push shares what has changed in the State.
func (s *Site) Push(ctx context.Context) error {
	for {
		deliveries, suppressions, err := s.State.Unshared(ctx, control.MaxItems/2)
		if err != nil || len(deliveries)+len(suppressions) == 0 {
			return err
		}
		var items []control.Item
		for _, p := range deliveries {
			items = append(items, control.Item{Kind: control.KindDelivery, Day: date(p.Day), Name: p.Report, Part: p.Position, Body: pack(p)})
		}
		for _, p := range suppressions {
			items = append(items, control.Item{Kind: control.KindSuppression, Name: hash(p.Destination), Body: pack(suppression{p, p.Changed})})
		}
		if _, err := s.Client.PutItems(ctx, items); err != nil {
			return err
		}
		for _, p := range deliveries {
			if err := s.State.SetShared(ctx, p); err != nil {
				return err
			}
		}
		for _, p := range suppressions {
			if err := s.State.SetSuppressionShared(ctx, p); err != nil {
				return err
			}
		}
	}
}

// share writes a report to the database before it is frozen on this host. It returns the report that the database has.
func (s *Site) share(ctx context.Context, f report.Frozen, destinations []report.Destination) (report.Frozen, []report.Destination, error) {
	stored, err := s.put(ctx, control.Item{Kind: control.KindReport, Day: date(f.Day), Name: f.ID, Body: pack(frozen{f, f.Gzip, destinations, s.Name})})
	if err != nil {
		return f, nil, err
	}
	return unpackFrozen(stored.Body)
}

// shareUnsent shares the reports that this host made before it joined, and has not sent.
func (s *Site) shareUnsent(ctx context.Context) error {
	due, err := s.State.Due(ctx)
	if err != nil {
		return err
	}
	shared := map[string]bool{}
	for _, d := range due {
		if shared[d.Report.ID] {
			continue
		}
		shared[d.Report.ID] = true
		f, all, found, err := s.State.Find(ctx, d.Report.ID)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		var destinations []report.Destination
		for _, d := range all {
			destinations = append(destinations, report.Destination{Address: d.Destination, Organization: d.Organization, MAC: d.MAC})
		}
		if _, _, err := s.share(ctx, f, destinations); err != nil {
			return err
		}
		if err := s.State.SetUnshared(ctx, f.ID); err != nil {
			return err
		}
	}
	return nil
}

func unpackFrozen(body []byte) (report.Frozen, []report.Destination, error) {
	var f frozen
	err := unpack(body, &f)
	f.Frozen.Gzip = f.Gzip
	return f.Frozen, f.Destinations, err
}

// put writes an item of a kind with Once. It returns the item that the database has.
func (s *Site) put(ctx context.Context, i control.Item) (control.Item, error) {
	stored, err := s.Client.PutItems(ctx, []control.Item{i})
	if err == nil && len(stored) != 1 {
		err = fmt.Errorf("signpost-cluster did not return %s %s", i.Kind, i.Name)
	}
	if err != nil {
		return i, err
	}
	return stored[0], nil
}

// countsKept is the time after which counts are deleted. Late hosts are waited for until three days after the day of the counts.
const countsKept = 6 * 24 * time.Hour

// Expire deletes the items of reports about days before a time from the database, and old counts.
func (s *Site) Expire(ctx context.Context, before time.Time) error {
	err := s.Client.ExpireItems(ctx, s.Now().Add(-countsKept), control.KindCount, control.KindShipped, control.KindRound, control.KindDone)
	if err != nil {
		return err
	}
	return s.Client.ExpireItems(ctx, before, control.KindReport, control.KindDelivery, control.KindSuppression)
}

func date(day time.Time) string { return day.UTC().Format(time.DateOnly) }

// hash returns the name of an item. Names are readable in the database.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// pack returns a body: compressed JSON.
func pack(v any) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_ = json.NewEncoder(z).Encode(v) // the types of this package have JSON, and a Buffer does not fail
	_ = z.Close()
	return b.Bytes()
}

func unpack(body []byte, v any) error {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return json.NewDecoder(io.LimitReader(z, maxBody)).Decode(v)
}
