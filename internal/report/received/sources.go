package received

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"signpost/internal/report/read"
)

// Site are the networks that this site knows.
type Site struct {
	Own   []netip.Prefix // from which it sends mail
	Known []netip.Prefix // of other systems that send in its name
}

// Owner is who uses a source.
type Owner string

// The owners.
const (
	Own   Owner = "own"
	Known Owner = "known"
	Other Owner = "other"
)

// Owner returns who uses an address.
func (s Site) Owner(a netip.Addr) Owner {
	within := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case slices.ContainsFunc(s.Own, within):
		return Own
	case slices.ContainsFunc(s.Known, within):
		return Known
	}
	return Other
}

// Source is an address from which mail with a From address of the domain came.
type Source struct {
	Address netip.Addr `json:"source_ip"`
	Name    string     `json:"ptr,omitempty"` // the caller sets it
	Owner   Owner      `json:"owner"`
	Volume
	DKIM        int64     `json:"dkim_aligned"` // messages
	SPF         int64     `json:"spf_aligned"`
	First       time.Time `json:"first"` // days
	Last        time.Time `json:"last"`
	Reporters   []string  `json:"reporters"`   // at most mostNames, sorted
	HeaderFroms []string  `json:"header_from"` // at most mostNames, sorted; not those of folded rows
}

// mostNames limits the reporters and From domains of a source, and the reporters of a Cause.
const mostNames = 10

// Sources are the sources of the mail about which a Filter has reports.
type Sources struct {
	Count      int      `json:"sources"`         // the number of addresses
	Failing    int      `json:"failing_sources"` // the number of addresses with failed messages
	Most       []Source `json:"most_messages"`   // the addresses with most messages
	MostFailed []Source `json:"most_failed"`     // the addresses with most failed messages
	Cost       Cost     `json:"cost"`            // of p=quarantine or p=reject
}

// Sources returns the sources of the mail in aggregate reports, with lists of at most most addresses, and what a policy would cost. One pass
// reads all rows, including folded ones.
func (s *Store) Sources(ctx context.Context, f Filter, site Site, most int) (all Sources, err error) {
	trusted, err := s.Trusted(ctx)
	if err != nil {
		return all, err
	}
	cost := newCounter(trusted)
	byMessages := top{all: []Source{}, most: most, of: func(s Source) int64 { return s.Messages }}
	byFailed := top{all: []Source{}, most: most, of: func(s Source) int64 { return s.Failed }}
	err = s.walk(ctx, f, func(address netip.Addr, rows []group) {
		one := Source{Address: address, Owner: site.Owner(address), Reporters: []string{}, HeaderFroms: []string{}}
		for _, g := range rows {
			one.add(g)
		}
		all.Count++
		byMessages.add(one)
		if one.Failed > 0 {
			all.Failing++
			byFailed.add(one)
		}
		cost.add(one.Address, one.Owner, rows)
	})
	all.Most, all.MostFailed, all.Cost = byMessages.list(), byFailed.list(), cost.result(most)
	return all, err
}

// group is a row of an address.
type group struct {
	*heading
	dkim, spf  bool
	relayed    bool // not aligned, and something shows that it was forwarded
	messages   int64
	headerFrom string
}

// heading is what a group needs of its report.
type heading struct {
	reporter string
	verified bool
	day      int64 // since 1970
	charted  bool  // the range of the report is one day
}

// relayed is an SQL expression: whether a row that failed has a sign of a forwarder or mailing list. The reporter says so, or ARC passed, or
// a signature of another domain passed, or the message has a broken signature of the domain, which is the argument. Folded rows have none of
// these.
const relayed = `CASE WHEN s.dkim OR s.spf OR s.detail = '' THEN 0 ELSE
	EXISTS (SELECT 1 FROM json_each(s.detail, '$.reasons') j WHERE j.value ->> 'type' IN ('forwarded', 'trusted_forwarder', 'mailing_list')
		OR j.value ->> 'type' = 'local_policy' AND instr(j.value ->> 'comment', 'arc=pass'))
	OR EXISTS (SELECT 1 FROM json_each(s.detail, '$.signatures') j WHERE j.value ->> 'result' = 'pass'
		OR substr('.' || (j.value ->> 'domain'), -length(r.domain) - 1) = '.' || r.domain) END`

// walk calls each for each address, in the order of the addresses.
func (s *Store) walk(ctx context.Context, f Filter, each func(netip.Addr, []group)) error {
	where, args := f.where(read.Aggregate)
	reports := map[int64]*heading{}
	err := s.each(ctx, func(scan func(...any) error) error {
		var id int64
		var h heading
		err := scan(&id, &h.reporter, &h.verified, &h.day, &h.charted)
		reports[id] = &h
		return err
	}, "SELECT r.id, r.reporter, r.verified, COALESCE(r.day, r.begin_at) / 86400, r.day IS NOT NULL FROM report r WHERE "+where, args...)
	if err != nil {
		return err
	}
	var at netip.Addr
	var groups []group
	var raw sql.RawBytes
	err = s.each(ctx, func(scan func(...any) error) error {
		var g group
		var report, flags int64
		if err := scan(&raw, &report, &flags, &g.messages, &g.headerFrom); err != nil {
			return err
		}
		address, ok := netip.AddrFromSlice(raw)
		if !ok {
			return fmt.Errorf("an address in the database has %d bytes", len(raw))
		}
		if g.heading = reports[report]; g.heading == nil { // added since
			return nil
		}
		g.dkim, g.spf, g.relayed = flags&1 != 0, flags&2 != 0, flags&4 != 0
		if address != at {
			if len(groups) > 0 {
				each(at, groups)
			}
			at, groups = address, groups[:0]
		}
		groups = append(groups, g)
		return nil
	}, "SELECT s.address, s.report, s.dkim + 2 * s.spf + 4 * ("+relayed+"), s.count, s.header_from FROM report r JOIN source s ON s.report = r.id WHERE "+where+" ORDER BY s.address", args...)
	if len(groups) > 0 {
		each(at, groups)
	}
	return err
}

func (one *Source) add(g group) {
	passed := g.dkim || g.spf
	for _, c := range []struct {
		n     *int64
		count bool
	}{{&one.Messages, true}, {&one.Passed, passed}, {&one.Failed, !passed}, {&one.DKIM, g.dkim}, {&one.SPF, g.spf}} {
		if c.count {
			*c.n += g.messages
		}
	}
	day := date(g.day * secondsOfDay)
	if one.First.IsZero() || day.Before(one.First) {
		one.First = day
	}
	if day.After(one.Last) {
		one.Last = day
	}
	addName(&one.Reporters, g.reporter)
	addName(&one.HeaderFroms, g.headerFrom)
}

const secondsOfDay = 24 * 60 * 60

// addName adds a name to a sorted list of at most mostNames.
func addName(all *[]string, name string) {
	if at, found := slices.BinarySearch(*all, name); !found && name != "" && len(*all) < mostNames {
		*all = slices.Insert(*all, at, name)
	}
}

// top collects the sources with the largest numbers.
type top struct {
	most int
	of   func(Source) int64
	all  []Source
}

func (t *top) add(s Source) {
	if t.all = append(t.all, s); len(t.all) > 2*t.most+100 {
		t.list()
	}
}

// list returns the sources, the largest number first.
func (t *top) list() []Source {
	slices.SortStableFunc(t.all, func(a, b Source) int { return cmp.Or(cmp.Compare(t.of(b), t.of(a)), a.Address.Compare(b.Address)) })
	t.all = t.all[:min(len(t.all), t.most)]
	return t.all
}
