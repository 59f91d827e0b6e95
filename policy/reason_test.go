package policy

import (
	"regexp"
	"slices"
	"testing"
)

// Each code is one word, is listed once, and is known to override.
func TestCodes(t *testing.T) {
	word := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	all := Codes()
	for i, c := range all {
		if !word.MatchString(string(c)) || slices.Contains(all[:i], c) {
			t.Errorf("%q", c)
		}
		if _, known := c.Override(); !known {
			t.Errorf("%s: Code.Override lacks it", c)
		}
	}
}
