package whatif

import (
	"testing"

	"signpost/policy"
)

// kindOf lists each code.
func TestCodes(t *testing.T) {
	for _, c := range policy.Codes() {
		if _, known := kindOf(c); !known {
			t.Errorf("%s: kindOf lacks it", c)
		}
	}
}
