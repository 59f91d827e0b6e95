package allowlist

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go4.org/netipx"

	"signpost/internal/spfset"
)

// list is an allow list: the addresses of all domains.
type list struct {
	domains []listed
	set     *netipx.IPSet
}

// listed is the part of the list for one domain.
type listed struct {
	domain string
	set    *netipx.IPSet
	notes  []string
}

func newList(domains []listed) list {
	var all netipx.IPSetBuilder
	for _, d := range domains {
		all.AddSet(d.set)
	}
	set, _ := all.IPSet() // the only error is an invalid network
	return list{domains, set}
}

// origins returns the domains of each network of the list, separated by commas.
func (l list) origins() map[netip.Prefix]string {
	networks, all := l.set.Prefixes(), map[netip.Prefix]string{}
	for _, d := range l.domains {
		at := 0 // the networks of the list and of the domain are sorted
		for _, r := range d.set.Ranges() {
			for at < len(networks) && netipx.PrefixLastIP(networks[at]).Less(r.From()) {
				at++
			}
			for ; at < len(networks) && !r.To().Less(networks[at].Addr()); at++ {
				all[networks[at]] += ", " + d.domain
			}
		}
	}
	for p, names := range all {
		all[p] = strings.TrimPrefix(names, ", ")
	}
	return all
}

// block is a sequence of networks of the same domains that were listed on the same day.
type block struct {
	from, since string
	networks    []netip.Prefix
}

// blocks divides the list into blocks. since has the day on which each network was listed. Networks that are not in since are listed from
// today on.
func (l list) blocks(since map[netip.Prefix]string, now time.Time) (four, six []block, days map[netip.Prefix]string) {
	days = map[netip.Prefix]string{}
	origins := l.origins()
	for _, p := range l.set.Prefixes() {
		days[p] = cmp.Or(since[p], now.UTC().Format(time.DateOnly))
		to := &four
		if p.Addr().Is6() {
			to = &six
		}
		from := origins[p]
		if n := len(*to); n > 0 && (*to)[n-1].from == from && (*to)[n-1].since == days[p] {
			(*to)[n-1].networks = append((*to)[n-1].networks, p)
			continue
		}
		*to = append(*to, block{from, days[p], []netip.Prefix{p}})
	}
	return four, six, days
}

// changes returns a line for each network that is in only one of two lists: "+ 203.0.114.0/24  example.org".
func changes(before, after list) (lines []string, more, fewer int) {
	old, new := before.set.Prefixes(), after.set.Prefixes()
	was, is := before.origins(), after.origins()
	all := slices.Concat(old, new)
	slices.SortFunc(all, netip.Prefix.Compare)
	for _, p := range slices.Compact(all) {
		switch listed, stays := slices.Contains(old, p), slices.Contains(new, p); {
		case listed && !stays:
			fewer++
			lines = append(lines, strings.TrimRight("- "+p.String()+"  "+was[p], " "))
		case stays && !listed:
			more++
			lines = append(lines, "+ "+p.String()+"  "+is[p])
		}
	}
	return lines, more, fewer
}

// networksIn returns the networks of a list in any format.
func networksIn(text string) *netipx.IPSet {
	var all []netip.Prefix
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for word := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune(" \t\n,{}", r) }) {
			if p, err := netip.ParsePrefix(word); err == nil {
				all = append(all, p)
			}
		}
	}
	return spfset.Of(all...)
}

// size returns the number of addresses of each family.
func size(set *netipx.IPSet) (four, six float64) {
	for _, p := range set.Prefixes() {
		if n := math.Exp2(float64(p.Addr().BitLen() - p.Bits())); p.Addr().Is4() {
			four += n
		} else {
			six += n
		}
	}
	return four, six
}
