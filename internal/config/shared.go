package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"signpost/internal/durable"
)

// Shared are the rules that the hosts of a cluster share: the contents of STATE_DIR/cluster/rules.toml.
type Shared struct {
	Forwarders  []Forwarder
	Allow, Deny []LocalRule
	Entries     []SharedEntry // the same rules as text, in the order of the file
}

// SharedEntry is one entry of a file of shared rules.
type SharedEntry struct {
	Kind string // "forwarder", "allow" or "deny"
	Name string // what the entry matches: unique for its kind, at most maxSharedName bytes
	Text string // TOML: the comments above the entry, its [[kind]] and its keys
}

// Equal reports whether two files have the same rules.
func (s Shared) Equal(other Shared) bool {
	return slices.Equal(s.Forwarders, other.Forwarders) && slices.Equal(s.Allow, other.Allow) && slices.Equal(s.Deny, other.Deny)
}

// maxSharedName is the maximum length of the name of an entry in bytes. It is the size of the column in the database.
const maxSharedName = 255

// sharedHeader is the beginning of a file of shared rules.
const sharedHeader = `# Rules that all hosts of the cluster share: [[forwarder]], [[allow]] and [[deny]], as in signpost.toml(5). You can edit this file on any
# host. signpost cluster run copies each change to the other hosts within seconds.
`

// ReadShared reads the shared rules into c.Shared if this host belongs to a cluster. If the file does not exist, there are no rules.
func (c *Config) ReadShared() error {
	c.Shared = Shared{}
	if !c.Clustered() {
		return nil
	}
	data, err := readFile(c.SharedFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c.Shared, err = ParseShared(c.SharedFile(), data)
	return err
}

// LoadShared returns the bytes of a file of shared rules and its rules. Its error is fs.ErrNotExist if the file does not exist.
func LoadShared(path string) ([]byte, Shared, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, Shared{}, err
	}
	s, err := ParseShared(path, data)
	return data, s, err
}

// ParseShared parses a file of shared rules. Errors contain name as the name of the file. After an error, the rules are not complete.
func ParseShared(name string, data []byte) (s Shared, err error) {
	tree, err := readTree(name, data)
	if err != nil {
		return s, err
	}
	p := &reader{names: []string{name}, config: Default(), places: keyPlaces(0, data)}
	names := map[string][]string{}
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		switch k {
		case "forwarder":
			p.entries(k, tree[k], "trust in a list or forwarder expires unless it is renewed", func(at string, table map[string]any) {
				f := p.forwarder(at, table)
				s.Forwarders, names[k] = append(s.Forwarders, f), append(names[k], f.name())
			})
		case "allow", "deny":
			rules := p.localRules(k, tree[k])
			for _, r := range rules {
				names[k] = append(names[k], r.name())
			}
			if k == "allow" {
				s.Allow = rules
			} else {
				s.Deny = rules
			}
		default:
			p.fault(k, "unknown key; this file may contain only [[forwarder]], [[allow]] and [[deny]]")
		}
	}
	if len(p.found) == 0 {
		s.Entries = p.sharedEntries(data, names)
	}
	if faults := p.faults(); len(faults) > 0 {
		return s, faults
	}
	return s, nil
}

// name returns what the entry matches.
func (f Forwarder) name() string {
	return matched("sealer", f.Sealer, "signer", f.Signer, "network", prefixText(f.Network))
}

func (r LocalRule) name() string {
	return matched("domain", r.Domain, "network", prefixText(r.Network))
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// matched returns the keys that have a value, as KEY=VALUE separated by spaces.
func matched(pairs ...string) string {
	var all []string
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			all = append(all, pair[0]+"="+pair[1])
		}
	}
	return strings.Join(all, " ")
}

// sharedEntries divides a valid file into its entries. The parameter names has the names of the entries of each kind.
func (p *reader) sharedEntries(data []byte, names map[string][]string) (all []SharedEntry) {
	lines := strings.SplitAfter(strings.TrimPrefix(string(data), sharedHeader), "\n")
	skipped := bytes.Count(data, []byte("\n")) - strings.Count(strings.Join(lines, ""), "\n")
	seen := map[string]bool{}
	begins := map[int]SharedEntry{}
	for kind, of := range names {
		for i, name := range of {
			at := fmt.Sprintf("%s[%d]", kind, i+1)
			line := p.places[at].line - skipped - 1
			switch {
			case p.places[at].line == 0:
				p.fault(kind, "write [["+kind+"]] on a line of its own for each entry")
				return nil
			case len(name) > maxSharedName:
				p.fault(at, fmt.Sprintf("is too long; an entry that the hosts of a cluster share has at most %d bytes in its domain and network", maxSharedName))
			case seen[kind+" "+name]:
				p.fault(at, "there is another [["+kind+"]] with "+name)
			}
			seen[kind+" "+name] = true
			begins[line] = SharedEntry{Kind: kind, Name: name}
		}
	}
	starts := slices.Sorted(maps.Keys(begins))
	from := 0
	for i, start := range starts {
		end := len(lines)
		if i+1 < len(starts) {
			// A comment belongs to the entry below it.
			for end = starts[i+1]; end > start+1 && (strings.HasPrefix(lines[end-1], "#") || strings.TrimSpace(lines[end-1]) == ""); end-- {
			}
		}
		e := begins[start]
		e.Text = strings.Trim(strings.Join(lines[from:end], ""), "\n") + "\n"
		from = end
		if len(p.found) == 0 && !validSharedText(e) {
			p.fault(fmt.Sprintf("%s[%d]", e.Kind, slices.Index(names[e.Kind], e.Name)+1), "write each key and its value on one line")
		}
		all = append(all, e)
	}
	return all
}

// validSharedText reports whether the text of an entry, without the rest of its file, is that entry.
func validSharedText(e SharedEntry) bool {
	tree, err := readTree(e.Name, []byte(e.Text))
	list, ok := tree[e.Kind].([]any)
	return err == nil && ok && len(tree) == 1 && len(list) == 1
}

// CheckSharedEntry returns an error if the text of an entry is not one entry with its kind and name. Another version of Signpost may have
// written it.
func CheckSharedEntry(e SharedEntry) error {
	s, err := ParseShared(e.Kind, []byte(e.Text))
	if err == nil && (len(s.Entries) != 1 || s.Entries[0] != e) {
		err = fmt.Errorf("is not one [[%s]] with %s", e.Kind, e.Name)
	}
	return err
}

// WriteShared replaces a file of shared rules whose contents are before; nil: the file does not exist. The change is atomic. If the file
// has other contents, WriteShared changes nothing and returns an error. The next synchronization then reads the new contents.
func WriteShared(path string, before []byte, entries []SharedEntry) error {
	text := sharedHeader
	for _, e := range entries {
		text += "\n" + e.Text
	}
	if _, err := ParseShared(path, []byte(text)); err != nil {
		return err
	}
	dir, err := durable.OpenDir(filepath.Dir(path))
	if err != nil {
		return durable.PathError(filepath.Dir(path), err)
	}
	defer dir.Close()
	err = durable.Write(dir, filepath.Base(path), []byte(text), sharedMode, func(*os.File) error {
		now, err := readFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !bytes.Equal(now, before) {
			return errors.New("another program changed the file")
		}
		return nil
	})
	return durable.PathError(path, err)
}

// sharedMode is the mode of a file of shared rules. Its directory protects it. If an editor of root replaces the file, the daemon can still
// read it.
const sharedMode = 0o644
