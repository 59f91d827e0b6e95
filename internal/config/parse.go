package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Errors are all that is wrong with a file, in the order of its lines.
type Errors []error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Parse reads a configuration. name stands in the errors.
func Parse(name string, data []byte) (*Config, error) {
	tree, err := readTree(name, data)
	if err != nil {
		return nil, err
	}
	p := &reader{name: name, config: Default(), lines: keyLines(data), schema: schema()}
	p.table("", tree)
	p.publishDomains(p.overrides)
	p.together()
	if err := p.errors(); err != nil {
		return nil, err
	}
	slices.Sort(p.config.notYet)
	return p.config, nil
}

// readTree reads what every file of ours has to be.
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
		return nil, fmt.Errorf("%s:%d: syntax error: %s", name, row, strings.TrimPrefix(d.Error(), "toml: "))
	}
	return tree, nil
}

// errors are the faults in the order of their lines, or nil.
func (p *reader) errors() error {
	if len(p.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(p.faults, func(a, b fault) int { return a.line - b.line })
	all := make(Errors, len(p.faults))
	for i, f := range p.faults {
		all[i] = fmt.Errorf("%s:%d: %s: %s", p.name, f.line, f.key, f.what)
	}
	return all
}

type fault struct {
	line      int
	key, what string
}

// reader fills a Config from the parsed tree.
type reader struct {
	name   string
	config *Config
	lines  map[string]int // dotted key -> line
	schema map[string]setter
	faults []fault
	given  map[string]bool
	// overrides is [publish.domain], read last: what it does not say is as in [publish].
	overrides map[string]any
}

func (p *reader) fault(key, what string) {
	line := p.lines[key]
	for k := key; line == 0 && k != ""; line = p.lines[k] {
		k = k[:max(0, strings.LastIndexByte(k, '.'))]
	}
	p.faults = append(p.faults, fault{max(line, 1), key, what})
}

func (p *reader) table(prefix string, tree map[string]any) {
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		key, v := prefix+k, tree[k]
		set, known := p.schema[key]
		sub, isTable := v.(map[string]any)
		switch {
		case known:
			p.set(key, set, v)
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
			p.fault(key, "is a table; write ["+key+"] on a line of its own and its keys below")
		default:
			p.unknown(key, isTable)
		}
	}
}

func (p *reader) set(key string, set setter, v any) {
	if err := set.set(p.config, v); err != nil {
		p.fault(key, err.Error())
		return
	}
	if p.given == nil {
		p.given = map[string]bool{}
	}
	p.given[key] = true
	if set.notYet {
		p.config.notYet = append(p.config.notYet, key)
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

// unknown helps to find what was meant: a key in the wrong table, or a slip.
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
				p.fault(key, what+"; "+name+" stands at the top, before the first [table]")
			} else {
				p.fault(key, what+"; "+name+" belongs in ["+table+"]")
			}
			return
		}
		if d := distance(key, known); d < bestDistance {
			best, bestDistance = known, d
		}
	}
	if best != "" {
		what += "; did you mean " + best + "?"
	}
	p.fault(key, what)
}

// distance is the number of letters to change, add or take away (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// keyLines finds the line of each key. The data is known to parse.
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
