package report

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/policy"
)

// Options configure Collect.
type Options struct {
	// Own reports whether a message is only for our own report addresses. Such a message never causes a report by itself. nil: no message.
	Own func(*journal.Entry) bool
	// Only messages of the day with numbers greater than After, and not greater than Until, are read. 0: no limit.
	After, Until int64
	// Empty states that reports without rows are found, too. They count temporary errors.
	Empty bool
}

const (
	// memory is the maximum size of the groups in memory, in bytes. It is several times maxBytes.
	memory = 64 << 20
	// maxRecords is the number of parsed DMARC records that are cached.
	maxRecords = 2000
)

// Day returns the first second of the UTC day that contains t.
func Day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// Collect makes the reports of a UTC day and calls found for each. If found returns an error, Collect ends and returns it. The order of the
// reports is arbitrary but the same for each call. Collect reads the journal once, or several times if the reports do not fit into memory
// at the same time. found may use the Reader.
func Collect(ctx context.Context, r *journal.Reader, day time.Time, o Options, found func(*Report) error) error {
	return collect(ctx, r, Day(day), o, memory, found)
}

func collect(ctx context.Context, r *journal.Reader, day time.Time, o Options, memory int, found func(*Report) error) error {
	lost, err := r.Lost(ctx, day)
	if err != nil {
		return err
	}
	oldest, _, err := r.Covers(ctx)
	if err != nil {
		return err
	}
	all := journal.Filter{Since: day, Before: day.AddDate(0, 0, 1), After: o.After}
	if o.Until > 0 {
		all.Before = time.UnixMicro(min(o.Until+1, all.Before.UnixMicro()))
	}
	c := &collector{own: o.Own, memory: memory}
	for {
		c.begin()
		if err := r.Each(ctx, all, func(e *journal.Entry) bool { c.add(ctx, e); return true }); err != nil {
			return err
		}
		for _, hash := range slices.Sorted(maps.Keys(c.groups)) {
			g := c.groups[hash]
			if len(g.rows) == 0 && !(o.Empty && g.temp > 0) {
				continue
			}
			optional, err := g.optional(ctx, r)
			if err != nil {
				return err
			}
			report := g.report(day, optional)
			report.Lost, report.Late = int(lost), oldest.After(day)
			if err := found(report); err != nil {
				return err
			}
			delete(c.groups, hash)
		}
		if c.last == math.MaxUint64 {
			return nil
		}
	}
}

// collector groups messages. One pass over the journal collects the groups whose hashes range from first to last. If they do not fit
// into memory, the pass drops the upper half of them, and the next pass begins there.
type collector struct {
	own         func(*journal.Entry) bool
	memory      int
	first, last uint64
	passes      int
	groups      map[uint64]*group
	bytes       int
	records     map[string]*dmarc.Record
}

// begin starts the next pass.
func (c *collector) begin() {
	if c.passes > 0 {
		c.first = c.last + 1
	}
	c.passes++
	c.last, c.groups, c.bytes, c.records = math.MaxUint64, map[uint64]*group{}, 0, map[string]*dmarc.Record{}
}

func (c *collector) add(ctx context.Context, e *journal.Entry) {
	if !reported(e) {
		return
	}
	for _, d := range e.DMARC {
		if d.Status != dmarc.Pass && d.Status != dmarc.Fail && d.Status != dmarc.TempError || !valid(d.PolicyDomain) || !valid(d.Domain) {
			continue
		}
		record := c.record(d.Record)
		if record == nil {
			continue
		}
		p := newPolicy(d.PolicyDomain, record)
		hash := p.hash()
		if hash < c.first || hash > c.last {
			continue
		}
		g := c.groups[hash]
		if g == nil {
			g = newGroup(p, hash)
			c.groups[hash] = g
			c.bytes += g.bytes
		}
		if g.policy != p {
			continue // two policies with one hash do not occur by chance
		}
		if d.Status == dmarc.TempError {
			g.temp++
			continue
		}
		c.bytes -= g.bytes
		g.add(newRow(ctx, e, d, record), c.own != nil && c.own(e))
		c.bytes += g.bytes
	}
	for c.bytes > c.memory && len(c.groups) > 1 {
		c.dropHalf()
	}
}

// record returns a parsed DMARC record, or nil if it is not one.
func (c *collector) record(text string) *dmarc.Record {
	r, known := c.records[text]
	if !known {
		if len(c.records) == maxRecords {
			clear(c.records)
		}
		if r, known = dmarc.ParseRecord(text); !known || r.Broken {
			r = nil
		}
		c.records[text] = r
	}
	return r
}

// dropHalf leaves the upper half of the groups to the next pass.
func (c *collector) dropHalf() {
	all := slices.Sorted(maps.Keys(c.groups))
	upper := all[len(all)/2:]
	c.last = upper[0] - 1
	for _, hash := range upper {
		c.bytes -= c.groups[hash].bytes
		delete(c.groups, hash)
	}
}

// optional reports whether each row is optional: no message but refused mail and mail to our own addresses, and the journal has no message of
// the refused domains that passed. Without this rule, a forger could have reports sent to any domain that was never in contact with us.
func (g *group) optional(ctx context.Context, r *journal.Reader) (bool, error) {
	if g.required {
		return false, nil
	}
	passed := func(o journal.Outcome) bool {
		return o.Role == string(policy.RoleVerify) && o.DMARC == string(dmarc.Pass)
	}
	for name := range g.refused {
		ids, err := r.IDs(ctx, journal.Filter{Domain: name, Outcome: passed}, 1, false)
		if err != nil || len(ids) > 0 {
			return false, err
		}
	}
	return true, nil
}
