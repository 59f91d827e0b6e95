package host

import (
	"testing"
	"time"

	"signpost/internal/doctor"
)

func TestFreeSpace(t *testing.T) {
	for _, c := range []struct {
		name                    string
		octets, files, freeFile int64
		want                    doctor.Level
	}{
		{"room", 1 << 30, 1e6, 1e5, ""},
		{"no room", 9 << 20, 1e6, 1e5, doctor.Red},
		{"little room", 99 << 20, 1e6, 1e5, doctor.Yellow},
		{"no inodes", 1 << 30, 1e6, 99, doctor.Red},
		{"few inodes", 1 << 30, 1e6, 999, doctor.Yellow},
		{"a file system without a number of inodes", 1 << 30, 0, 0, ""},
	} {
		if found := freeSpace("/var/lib/signpost", c.octets, c.files, c.freeFile); (c.want == "") != (len(found) == 0) || c.want != "" && found[0].Level != c.want {
			t.Errorf("%s: %+v, want %q", c.name, found, c.want)
		}
	}
}

func TestClock(t *testing.T) {
	built := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		now    time.Time
		synced bool
		want   doctor.Level
	}{
		{"right", built.AddDate(1, 0, 0), true, ""},
		{"1970", time.Unix(0, 0), true, doctor.Red},
		{"an hour before the program was built", built.Add(-time.Hour), false, doctor.Red},
		{"not synchronised", built.AddDate(1, 0, 0), false, doctor.Yellow},
		{"2050", built.AddDate(24, 0, 0), true, doctor.Yellow},
	} {
		if found := clock(c.now, built, c.synced); (c.want == "") != (len(found) == 0) || c.want != "" && found[0].Level != c.want {
			t.Errorf("%s: %+v, want %q", c.name, found, c.want)
		}
	}
	if found := clock(built, time.Time{}, true); len(found) > 0 {
		t.Errorf("a build without a date: %+v", found)
	}
}
