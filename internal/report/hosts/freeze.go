package hosts

import (
	"cmp"
	"context"
	"slices"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/report"
	"signpost/internal/report/send"
)

// round is the body of an item: which parts belong to the reports of a round.
type round struct {
	Hosts   map[string]span `json:"hosts"`
	Partial bool            `json:"partial"` // the counts of a host are missing
	Lost    int             `json:"lost"`
	Late    bool            `json:"journal_incomplete"`
	Alone   bool            `json:"alone,omitempty"` // a host reported the day by itself, maybe with the IDs of round 1
}

// part returns the Part of the reports of round n, which their IDs depend on.
func (r round) part(n int) int {
	switch {
	case r.Alone:
		return n + maxRounds
	case n > 1:
		return n
	}
	return 0
}

// span are parts of a host.
type span struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

// othersTime is how long a round waits for other hosts after a host has shipped. After the database was down at 03:00, all hosts ship within ten
// minutes.
const othersTime = 20 * time.Minute

// maxRounds is the maximum number of rounds of a day.
const maxRounds = lateDays + 1

// Freeze freezes the reports of the days that are over and whose counts are available. Only the host that leads calls it. If all hosts have
// shipped a day, its reports are frozen at once, otherwise at 03:00 UTC. What late hosts ship is frozen when they are complete, or on the
// next days at 03:00 UTC, until three days after the day. If lookups failed, complete is false, and Freeze must be called again later. All days together take at most
// c.MaxTime.
func (s *Site) Freeze(ctx context.Context, c send.Collection) (complete bool, err error) {
	c.Share = s.share
	status, err := s.Client.Status(ctx)
	if err != nil {
		return false, err
	}
	today := report.Day(s.Now())
	complete = true
	var failed error // a damaged row of one day does not prevent the reports of the others
	end := time.Now().Add(c.MaxTime)
	for back := lateDays + 1; back > 0; back-- {
		c.MaxTime = time.Until(end) / time.Duration(back) // a day whose domains do not answer leaves time for the later ones
		done, err := s.freezeDay(ctx, c, today.AddDate(0, 0, -back), status)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		failed = cmp.Or(failed, err)
		complete = complete && done
	}
	return complete && failed == nil, failed
}

// freezeDay makes the reports of a round of a day, if one is due.
func (s *Site) freezeDay(ctx context.Context, c send.Collection, day time.Time, status control.Status) (complete bool, err error) {
	rounds := map[int]round{}
	refused, err := s.Client.Items(ctx, control.KindRound, date(day), func(i control.Item) error {
		var r round
		err := unpack(i.Body, &r)
		rounds[i.Part] = r
		return err
	})
	if err != nil {
		return false, err
	}
	s.refused("of rounds", refused)
	n := len(rounds)
	done := n == 0
	if _, err := s.Client.Items(ctx, control.KindDone, date(day), func(i control.Item) error {
		done = done || i.Part == n
		return nil
	}); err != nil {
		return false, err
	}
	marks, err := s.marks(ctx, day)
	if err != nil {
		return false, err
	}
	if done {
		n++
		next, due := s.next(day, n, rounds, marks, pending(status, marks, day))
		if !due {
			return true, nil
		}
		stored, err := s.put(ctx, control.Item{Kind: control.KindRound, Day: date(day), Part: n, Body: pack(next)})
		if err != nil {
			return false, err
		}
		var r round
		if err := unpack(stored.Body, &r); err != nil {
			return false, err
		}
		rounds[n] = r
	}
	complete, err = c.Freeze(ctx, day, func(ctx context.Context, found func(*report.Report) error) error {
		return s.reports(ctx, day, n, rounds[n], marks, found)
	})
	if err != nil || !complete {
		return false, err
	}
	s.Log.Info("the reports of a day were made", "day", date(day), "round", n, "hosts", len(rounds[n].Hosts), "partial", rounds[n].Partial)
	_, err = s.put(ctx, control.Item{Kind: control.KindDone, Day: date(day), Part: n, Body: pack(struct{}{})})
	return err == nil, err
}

// pending returns the hosts whose counts of a day are missing: those that were seen since the day began, and have not shipped all of it. A host
// that ships no counts at all, because it receives no mail, is not waited for.
func pending(status control.Status, marks map[string][]mark, day time.Time) (all []string) {
	for _, h := range status.Hosts {
		ships := status.Reports == nil || slices.Contains(status.Reports.Hosts, h.Name)
		if !last(marks[h.Name]).Complete && (len(marks[h.Name]) > 0 || ships && !h.Seen.Before(day)) {
			all = append(all, h.Name)
		}
	}
	return all
}

// next returns round n, which has the parts that no round before has. due reports whether it should be made now.
func (s *Site) next(day time.Time, n int, rounds map[int]round, marks map[string][]mark, pending []string) (next round, due bool) {
	next = round{Hosts: map[string]span{}, Partial: len(pending) > 0}
	for host, parts := range marks {
		first := 1
		for _, r := range rounds {
			first = max(first, r.Hosts[host].Last+1)
		}
		m := last(parts)
		if m.part < first {
			continue
		}
		next.Hosts[host] = span{first, m.part}
		next.Lost += m.Lost
		for _, m := range parts {
			next.Late = next.Late || m.Late && m.part >= first
			next.Alone = next.Alone || m.Alone && m.part >= first
		}
	}
	now := s.Now()
	var newest time.Time // part
	for _, parts := range marks {
		if at := last(parts).At; at.After(newest) {
			newest = at
		}
	}
	late := !now.Before(send.FirstInCluster(day.AddDate(0, 0, n-1))) && now.Sub(newest).Abs() >= othersTime
	return next, (len(pending) == 0 || late) && len(next.Hosts) > 0 && n <= maxRounds
}

// reports calls found for the sum of each report in the parts of a round.
func (s *Site) reports(ctx context.Context, day time.Time, n int, r round, marks map[string][]mark, found func(*report.Report) error) error {
	until := map[string]map[int]int64{}
	missing := 0
	for host, parts := range marks {
		until[host] = map[int]int64{}
		for _, m := range parts {
			if span := r.Hosts[host]; m.part >= span.First && m.part <= span.Last {
				until[host][m.part] = m.Until
				missing += m.Reports
			}
		}
	}
	var sum report.Sum
	name := ""
	emit := func() error {
		all := sum.Report()
		sum = report.Sum{}
		if all == nil {
			return nil
		}
		all.Partial, all.Lost, all.Late = r.Partial, r.Lost, r.Late
		all.Part = r.part(n)
		return found(all)
	}
	refused, err := s.Client.Items(ctx, control.KindCount, date(day), func(i control.Item) error {
		at, belongs := until[i.Host][i.Part]
		if !belongs {
			return nil
		}
		var c count
		if err := unpack(i.Body, &c); err != nil || c.Until != at || c.Report == nil {
			return err
		}
		missing--
		if i.Name != name {
			if err := emit(); err != nil {
				return err
			}
			name = i.Name
		}
		sum.Add(c.Report)
		return nil
	})
	if err != nil {
		return err
	}
	s.refused("of counts", refused)
	if missing > 0 {
		s.Log.Warn("counts are missing in the database, the reports lack messages", "day", date(day), "counts", missing)
	}
	return emit()
}
