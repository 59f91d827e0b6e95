package signpost

import (
	"bytes"
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// phrasesFile lists the phrases that the repository does not use. CONTRIBUTING.md has the rules for texts.
const phrasesFile = "testdata/words.txt"

// phrases finds the phrases of a list in texts.
type phrases struct {
	pattern *regexp.Regexp
	instead map[string]string // phrase in lower case with single spaces -> replacement
}

// readPhrases parses a list: a line is "PHRASE => REPLACEMENT", a comment or empty.
func readPhrases(list string) (*phrases, error) {
	p := &phrases{instead: map[string]string{}}
	var all []string
	for i, line := range strings.Split(list, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		phrase, instead, ok := strings.Cut(line, " => ")
		if words := strings.Fields(phrase); !ok || instead == "" || phrase != strings.ToLower(strings.Join(words, " ")) || p.instead[phrase] != "" {
			return nil, fmt.Errorf("%s:%d: want a new phrase in lower case, \" => \" and its replacement: %q", phrasesFile, i+1, line)
		}
		p.instead[phrase] = instead
		all = append(all, strings.ReplaceAll(regexp.QuoteMeta(phrase), " ", `\s+`))
	}
	var err error
	p.pattern, err = regexp.Compile(`(?i)\b(?:` + strings.Join(all, "|") + `)\b`)
	return p, err
}

// find returns a message for each phrase in a text. The text begins at the given line of a file.
func (p *phrases) find(file string, line int, text string) (found []string) {
	for _, at := range p.pattern.FindAllStringIndex(text, -1) {
		phrase := strings.ToLower(strings.Join(strings.Fields(text[at[0]:at[1]]), " "))
		n := line + strings.Count(text[:at[0]], "\n")
		found = append(found, fmt.Sprintf("%s:%d: %q: write %q", file, n, phrase, p.instead[phrase]))
	}
	return found
}

// findInGo returns a message for each phrase in the comments and string literals of a Go file. A phrase may continue on the next line of
// a comment.
func (p *phrases) findInGo(file string, source []byte) (found []string) {
	files := token.NewFileSet()
	f := files.AddFile(file, -1, len(source))
	var s scanner.Scanner
	s.Init(f, source, nil, scanner.ScanComments)
	var comment []string // lines of the comment so far
	first := 0           // line of comment[0]
	end := func() {
		found = append(found, p.find(file, first, strings.Join(comment, "\n"))...)
		comment = nil
	}
	for {
		pos, kind, text := s.Scan()
		line := f.Line(pos)
		switch kind {
		case token.COMMENT:
			if len(comment) > 0 && line != first+len(comment) {
				end()
			}
			if len(comment) == 0 {
				first = line
			}
			for l := range strings.SplitSeq(text, "\n") {
				comment = append(comment, strings.TrimPrefix(l, "//"))
			}
			continue
		case token.STRING:
			if strings.HasPrefix(text, `"`) {
				text, _ = strconv.Unquote(text)
				text = strings.ReplaceAll(text, "\n", " ") // of the text, not of the file
			}
			found = append(found, p.find(file, line, text)...)
		case token.EOF:
			end()
			return found
		}
		if kind != token.SEMICOLON { // the scanner inserts a semicolon at the end of a line
			end()
		}
	}
}

// isText reports whether a file is checked as a whole: documentation, and files that the package installs.
func isText(file string) bool {
	return strings.HasSuffix(file, ".md") || strings.HasPrefix(file, "dist/")
}

// Comments, string literals, documentation and the files of dist contain no phrase of testdata/words.txt. The manual pages are not
// checked separately, because they are generated from Go code and dist/signpost.toml.
func TestWords(t *testing.T) {
	p, err := readPhrases(read(t, phrasesFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.instead) < 30 {
		t.Errorf("%s has only %d phrases", phrasesFile, len(p.instead))
	}
	var found []string
	checked := map[string]int{}
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		file := filepath.ToSlash(path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || file == "bin") {
				return filepath.SkipDir
			}
			return nil
		case strings.HasSuffix(file, ".go") && file != "words_test.go":
			source, err := os.ReadFile(path)
			checked[".go"]++
			found = append(found, p.findInGo(file, source)...)
			return err
		case isText(file):
			text, err := os.ReadFile(path)
			checked[filepath.Ext(file)]++
			// A comment of TOML or of a shell script may continue on the next line.
			found = append(found, p.find(file, 1, string(bytes.ReplaceAll(text, []byte("\n#"), []byte("\n "))))...)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// testdata contains messages and outputs. Only these descriptions are texts of the project.
	for _, file := range []string{"testdata/README.md", "internal/dkim/testdata/README.md"} {
		found = append(found, p.find(file, 1, read(t, file))...)
	}
	for _, ext := range []string{".go", ".md", ".toml"} {
		if checked[ext] == 0 {
			t.Errorf("no %s file was checked", ext)
		}
	}
	for _, message := range found {
		t.Error(message)
	}
}

// A phrase is found in comments and strings, across lines and in upper and lower case, with its line and its replacement. Code and
// longer words are not searched.
func TestFindPhrases(t *testing.T) {
	p, err := readPhrases("# a comment\n\nis come to => is reached\nlook-up => lookup\n")
	if err != nil {
		t.Fatal(err)
	}
	source := "package a\n\n// The end Is\n// come to.\nvar x = `one\ntwo look-up`\n\nvar y = \"is come to\" // of a look-up\n\n// This is\nvar come, to = look-up, 1 // look-ups\n"
	got := p.findInGo("a.go", []byte(source))
	want := []string{`a.go:3: "is come to": write "is reached"`, `a.go:6: "look-up": write "lookup"`, `a.go:8: "is come to": write "is reached"`,
		`a.go:8: "look-up": write "lookup"`}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, list := range []string{"no arrow", "empty => ", "Upper => upper", "two  spaces => one", "twice => once\ntwice => once"} {
		if _, err := readPhrases(list); err == nil {
			t.Errorf("%q: no error", list)
		}
	}
}
