package send

import (
	"testing"
	"time"
)

// The clock can be relied on unless it was set, or a boot took long. After that, it must run for 23 hours.
func TestClock(t *testing.T) {
	start := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	const hour = time.Hour
	type reading struct{ time, up time.Duration } // time: since start
	for name, c := range map[string]struct {
		readings []reading
		wait     time.Duration
	}{
		"first run":               {[]reading{{0, hour}}, 0},
		"daily runs":              {[]reading{{0, hour}, {24 * hour, 25 * hour}}, 0},
		"NTP":                     {[]reading{{0, hour}, {hour + 4*time.Minute, 2 * hour}}, 0},
		"a quick boot":            {[]reading{{0, 90 * hour}, {20 * time.Minute, time.Minute}}, 0},
		"a slow boot":             {[]reading{{0, 90 * hour}, {2 * hour, time.Minute}}, 23 * hour},
		"a boot in the past":      {[]reading{{0, 90 * hour}, {-time.Minute, time.Minute}}, 23 * hour},
		"set ahead":               {[]reading{{0, hour}, {25 * hour, 2 * hour}}, 23 * hour},
		"set ahead an hour ago":   {[]reading{{0, hour}, {25 * hour, 2 * hour}, {26 * hour, 3 * hour}}, 22 * hour},
		"set back":                {[]reading{{0, hour}, {-5 * hour, 2 * hour}}, 23 * hour},
		"set ahead, then correct": {[]reading{{0, hour}, {25 * hour, 2 * hour}, {10 * hour, 11 * hour}}, 23 * hour},
		"set ahead a day ago":     {[]reading{{0, hour}, {25 * hour, 2 * hour}, {49 * hour, 26 * hour}}, 0},
	} {
		var clock Clock
		for _, r := range c.readings {
			clock = clock.Next(start.Add(r.time), r.up)
		}
		if got := clock.Wait(); got != c.wait {
			t.Errorf("%s: wait %v, want %v", name, got, c.wait)
		}
	}
	if up, err := Uptime(); up <= 0 || err != nil {
		t.Errorf("uptime %v %v", up, err)
	}
}
