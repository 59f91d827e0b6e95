package packaging

import (
	"os/exec"
	"testing"
)

// The daemon's unit is hardened to an exposure of 1.5 or less in systemd's own measure, of which the network alone, DNS and
// metrics, makes 0.9.
func TestHardening(t *testing.T) {
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", "../../dist/signpost.service").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
