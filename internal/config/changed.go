package config

import (
	"maps"
	"reflect"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// KeyNames are all keys that a file may have, and the tables of many names as one key each.
func KeyNames() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(schema())), manyNames()...)))
}

// manyNames are the tables whose names or number the operator chooses.
func manyNames() []string { return []string{"allow", "deny", "dmarc.domain", "publish.domain"} }

// Changed names the keys by which two files that Parse takes differ in what they say. A default that is written down is
// no change.
func Changed(before, after []byte) []string {
	old, new := given(before), given(after)
	known := schema()
	var changed []string
	for _, key := range KeyNames() {
		a, b := old[key], new[key]
		if !reflect.DeepEqual(a, b) && (known[key].set == nil || !reflect.DeepEqual(alone(known[key], a), alone(known[key], b))) {
			changed = append(changed, key)
		}
	}
	return changed
}

// alone is a configuration of this one key.
func alone(key setter, v any) *Config {
	c := Default()
	if v == nil || key.set(c, v) != nil {
		return Default()
	}
	return c
}

// given is what stands in a file, by key.
func given(data []byte) map[string]any {
	tree := map[string]any{}
	if toml.Unmarshal(data, &tree) != nil {
		return nil // Parse has said it
	}
	keys, all := KeyNames(), map[string]any{}
	var table func(prefix string, tree map[string]any)
	table = func(prefix string, tree map[string]any) {
		for k, v := range tree {
			if slices.Contains(keys, prefix+k) {
				all[prefix+k] = v
			} else if sub, ok := v.(map[string]any); ok {
				table(prefix+k+".", sub)
			}
		}
	}
	table("", tree)
	return all
}
