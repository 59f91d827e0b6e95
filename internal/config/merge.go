package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// place is the file and line that set a key. The field file is an index into the names of the sources.
type place struct{ file, line int }

// Override is a key that two files set. The value in the later file is effective.
type Override struct {
	Key    string
	By, Of string // FILE:LINE of the effective value, and FILE:LINE of the overridden value
}

// merged is the result of merging files.
type merged struct {
	tree      map[string]any
	places    map[string]place
	overrides []override
}

type override struct {
	key    string
	by, of place
}

func newMerged() *merged {
	return &merged{tree: map[string]any{}, places: map[string]place{}}
}

// add merges a file over the earlier ones. Tables are merged key by key. The entries of [[allow]] and [[deny]] are added to the earlier
// ones, so that each file can have its own exceptions. Any other value, including a list, replaces the earlier one.
func (m *merged) add(tree map[string]any, places map[string]place) {
	m.table(m.tree, tree, "", "", places)
}

// table merges one table into another. The parameter from is the source, and to is the destination. The parameter prefix is the dotted name
// of the table in m, and written is its name in the file.
func (m *merged) table(to, from map[string]any, prefix, written string, places map[string]place) {
	for _, k := range slices.Sorted(maps.Keys(from)) {
		name := sameName(prefix, k)
		key, v := prefix+name, from[k]
		at := places[written+k]
		earlier, again := to[name]
		below, isTable := earlier.(map[string]any)
		table, toTable := v.(map[string]any)
		if again && !isList(key) && !(isTable && toTable) {
			m.overrides = append(m.overrides, override{key, at, m.places[key]})
		}
		if at.line != 0 {
			m.places[key] = at
		}
		switch {
		case toTable:
			if !isTable {
				below = map[string]any{}
				to[name] = below
			}
			m.table(below, table, key+".", written+k+".", places)
		case isList(key):
			list, _ := earlier.([]any)
			more, _ := v.([]any)
			to[name] = slices.Concat(list, more)
		default:
			to[name] = v
		}
	}
}

// isList reports whether key is a list of tables to which each file adds entries.
func isList(key string) bool { return key == "allow" || key == "deny" }

// sameName returns the canonical spelling of a name below prefix. It ignores case in domains and logins.
func sameName(prefix, name string) string {
	switch prefix {
	case "publish.domain.", "dmarc.domain.":
		if d, err := domainName(name); err == nil {
			return d
		}
	case "sign.login_domains.":
		return strings.ToLower(name)
	}
	return name
}

// overridden returns the overrides, with the names of the files.
func (m *merged) overridden(sources []source) (all []Override) {
	at := func(p place) string { return fmt.Sprintf("%s:%d", sources[p.file].name, max(p.line, 1)) }
	for _, o := range m.overrides {
		all = append(all, Override{o.key, at(o.by), at(o.of)})
	}
	return all
}
