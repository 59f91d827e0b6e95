package web

import (
	"errors"
	"strings"
	"testing"
	"time"

	"signpost/internal/report/seen"
)

// The page of keys shows what receivers reported of a key, and that it fails. Without reports it shows neither.
func TestKeysReported(t *testing.T) {
	site := newSite(t, record(1))
	if page := get(t, site.Handler(), "/keys").Body.String(); strings.Contains(page, "Reported") {
		t.Error("without reports")
	}
	now := time.Now().UTC()
	fails := seen.Failing{Reporter: "a.example", Trusted: true, Failed: 30, Messages: 30, Since: now.AddDate(0, 0, -2), Last: now.AddDate(0, 0, -1)}
	site.Seen = func() (*seen.File, error) {
		return &seen.File{Written: now, Since: now.AddDate(0, 0, -30), Selectors: []seen.Selector{{Domain: "example.org", Selector: "s202611", Messages: 123, Failed: 30, Passed: 93, Receivers: 4, Last: fails.Last, Trusted: 30, Failing: []seen.Failing{fails}}}}, nil
	}
	page := get(t, site.Handler(), "/keys").Body.String()
	for _, want := range []string{": 123 messages at 4 receivers, 30 failed, last ", `<p class="r-fail">fails since ` + fails.Since.Format(time.DateOnly) + " at a.example</p>"} {
		if strings.Count(page, want) != 1 {
			t.Errorf("not once: %q", want)
		}
	}
	site.Seen = func() (*seen.File, error) { return nil, errors.New("selectors.json is damaged") }
	if page := get(t, site.Handler(), "/keys").Body.String(); !strings.Contains(page, "selectors.json is damaged") || !strings.Contains(page, "s202611") {
		t.Error("a damaged file hides the keys")
	}
}

// The timeline of a key is also described in words, including its future states.
func TestKeys(t *testing.T) {
	page := get(t, newSite(t, record(1)).Handler(), "/keys").Body.String()
	now := time.Now().UTC()
	for _, want := range []string{"signs from " + now.AddDate(0, 0, 30).Format("2006-01-02") + " on", `class="k-signs ahead"`, "signs; hands over on a day"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing", want)
		}
	}
}
