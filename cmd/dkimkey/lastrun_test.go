package main

import (
	"errors"
	"testing"
	"time"
)

// rotate.json has the time of the last run without an error. A run for one of several domains does not count as such a run.
func TestLastRun(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, rfc2136)
	succeeded := func(want time.Time, failed bool) {
		t.Helper()
		last, err := h.store().LastRun()
		if err != nil || !last.Succeeded().Equal(want) || last.Failed != failed {
			t.Errorf("%+v %v, want success at %s", last, err, want)
		}
	}
	h.must("add", "example.org")
	h.must("rotate")
	first := h.now.UTC()
	succeeded(first, false)

	h.now = h.now.Add(time.Hour)
	h.dns.Fail(errors.New("the provider is away"))
	h.run("add", "sub.example.org") // creates the key, and fails to publish its record
	if out, code := h.run("rotate", "sub.example.org"); code != 1 {
		t.Errorf("exit code %d: %s", code, out)
	}
	succeeded(first, true)
	h.dns.Fail(nil)
	h.must("rotate", "example.org")
	succeeded(first, false)

	h.now = h.now.Add(time.Hour)
	h.must("rotate")
	succeeded(h.now.UTC(), false)
}
