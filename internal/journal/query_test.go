package journal

import (
	"strings"
	"testing"
	"time"
)

// A time is a duration before now or a date. An error names the field, the text and the formats.
func TestParseTime(t *testing.T) {
	here := time.FixedZone("here", 3600)
	now := time.Date(2026, 11, 25, 18, 30, 0, 0, here)
	for text, want := range map[string]time.Time{
		"14d":                  time.Date(2026, 11, 11, 18, 30, 0, 0, here),
		"2h":                   time.Date(2026, 11, 25, 16, 30, 0, 0, here),
		"1h30m":                time.Date(2026, 11, 25, 17, 0, 0, 0, here),
		"2026-11-20":           time.Date(2026, 11, 20, 0, 0, 0, 0, here),
		"2026-11-20T10:00":     time.Date(2026, 11, 20, 10, 0, 0, 0, here),
		"2026-11-20T10:00:05Z": time.Date(2026, 11, 20, 10, 0, 5, 0, time.UTC),
		"":                     {},
	} {
		if got, err := (&Query{Since: text}).Filter(now); err != nil || !got.Since.Equal(want) {
			t.Errorf("%q: %v %v", text, got.Since, err)
		}
	}
	for _, text := range []string{"14", "-2h", "-3d", "yesterday", "99999999d", "2026-13-01", "1e9d"} {
		_, err := (&Query{Until: text}).Filter(now)
		if err == nil || !strings.HasPrefix(err.Error(), "until ") || !strings.Contains(err.Error(), "14d, 2h") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
