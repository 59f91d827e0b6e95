package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// place is where a key is set. Its file is an index into the names of the sources.
type place struct{ file, line int }

// Override is a key that two files set. The later one decides.
type Override struct {
	Key    string
	By, Of string // FILE:LINE of the value that counts, and of the one that does not
}

// merged is several files as one.
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

// add puts a file over those before it. Tables are merged key by key. The entries of [[allow]] and [[deny]] are added to
// the earlier ones, so that each file can hold its own exceptions. Any other value, lists included, replaces the earlier one.
func (m *merged) add(tree map[string]any, places map[string]place) {
	m.table(m.tree, tree, "", "", places)
}

// table merges from into to. prefix is the dotted name of the table, as it is in m and as it is in the file.
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

// isList reports whether key is one of the lists of tables, to which each file adds its own.
func isList(key string) bool { return key == "allow" || key == "deny" }

// sameName returns one spelling of a name of which a table can have several: domains and logins are compared without case.
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

// overridden returns the overrides with the names of their files.
func (m *merged) overridden(sources []source) (all []Override) {
	at := func(p place) string { return fmt.Sprintf("%s:%d", sources[p.file].name, max(p.line, 1)) }
	for _, o := range m.overrides {
		all = append(all, Override{o.key, at(o.by), at(o.of)})
	}
	return all
}
