package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/cli"
)

// Lines break between words, and in a word that is too long; each line but the first stands further in, and none is too long.
func TestBreakLines(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", []string{""}},
		{"one two", []string{"one two"}},
		{"one two three four five six", []string{"one two three four", "  five six"}},
		{"  in and out of the house again", []string{"  in and out of the", "    house again"}},
		{"a 012345678901234567890123456789", []string{"a", "  012345678901234567", "  890123456789"}},
		{"many      spaces", []string{"many spaces"}},
		{"宽宽宽宽宽宽宽宽宽宽宽", []string{"宽宽宽宽宽宽宽宽宽宽", "  宽"}},
		{strings.Repeat(" ", 40) + "x", []string{strings.Repeat(" ", 10) + "x"}},
	} {
		got := breakLines(c.text, 20)
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
		for _, line := range got {
			if cli.Columns(line) > 20 {
				t.Errorf("%q: %q is too long", c.text, line)
			}
		}
	}
}

// Times are given as people say them; what is none is named, with what may stand there.
func TestPointInTime(t *testing.T) {
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
		if got, err := pointInTime("since", text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"14", "-2h", "-3d", "yesterday", "99999999d", "2026-13-01", "1e9d"} {
		_, err := pointInTime("since", text, now)
		if err == nil || !strings.Contains(err.Error(), "--since") || !strings.Contains(err.Error(), "14d, 2h") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
