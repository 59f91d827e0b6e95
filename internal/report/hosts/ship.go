package hosts

import (
	"cmp"
	"context"
	"slices"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/journal"
	"signpost/internal/report"
	"signpost/internal/report/send"
)

const (
	// shipInterval is the time between two parts of the counts of a day that has not ended. If a host does not return, the messages of this time
	// are missing in reports.
	shipInterval = time.Hour
	// lateDays is the number of days after the end of a day for which counts of late hosts are reported.
	lateDays = 3
)

// count is the body of an item: the counts of one report in a part.
type count struct {
	Until  int64          `json:"until"` // as in mark: a part that was not completed has another Until
	Report *report.Report `json:"report"`
}

// mark is the body of the item that completes a part. It is written after the counts of the part.
type mark struct {
	After    int64     `json:"after"`    // the part has the messages with numbers greater than After ...
	Until    int64     `json:"until"`    // ... and not greater than Until
	Reports  int       `json:"reports"`  // the number of counts
	Complete bool      `json:"complete"` // there are no more messages of this day on the host
	Lost     int       `json:"lost"`     // messages of the day until now that the journal could not store
	Late     bool      `json:"journal_incomplete"`
	Alone    bool      `json:"alone,omitempty"` // the host reported this day by itself before it joined: the part has no messages
	At       time.Time `json:"at"`
	part     int
}

// marks returns the marks of the parts of a day, by host, and sorted.
func (s *Site) marks(ctx context.Context, day time.Time) (map[string][]mark, error) {
	all := map[string][]mark{}
	refused, err := s.Client.Items(ctx, control.KindShipped, date(day), func(i control.Item) error {
		m := mark{part: i.Part}
		if err := unpack(i.Body, &m); err != nil {
			return err
		}
		all[i.Host] = append(all[i.Host], m)
		return nil
	})
	for _, parts := range all {
		slices.SortFunc(parts, func(a, b mark) int { return cmp.Compare(a.part, b.part) })
	}
	s.refused("of counts", refused)
	return all, err
}

// last returns the last part, or the zero value.
func last(parts []mark) mark {
	if len(parts) == 0 {
		return mark{}
	}
	return parts[len(parts)-1]
}

// Ship ships the counts of this host that are due: today's once an hour, and those of the days before when they are over. open opens the
// journal.
func (s *Site) Ship(ctx context.Context, open func() (*journal.Reader, error)) error {
	var past *journal.Reader
	defer func() {
		if past != nil {
			past.Close()
		}
	}()
	reader := func() (r *journal.Reader, err error) {
		if past == nil {
			past, err = open()
		}
		return past, err
	}
	var failed error // a damaged row of one day does not prevent the counts of the others
	for back := lateDays; back >= 0; back-- {
		err := s.shipDay(ctx, report.Day(s.Now()).AddDate(0, 0, -back), back == 0, reader)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed = cmp.Or(failed, err)
	}
	return failed
}

func (s *Site) shipDay(ctx context.Context, day time.Time, today bool, reader func() (*journal.Reader, error)) error {
	now := s.Now()
	over := !now.Before(send.First(day))
	if !over && !today {
		return nil
	}
	all, err := s.marks(ctx, day)
	if err != nil {
		return err
	}
	before := last(all[s.Name])
	collected, err := s.State.Collected(ctx, day)
	switch {
	case err != nil:
		return err
	case before.Complete:
		if !collected {
			err = s.State.SetCollected(ctx, day)
		}
		return err
	case collected && before.part > 0:
		return nil
	case collected: // before this host joined the cluster, it reported this day by itself
		return s.complete(ctx, day, mark{Complete: true, Alone: true, At: now, part: 1})
	case !over && now.Sub(before.At) < shipInterval:
		return nil
	}
	past, err := reader()
	if err != nil {
		return err
	}
	return s.ship(ctx, past, day, before, over)
}

// ship ships the next part of a day. complete states that the day is over.
func (s *Site) ship(ctx context.Context, past *journal.Reader, day time.Time, before mark, complete bool) error {
	oldest, newest, err := past.Covers(ctx)
	if err != nil {
		return err
	}
	lost, err := past.Lost(ctx, day)
	if err != nil {
		return err
	}
	begin, end := day.UnixMicro(), day.AddDate(0, 0, 1).UnixMicro()-1
	m := mark{After: max(before.Until, begin-1), Until: end, Complete: complete, Lost: int(lost), At: s.Now(), part: before.part + 1}
	if !complete {
		m.Until = min(end, newest.UnixMicro())
	}
	if !complete && m.Until <= m.After {
		return nil
	}
	m.Late = !oldest.IsZero() && oldest.UnixMicro() > m.After+1
	var items []control.Item
	size := 0
	flush := func() error {
		_, err := s.Client.PutItems(ctx, items)
		items, size = nil, 0
		return err
	}
	err = report.Collect(ctx, past, day, report.Options{Own: send.ReportMail, After: m.After, Until: m.Until, Empty: true}, func(r *report.Report) error {
		m.Reports++
		r.Lost, r.Late = 0, false // the mark has them
		body := pack(count{m.Until, r})
		items = append(items, control.Item{Kind: control.KindCount, Day: date(day), Name: r.ID(""), Part: m.part, Body: body})
		if size += len(body); len(items) == control.MaxItems || size >= control.MaxItemsBytes {
			return flush()
		}
		return nil
	})
	if err == nil && len(items) > 0 {
		err = flush()
	}
	if err != nil {
		return err
	}
	return s.complete(ctx, day, m)
}

// complete completes a part.
func (s *Site) complete(ctx context.Context, day time.Time, m mark) error {
	i := control.Item{Kind: control.KindShipped, Day: date(day), Part: m.part, Body: pack(m)}
	if m.Complete {
		i.Name = control.NameComplete
	}
	_, err := s.put(ctx, i)
	if err != nil || !m.Complete {
		return err
	}
	return s.State.SetCollected(ctx, day)
}
