package rspamd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
)

// config is the section dkim_signing of rspamd's configuration.
type config struct {
	Path           text             `json:"path"`
	Selector       text             `json:"selector"`
	Domain         map[string]block `json:"domain"`
	SelectorMap    json.RawMessage  `json:"selector_map"`
	PathMap        json.RawMessage  `json:"path_map"`
	TryFallback    *bool            `json:"try_fallback"`
	UseRedis       bool             `json:"use_redis"`
	KeyPrefix      text             `json:"key_prefix"`
	SelectorPrefix text             `json:"selector_prefix"`
	UseVault       bool             `json:"use_vault"`
	SigningTable   json.RawMessage  `json:"signing_table"`

	file             string
	selectors, paths map[string]entry
}

// block is the configuration of a domain.
type block struct {
	pair
	Selectors []pair `json:"selectors"`
}

type pair struct {
	Selector text `json:"selector"`
	Path     text `json:"path"`
}

// configured is a key with which rspamd signs. Its path may contain variables.
type configured struct{ selector, path, place string }

// text is a string or a number: rspamd's parser reads the selector 2024 as a number.
type text string

// UnmarshalJSON accepts a string or a number.
func (t *text) UnmarshalJSON(data []byte) error {
	var n json.Number
	if json.Unmarshal(data, &n) == nil && !bytes.HasPrefix(data, []byte(`"`)) {
		*t = text(n)
		return nil
	}
	return json.Unmarshal(data, (*string)(t))
}

// or returns t, or another text if t is empty.
func (t text) or(other string) string {
	if t == "" {
		return other
	}
	return string(t)
}

// entry is an entry of a map. The place is for messages.
type entry struct{ value, place string }

// maxConfig is the maximum size of the configuration, and of a map, in bytes.
const maxConfig = 16 << 20

func readConfig(path string) (*config, error) {
	data, err := readFile(path, maxConfig)
	if err != nil {
		return nil, err
	}
	c := &config{file: path}
	err = json.Unmarshal(data, c)
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, &kind) && kind.Field != "":
		return nil, fmt.Errorf("%s: the value of %s has a form that dkimkey cannot read\nhint: import each key: dkimkey import KEYFILE --domain DOMAIN --selector SELECTOR", path, kind.Field)
	}
	return nil, fmt.Errorf("%s: the file is not the output of rspamadm\nhint: write it with rspamadm configdump --json dkim_signing >FILE", path)
}

// checkFiles returns an error if the keys are elsewhere than in the files that the caller passed to Read.
func (c *config) checkFiles(keysFile, selectorsFile string) error {
	prefix, want := c.KeyPrefix.or("dkim_keys"), "--redis-keys FILE"
	commands := fmt.Sprintf("redis-cli --json HGETALL %s >FILE", prefix)
	if c.SelectorPrefix != "" {
		want += " and --redis-selectors FILE"
		commands += fmt.Sprintf(" and redis-cli --json HGETALL %s >FILE", c.SelectorPrefix)
	}
	switch {
	case len(c.SigningTable) > 0:
		return fmt.Errorf("%s: rspamd signs with signing_table and key_table, which have the form of OpenDKIM's tables\nhint: dkimkey import opendkim KEYTABLE SIGNINGTABLE", c.file)
	case c.UseVault:
		return fmt.Errorf("%s: the keys are in Vault (use_vault)\nhint: write each key to a file, and run dkimkey import KEYFILE --domain DOMAIN --selector SELECTOR", c.file)
	case !c.UseRedis && keysFile+selectorsFile != "":
		return fmt.Errorf("%s: the keys are in files: use_redis is not set\nhint: omit --redis-keys and --redis-selectors", c.file)
	case c.UseRedis && c.SelectorPrefix == "" && selectorsFile != "":
		return fmt.Errorf("%s: the configuration has no selector_prefix\nhint: omit --redis-selectors", c.file)
	case c.UseRedis && (keysFile == "" || c.SelectorPrefix != "" && selectorsFile == ""):
		return fmt.Errorf("%s: the keys are in Redis: %s needed\nhint: run %s", c.file, want, commands)
	}
	return nil
}

// fallback reports whether rspamd also signs for domains that the configuration does not name.
func (c *config) fallback() bool { return c.TryFallback == nil || *c.TryFallback }

// defaultPath returns the path of rspamd's keys in the packages of the operating system.
func defaultPath() string {
	if runtime.GOOS == "freebsd" {
		return "/var/db/rspamd/dkim/$domain.$selector.key"
	}
	return "/var/lib/rspamd/dkim/$domain.$selector.key"
}

// keysOf returns the keys with which rspamd signs for a domain that the configuration names. As in rspamd, the selector and the path of a
// domain block come before those of the maps, and the defaults come last.
func (c *config) keysOf(name string) []configured {
	selector, path := c.selectors[name], c.paths[name]
	place := selector.place
	if place == "" {
		place = path.place
	}
	b, isBlock := c.Domain[name]
	if isBlock {
		place = fmt.Sprintf("%s: domain %q", c.file, name)
	}
	pairs := b.Selectors
	if b.Selector+b.Path != "" || len(pairs) == 0 {
		pairs = append([]pair{b.pair}, pairs...)
	}
	var all []configured
	for _, p := range pairs {
		all = append(all, configured{
			selector: p.Selector.or(text(selector.value).or(c.Selector.or("dkim"))),
			path:     p.Path.or(text(path.value).or(c.Path.or(defaultPath()))),
			place:    place,
		})
	}
	return all
}

// domains returns the domains that the configuration names, in alphabetical order.
func (c *config) domains() []string {
	all := slices.Concat(slices.Collect(maps.Keys(c.Domain)), slices.Collect(maps.Keys(c.selectors)), slices.Collect(maps.Keys(c.paths)))
	slices.Sort(all)
	return slices.Compact(all)
}

// names reports whether the configuration names a domain.
func (c *config) names(domain string) bool {
	_, isBlock := c.Domain[domain]
	return isBlock || c.selectors[domain].place != "" || c.paths[domain].place != ""
}

// readMap reads a map of rspamd from its file. Each line has a domain and a value; # starts a comment.
func (c *config) readMap(name string, source json.RawMessage) (map[string]entry, error) {
	if len(source) == 0 {
		return nil, nil
	}
	var path string
	err := json.Unmarshal(source, &path)
	path = strings.TrimPrefix(path, "file://")
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%[1]s: %[2]s is not the path of a file\nhint: write the map to a file, and change %[2]s in %[1]s to the path of this file", c.file, name)
	}
	data, err := readFile(path, maxConfig)
	if err != nil {
		return nil, err
	}
	all, n := map[string]entry{}, 0
	for line := range strings.Lines(string(data)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 2:
			domain := strings.ToLower(strings.Trim(words[0], `"`))
			all[domain] = entry{strings.Trim(words[1], `"`), fmt.Sprintf("%s:%d: %q", path, n, domain)}
		case len(words) > 0:
			return nil, fmt.Errorf("%s:%d: the line does not have the form \"DOMAIN VALUE\"", path, n)
		}
	}
	return all, nil
}
