package main

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/ranges"
)

// list is what is listed: networks of all domains, the fewest that hold the same addresses.
type list struct {
	domains []listed
	set     ranges.Set
}

// listed is a domain's part of the list.
type listed struct {
	domain string
	set    ranges.Set
	notes  []string
}

func newList(domains []listed) list {
	var sets []ranges.Set
	for _, d := range domains {
		sets = append(sets, d.set)
	}
	return list{domains, ranges.Union(sets...)}
}

// from names the domains that a network came from.
func (l list) from(p netip.Prefix) string {
	var names []string
	for _, d := range l.domains {
		if d.set.Overlaps(p) {
			names = append(names, d.domain)
		}
	}
	return strings.Join(names, ", ")
}

// block is networks that came from the same domains, on the same day, and stand behind each other.
type block struct {
	from, since string
	networks    []netip.Prefix
}

// blocks part the list. since has the days on which networks came into the list that is there; what is new came today.
func (l list) blocks(since map[netip.Prefix]string, now time.Time) (four, six []block, days map[netip.Prefix]string) {
	days = map[netip.Prefix]string{}
	for _, p := range l.set.Networks() {
		days[p] = cmp.Or(since[p], now.UTC().Format(time.DateOnly))
		to := &four
		if p.Addr().Is6() {
			to = &six
		}
		from := l.from(p)
		if n := len(*to); n > 0 && (*to)[n-1].from == from && (*to)[n-1].since == days[p] {
			(*to)[n-1].networks = append((*to)[n-1].networks, p)
			continue
		}
		*to = append(*to, block{from, days[p], []netip.Prefix{p}})
	}
	return four, six, days
}

// changes are the networks that only one of two lists has, a line each: "+ 203.0.114.0/24  example.org".
func changes(before list, after list) (lines []string, more, fewer int) {
	old, new := before.set.Networks(), after.set.Networks()
	all := slices.Concat(old, new)
	slices.SortFunc(all, netip.Prefix.Compare)
	for _, p := range slices.Compact(all) {
		switch was, is := slices.Contains(old, p), slices.Contains(new, p); {
		case was && !is:
			fewer++
			lines = append(lines, strings.TrimRight("- "+p.String()+"  "+before.from(p), " "))
		case is && !was:
			more++
			lines = append(lines, "+ "+p.String()+"  "+after.from(p))
		}
	}
	return lines, more, fewer
}

// networksIn reads the networks of a list in any of the formats.
func networksIn(text string) ranges.Set {
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
	return ranges.Of(all...)
}
