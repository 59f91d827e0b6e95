package config

import (
	"maps"
	"reflect"
	"slices"
)

// KeyNames returns all keys that a file may have. A table with arbitrary names counts as one key.
func KeyNames() []string {
	return slices.Sorted(slices.Values(slices.AppendSeq([]string{"allow", "deny", "dmarc.domain", "publish.domain"}, maps.Keys(schema()))))
}

// Changed returns the keys whose values differ between two configurations. It returns the names that the keys have in a file. A key that is
// set to its default counts as not set.
func Changed(before, after *Config) []string {
	old, new := before.given(), after.given()
	known := schema()
	var changed []string
	for _, key := range KeyNames() {
		a, b := old[key], new[key]
		if !reflect.DeepEqual(a, b) && (known[key] == nil || !reflect.DeepEqual(alone(known[key], a), alone(known[key], b))) {
			changed = append(changed, key)
		}
	}
	return changed
}

// alone returns the default configuration with one difference: this key is set.
func alone(key setter, v any) *Config {
	c := Default()
	if v == nil || key(c, v) != nil {
		return Default()
	}
	return c
}

// given returns a map from each key that the files set to its value.
func (c *Config) given() map[string]any {
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
	table("", c.tree)
	return all
}
