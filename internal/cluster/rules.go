package cluster

import (
	"cmp"
	"maps"
	"slices"
)

// MergeRules merges the rules of this host with those of the database, rule by rule. A map has the text of each rule that exists. The parameter
// base has the rules as they were after the last merge. If local is nil, the file is missing or empty, and is restored: a host never
// deletes all rules because it lost its file. The conflicts are the rules that this host and another host changed differently. For them, the
// database wins.
func MergeRules(base, local, database map[RuleID]string) (merged map[RuleID]string, conflicts []RuleID) {
	if local == nil {
		local = base
	}
	merged = map[RuleID]string{}
	all := maps.Clone(database)
	if all == nil {
		all = map[RuleID]string{}
	}
	maps.Copy(all, local)
	for id := range all {
		before, text, there := base[id], local[id], database[id]
		switch {
		case text == there || there == before:
		case text == before:
			text = there
		default:
			conflicts = append(conflicts, id)
			text = there
		}
		if text != "" {
			merged[id] = text
		}
	}
	slices.SortFunc(conflicts, func(a, b RuleID) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return merged, conflicts
}
