package signpost

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each test that docs/reliability.md names exists in its directory.
func TestReliabilityNamesTests(t *testing.T) {
	page := read(t, "docs/reliability.md")
	named := regexp.MustCompile("`([a-z0-9/-]+)\\.((?:[Tt]est|Fuzz)[A-Z]\\w+)`").FindAllStringSubmatch(page, -1)
	if len(named) < 100 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		files, _ := filepath.Glob(m[1] + "/*_test.go")
		found := false
		for _, file := range files {
			found = found || strings.Contains(read(t, file), "\nfunc "+m[2]+"(")
		}
		if !found {
			t.Errorf("there is no %s in %s", m[2], m[1])
		}
	}
}
