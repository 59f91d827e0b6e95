package received

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Cost is what p=quarantine or p=reject would do to the mail of a domain: the messages that failed DMARC, by their probable cause. Only verified
// reports of trusted reporters count.
type Cost struct {
	Volume
	Reporters []string  `json:"reporters"` // sorted, at most mostNames
	Days      int       `json:"days"`      // with reports
	Causes    []Failure `json:"causes"`    // one of each Cause, in their order
	PerDay    []CostDay `json:"per_day"`   // days with failed messages, the oldest first; without reports whose range is not one day
}

// Cause is the probable cause why messages fail.
type Cause string

// The causes, by decreasing certainty that the mail is genuine.
const (
	OwnFails   Cause = "own"       // the source is ours
	KnownFails Cause = "known"     // the source is a known one
	Relayed    Cause = "forwarded" // a forwarder or mailing list, by a word of the reporter, ARC, or signatures
	Mixed      Cause = "mixed"     // the source also sends mail that passes
	Unknown    Cause = "unknown"   // no message of the source passes
)

// Causes returns all causes, in their order.
func Causes() []Cause { return []Cause{OwnFails, KnownFails, Relayed, Mixed, Unknown} }

// Failure are the failed messages with one Cause.
type Failure struct {
	Cause     Cause        `json:"cause"`
	Messages  int64        `json:"messages"`
	Sources   int          `json:"sources"`
	Days      int          `json:"days"`
	Last      time.Time    `json:"last,omitzero"`
	Reporters []string     `json:"reporters"`     // sorted, at most mostNames
	Most      []CostSource `json:"most_messages"` // the addresses with most of these messages
}

// CostSource are the failed messages of one address.
type CostSource struct {
	Address  netip.Addr `json:"source_ip"`
	Messages int64      `json:"messages"`
}

// CostDay are the failed messages of a day, in the order of [Causes].
type CostDay struct {
	Day    time.Time `json:"day"`
	Failed []int64   `json:"failed"`
}

// counter counts the messages that a policy would affect.
type counter struct {
	trusted map[string]bool
	cost    Cost
	days    map[int64]bool
	causes  map[Cause]map[int64]bool // their days
	perDay  map[int64][]int64
}

func newCounter(trusted []string) *counter {
	c := &counter{cost: Cost{Reporters: []string{}, PerDay: []CostDay{}}, trusted: map[string]bool{}, days: map[int64]bool{}, causes: map[Cause]map[int64]bool{}, perDay: map[int64][]int64{}}
	for _, name := range trusted {
		c.trusted[name] = true
	}
	for _, cause := range Causes() {
		c.cost.Causes = append(c.cost.Causes, Failure{Cause: cause, Reporters: []string{}, Most: []CostSource{}})
		c.causes[cause] = map[int64]bool{}
	}
	return c
}

// add adds the messages of an address.
func (c *counter) add(address netip.Addr, owner Owner, rows []group) {
	passes := slices.ContainsFunc(rows, func(g group) bool { return c.counts(g) && (g.dkim || g.spf) })
	sum := make([]int64, len(c.cost.Causes))
	for _, g := range rows {
		if !c.counts(g) {
			continue
		}
		c.days[g.day] = true
		c.cost.Messages += g.messages
		addName(&c.cost.Reporters, g.reporter)
		if g.dkim || g.spf {
			c.cost.Passed += g.messages
			continue
		}
		c.cost.Failed += g.messages
		at := slices.Index(Causes(), causeOf(owner, g.relayed, passes))
		sum[at] += g.messages
		of := &c.cost.Causes[at]
		of.Messages += g.messages
		addName(&of.Reporters, g.reporter)
		c.causes[of.Cause][g.day] = true
		if g.charted {
			if c.perDay[g.day] == nil {
				c.perDay[g.day] = make([]int64, len(sum))
			}
			c.perDay[g.day][at] += g.messages
		}
	}
	for at, n := range sum {
		if n > 0 {
			of := &c.cost.Causes[at]
			of.Sources++
			if of.Most = append(of.Most, CostSource{address, n}); len(of.Most) > prune {
				of.Most = mostFailed(of.Most, prune/2)
			}
		}
	}
}

// counts reports whether messages count for advice.
func (c *counter) counts(g group) bool { return g.verified && c.trusted[g.reporter] }

func causeOf(owner Owner, relayed, passes bool) Cause {
	switch {
	case owner == Own:
		return OwnFails
	case owner == Known:
		return KnownFails
	case relayed:
		return Relayed
	case passes:
		return Mixed
	}
	return Unknown
}

// prune is the number of addresses at which a list is cut to half of it.
const prune = 1000

func mostFailed(all []CostSource, most int) []CostSource {
	slices.SortStableFunc(all, func(a, b CostSource) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), a.Address.Compare(b.Address))
	})
	return all[:min(len(all), most)]
}

// result returns the sums, with lists of at most most addresses.
func (c *counter) result(most int) Cost {
	c.cost.Days = len(c.days)
	for i := range c.cost.Causes {
		of := &c.cost.Causes[i]
		of.Most = mostFailed(of.Most, most)
		of.Days = len(c.causes[of.Cause])
		for day := range c.causes[of.Cause] {
			of.Last = later(of.Last, date(day*secondsOfDay))
		}
	}
	for day, failed := range c.perDay {
		c.cost.PerDay = append(c.cost.PerDay, CostDay{date(day * secondsOfDay), failed})
	}
	slices.SortFunc(c.cost.PerDay, func(a, b CostDay) int { return a.Day.Compare(b.Day) })
	return c.cost
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
