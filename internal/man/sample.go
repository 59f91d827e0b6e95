package man

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Sample is dist/signpost.toml, parsed.
type Sample struct {
	Intro  string
	Tables []Table
}

// Table is a table of the sample. The table without a name is at the top.
type Table struct {
	Name     string
	Text     string
	Entries  []Entry
	Examples []Entry // the tables in comments, with all their lines
}

// Entry is a key, or several keys that share a comment.
type Entry struct {
	Text    string
	Lines   []string // KEY = VALUE
	Example bool     // the key is in a comment, because it has no default
}

// Keys returns the dotted keys of the sample. These include the keys in comments, in lists, and in [x.domain."NAME"] tables.
func (s *Sample) Keys() (all []string) {
	for _, t := range s.Tables {
		table := t.Name
		for _, e := range slices.Concat(t.Entries, t.Examples) {
			for _, line := range e.Lines {
				if strings.HasPrefix(line, "[") { // an example begins with its table
					table = strings.Trim(line, "[]")
					continue
				}
				key, _, _ := strings.Cut(line, " = ")
				all = append(all, strings.TrimPrefix(table+"."+key, "."))
			}
		}
	}
	return all
}

// ReadSample parses the sample. A comment belongs to the key below it, or to its table if an empty line follows. A comment that
// contains a key or a table is a setting that the operator might use.
func ReadSample(data []byte) (*Sample, error) {
	inComment := regexp.MustCompile(`^# ?(\[+[a-z].*\]|[a-z_0-9]+ = .+)$`)
	key := regexp.MustCompile(`^[a-z_0-9]+ = .+$`)
	s := &Sample{Tables: []Table{{}}}
	t := &s.Tables[0]
	var comment []string
	inExample, after := false, false // after is true if the previous line was a key
	take := func() string {
		text := strings.Join(comment, "\n")
		comment = nil
		return text
	}
	add := func(line string, example bool) {
		if n := len(t.Entries); len(comment) == 0 && after && t.Entries[n-1].Example == example {
			t.Entries[n-1].Lines = append(t.Entries[n-1].Lines, line)
		} else {
			t.Entries = append(t.Entries, Entry{take(), []string{line}, example})
		}
		after = true
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		m := inComment.FindStringSubmatch(line)
		switch {
		case line == "":
			if text := take(); text != "" {
				if s.Intro == "" {
					s.Intro = text
				} else {
					t.Text = strings.TrimSpace(t.Text + "\n\n" + text)
				}
			}
			inExample, after = false, false
		case m != nil && strings.HasPrefix(m[1], "["):
			if n := len(t.Examples); inExample && len(comment) == 0 {
				t.Examples[n-1].Lines = append(t.Examples[n-1].Lines, m[1])
			} else {
				t.Examples = append(t.Examples, Entry{Text: take(), Lines: []string{m[1]}, Example: true})
			}
			inExample, after = true, false
		case m != nil && inExample:
			e := &t.Examples[len(t.Examples)-1]
			e.Lines = append(e.Lines, m[1])
		case m != nil:
			add(m[1], true)
		case strings.HasPrefix(line, "#"):
			comment = append(comment, strings.TrimSpace(strings.TrimPrefix(line, "#")))
			inExample = false
		case strings.HasPrefix(line, "["):
			s.Tables = append(s.Tables, Table{Name: strings.Trim(line, "[]"), Text: take()})
			t = &s.Tables[len(s.Tables)-1]
			inExample, after = false, false
		case key.MatchString(line):
			add(line, false)
			inExample = false
		default:
			return nil, fmt.Errorf("line %d of the sample: %q is neither a comment nor KEY = VALUE", i+1, line)
		}
	}
	return s, nil
}
