package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hbollon/go-edlib"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Errors are all errors of a configuration, in the order of its files and lines. There is at least one.
type Errors []error

func (e Errors) Error() string { return errors.Join(e...).Error() }

// Error is an error in a configuration file.
type Error struct {
	File      string
	Line      int
	Key, What string
}

func (e Error) Error() string { return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Key, e.What) }

// Parse reads a configuration that consists of one file. Errors contain name as the name of the file.
func Parse(name string, data []byte) (*Config, error) { return parseAll([]source{{name, data}}) }

// parseAll reads a configuration. It first checks each file separately, so that an error is reported even if a later file overrides the
// key. After merging all files, it checks the rules that concern several keys.
func parseAll(sources []source) (*Config, error) {
	p := &reader{schema: schema()}
	all := newMerged()
	var allow, deny []LocalRule
	var broken Errors
	for i, s := range sources {
		p.names = append(p.names, s.name)
		tree, err := readTree(s.name, s.data)
		if err != nil {
			broken = append(broken, err)
			continue
		}
		one := newMerged()
		p.file, p.places = i, keyPlaces(i, s.data)
		one.add(tree, p.places)
		maps.Copy(p.places, one.places)
		p.start()
		p.table("", one.tree)
		p.publishDomains(p.overrides)
		for _, o := range one.overrides {
			p.fault(o.key, "is set twice")
		}
		allow, deny = append(allow, p.config.Allow...), append(deny, p.config.Deny...)
		all.add(one.tree, one.places)
	}
	if len(broken) > 0 {
		return nil, append(broken, p.faults()...)
	}
	p.places = all.places
	p.start()
	p.config.Allow, p.config.Deny = allow, deny
	rest := maps.Clone(all.tree)
	maps.DeleteFunc(rest, func(key string, _ any) bool { return isList(key) })
	p.table("", rest)
	p.publishDomains(p.overrides)
	p.together()
	if faults := p.faults(); len(faults) > 0 {
		return nil, faults
	}
	c := p.config
	c.Files, c.Overrides, c.tree, c.places = p.names, all.overridden(sources), all.tree, all.places
	return c, nil
}

// readTree parses a file. It returns an error if it is not UTF-8 text or not valid TOML.
func readTree(name string, data []byte) (map[string]any, error) {
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, fmt.Errorf("%s: is not a text file in UTF-8", name)
	}
	tree := map[string]any{}
	if err := toml.Unmarshal(data, &tree); err != nil {
		var d *toml.DecodeError
		if !errors.As(err, &d) {
			return nil, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "toml: "))
		}
		row, _ := d.Position()
		return nil, Error{name, row, "syntax error", strings.TrimPrefix(d.Error(), "toml: ")}
	}
	return tree, nil
}

// faults returns the errors in the order of the files and lines.
func (p *reader) faults() Errors {
	slices.SortStableFunc(p.found, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.at.file, b.at.file), cmp.Compare(a.at.line, b.at.line))
	})
	var all Errors
	for _, f := range p.found {
		all = append(all, Error{p.names[f.at.file], f.at.line, f.key, f.what})
	}
	return all
}

type fault struct {
	at        place
	key, what string
}

// reader fills a Config from a parsed tree.
type reader struct {
	names  []string // the names of the files
	file   int      // the index of the current file
	config *Config
	places map[string]place // dotted key -> where it is set
	schema map[string]setter
	found  []fault
	given  map[string]bool
	// overrides is [publish.domain]. It is read last, because it inherits from [publish].
	overrides map[string]any
}

// start prepares for another tree. It keeps the errors.
func (p *reader) start() {
	p.config, p.given, p.overrides = Default(), map[string]bool{}, nil
}

// fault adds an error. The place of the error is the place of its key or, if the key is not set, of the table that should have the key. An
// error that was found in a file is not added again after merging.
func (p *reader) fault(key, what string) {
	at := p.places[key]
	for k := key; at.line == 0 && k != ""; at = p.places[k] {
		k = k[:max(0, strings.LastIndexAny(k, ".["))]
	}
	if at.line == 0 {
		at = place{p.file, 1}
	}
	if f := (fault{at, key, what}); !slices.Contains(p.found, f) {
		p.found = append(p.found, f)
	}
}

func (p *reader) table(prefix string, tree map[string]any) {
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		key, v := prefix+k, tree[k]
		set, known := p.schema[key]
		sub, isTable := v.(map[string]any)
		switch {
		case known:
			if err := set(p.config, v); err != nil {
				p.fault(key, err.Error())
			} else {
				p.given[key] = true
			}
		case key == "allow":
			p.config.Allow = p.localRules(key, v)
		case key == "deny":
			p.config.Deny = p.localRules(key, v)
		case isTable && key == "publish.domain":
			p.overrides = sub
		case isTable && key == "dmarc.domain":
			p.dmarcDomains(sub)
		case p.isTable(key) && isTable:
			p.table(key+".", sub)
		case p.isTable(key):
			p.fault(key, "must be a table: write ["+key+"] on a line of its own and its keys below")
		default:
			p.unknown(key, isTable)
		}
	}
}

func (p *reader) isTable(key string) bool {
	for k := range p.schema {
		if strings.HasPrefix(k, key+".") {
			return true
		}
	}
	return key == "publish.domain" || key == "dmarc.domain"
}

// unknown adds the error for an unknown key. It suggests the table of a known key with this name, or the most similar key.
func (p *reader) unknown(key string, isTable bool) {
	what := "unknown key"
	if isTable {
		what = "unknown table"
	}
	last := key[strings.LastIndexByte(key, '.')+1:]
	best, bestDistance := "", 3
	for _, known := range slices.Sorted(maps.Keys(p.schema)) {
		table, name := "", known
		if i := strings.LastIndexByte(known, '.'); i >= 0 {
			table, name = known[:i], known[i+1:]
		}
		if name == last && known != key {
			if table == "" {
				p.fault(key, what+"; "+name+" belongs at the top, before the first [table]")
			} else {
				p.fault(key, what+"; "+name+" belongs in ["+table+"]")
			}
			return
		}
		if d := edlib.LevenshteinDistance(key, known); d < bestDistance {
			best, bestDistance = known, d
		}
	}
	if best != "" {
		what += "; did you mean " + best + "?"
	}
	p.fault(key, what)
}

// keyPlaces returns the place of each key of a file that is valid TOML.
func keyPlaces(file int, data []byte) map[string]place {
	places := map[string]place{}
	for key, line := range keyLines(data) {
		places[key] = place{file, line}
	}
	return places
}

func keyLines(data []byte) map[string]int {
	lines := map[string]int{}
	p := &unstable.Parser{}
	p.Reset(data)
	prefix := ""
	entries := map[string]int{} // of each [[list]]
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			prefix = note(p, lines, "", e) + "."
		case unstable.ArrayTable:
			key, line := name(p, e)
			entries[key]++
			entry := fmt.Sprintf("%s[%d]", key, entries[key])
			lines[entry], prefix = line, entry+"."
		case unstable.KeyValue:
			keyValue(p, lines, prefix, e)
		}
	}
	return lines
}

func keyValue(p *unstable.Parser, lines map[string]int, prefix string, e *unstable.Node) {
	key := note(p, lines, prefix, e)
	if v := e.Value(); v.Kind == unstable.InlineTable {
		for it := v.Children(); it.Next(); {
			keyValue(p, lines, key+".", it.Node())
		}
	}
}

func note(p *unstable.Parser, lines map[string]int, prefix string, e *unstable.Node) string {
	key, line := name(p, e)
	key = prefix + key
	if lines[key] == 0 {
		lines[key] = line
	}
	return key
}

func name(p *unstable.Parser, e *unstable.Node) (key string, line int) {
	var parts []string
	for it := e.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
		line = p.Shape(it.Node().Raw).Start.Line
	}
	return strings.Join(parts, "."), line
}
