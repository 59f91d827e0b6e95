package policy

import (
	"regexp"
	"slices"
	"testing"
)

// Each code is a snake_case word, is listed once, and is listed in Code.Override.
func TestCodes(t *testing.T) {
	word := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	all := Codes()
	for i, c := range all {
		if !word.MatchString(string(c)) || slices.Contains(all[:i], c) {
			t.Errorf("%q", c)
		}
		if _, known := c.Override(); !known {
			t.Errorf("%s: Code.Override does not list it", c)
		}
	}
}
