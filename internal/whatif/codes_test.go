package whatif

import (
	"testing"

	"signpost/policy"
)

// For each code it is decided how a message with it is replayed.
func TestCodes(t *testing.T) {
	for _, c := range policy.Codes() {
		if _, known := kindOf(c); !known {
			t.Errorf("%s: kindOf lacks it", c)
		}
	}
}
