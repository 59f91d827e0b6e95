package allowlist

import "testing"

// The PATH of cron does not have the directory of postmap(1).
func TestFindPostmap(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postfix")
	}
	t.Setenv("PATH", "/usr/bin:/bin")
	if path := findPostmap(); path != "/usr/sbin/postmap" {
		t.Errorf("postmap is not found: %q", path)
	}
}
