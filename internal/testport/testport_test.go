package testport

import "testing"

// With -short no test gets a port for a server, and without it each test does.
func TestNotShort(t *testing.T) {
	_, release, err := Take("127.0.0.1")
	if (err != nil) != testing.Short() {
		t.Errorf("short: %v, error: %v", testing.Short(), err)
	}
	if err == nil {
		release()
	}
}
