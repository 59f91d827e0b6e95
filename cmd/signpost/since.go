package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"signpost/internal/cli"
)

// timeFormats are those of a point in time on the command line, in local time.
const timeFormats = "14d, 2h, 30m, 2006-01-02 or 2006-01-02T15:04"

// pointInTime reads the value of a flag: so long ago, or a date. Empty is the zero time.
func pointInTime(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	const tooLong = 100 * 365 // days
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 32); err == nil && n < tooLong {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateTime, time.RFC3339} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, cli.Usage(fmt.Errorf("--%s %q is no time; it may be %s", flag, text, timeFormats))
}
