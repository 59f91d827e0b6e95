package testport

import "testing"

// Take returns an error with -short, and only then.
func TestNotShort(t *testing.T) {
	_, release, err := Take("127.0.0.1")
	if (err != nil) != testing.Short() {
		t.Errorf("short: %v, error: %v", testing.Short(), err)
	}
	if err == nil {
		release()
	}
}
