package signpost

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// If a text names a section of a page, such as docs/install.md, "Install", the section exists. Each heading that a link names exists too.
// docs/operations.md lists all sections of its pages.
func TestSectionsExist(t *testing.T) {
	headings := func(file string) []string {
		var all []string
		for _, m := range regexp.MustCompile("(?m)^##+ (.+)$").FindAllStringSubmatch(read(t, file), -1) {
			all = append(all, m[1])
		}
		return all
	}
	anchor := func(heading string) string {
		return strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range append(pages, "README.md", "dist/signpost.toml", "dist/debian/postinst", "dist/junk.sieve", "internal/daemon/daemon.go", "internal/setup/doctor.go") {
		text := regexp.MustCompile(`\n(# )?\s*`).ReplaceAllString(strings.ReplaceAll(read(t, file), `\"`, `"`), " ")
		for _, m := range regexp.MustCompile(`((?:docs/[a-z-]+|README)\.md), "([^"]+)"`).FindAllStringSubmatch(text, -1) {
			count++
			if !slices.Contains(headings(m[1]), m[2]) && !strings.Contains(read(t, m[1]), "**"+m[2]+"**") {
				t.Errorf("%s: %s has no section %q", file, m[1], m[2])
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([a-z-]+\.md)?#([a-z0-9-]+)\)`).FindAllStringSubmatch(text, -1) {
			count++
			target := file
			if m[1] != "" {
				target = "docs/" + m[1]
			}
			if !slices.ContainsFunc(headings(target), func(h string) bool { return anchor(h) == m[2] }) {
				t.Errorf("%s: %s has no section #%s", file, target, m[2])
			}
		}
	}
	if count < 80 {
		t.Errorf("only %d references were found", count)
	}
	operations := read(t, "docs/operations.md")
	for _, m := range regexp.MustCompile(`(?m)^\| \[.*?\]\(([a-z]+\.md)\)`).FindAllStringSubmatch(operations, -1) {
		for h := range strings.Lines(read(t, "docs/"+m[1])) {
			if h, ok := strings.CutPrefix(strings.TrimSpace(h), "## "); ok && !strings.Contains(operations, "["+h+"]("+m[1]+"#"+anchor(h)+")") {
				t.Errorf("docs/operations.md does not list %q of %s", h, m[1])
			}
		}
	}
}
