package seen

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func day(n int) time.Time { return now.Truncate(24*time.Hour).AddDate(0, 0, n) }

// fails is a reporter where all of n messages of yesterday failed.
func fails(reporter string, n int64) Failing {
	return Failing{Reporter: reporter, Trusted: true, Failed: n, Messages: n, Since: day(-1), Last: day(0).Add(-time.Second)}
}

func untrusted(f Failing) Failing { f.Trusted = false; return f }

// TestAlarm: two trusted reporters, or more than 20 messages and 2 percent, raise an alarm. What is expected raises none.
func TestAlarm(t *testing.T) {
	old := fails("a.example", 100)
	old.Since, old.Last = day(-9), day(-8)
	for name, tt := range map[string]struct {
		trusted int64
		failing []Failing
		want    string
	}{
		"nothing fails":         {1000, nil, ""},
		"two reporters":         {1000, []Failing{fails("b.example", 2), fails("a.example", 1)}, "receivers report that its signatures fail: 3 of 3 messages since 2026-11-28, at b.example, a.example"},
		"one reporter":          {1000, []Failing{fails("a.example", 20)}, ""},
		"21 messages":           {1000, []Failing{fails("a.example", 21)}, "receivers report that its signatures fail: 21 of 21 messages since 2026-11-28, at a.example"},
		"2 percent":             {1050, []Failing{fails("a.example", 21)}, ""},
		"untrusted":             {1000, []Failing{untrusted(fails("a.example", 500)), untrusted(fails("b.example", 500))}, ""},
		"one of two is trusted": {1000, []Failing{fails("a.example", 1), untrusted(fails("b.example", 500))}, ""},
		"more than a week ago":  {100, []Failing{old, old}, ""},
		"many":                  {9, []Failing{fails("a", 1), fails("b", 1), fails("c", 1), fails("d", 1), fails("e", 1)}, "receivers report that its signatures fail: 5 of 5 messages since 2026-11-28, at a, b, c and 2 more"},
	} {
		f := &File{Selectors: []Selector{{Domain: "example.org", Selector: "s1", Algorithm: "rsa", Trusted: tt.trusted, Failing: tt.failing}}}
		got := ""
		if a := f.Alarm(status("s1", "rsa"), now); a != nil {
			got = a.String()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func status(selector, algorithm string) keys.Status {
	return keys.Status{Key: &keys.Key{Domain: "example.org", Selector: selector, Algorithm: algorithm, State: keys.Active}}
}

// TestAlarmOfEd25519: some receivers do not support Ed25519. A failure counts only where the RSA keys fail too, or if there is no RSA key.
func TestAlarmOfEd25519(t *testing.T) {
	both := []Failing{fails("a.example", 50), fails("b.example", 50)}
	for name, tt := range map[string]struct {
		rsa  *Selector
		want bool
	}{
		"the RSA key passes": {&Selector{Passed: 100}, false},
		"the RSA key fails":  {&Selector{Passed: 100, Failing: both}, true},
		"no RSA key":         {nil, true},
	} {
		f := &File{Selectors: []Selector{{Domain: "example.org", Selector: "e1", Algorithm: "ed25519", Trusted: 100, Failing: both}}}
		if tt.rsa != nil {
			tt.rsa.Domain, tt.rsa.Selector, tt.rsa.Algorithm = "example.org", "r1", "rsa"
			f.Selectors = append(f.Selectors, *tt.rsa)
		}
		if got := f.Alarm(status("e1", "ed25519"), now) != nil; got != tt.want {
			t.Errorf("%s: alarm %v", name, got)
		}
	}
}

// TestExpected: the failures of a retired key are expected until 14 days after its record is revoked. Later ones come from a host that still
// signs with it.
func TestExpected(t *testing.T) {
	f := &File{Selectors: []Selector{{Domain: "example.org", Selector: "s1", Algorithm: "rsa", Trusted: 100, Failing: []Failing{fails("a.example", 50), fails("b.example", 50)}}}}
	retiring, revoked, later, alone := status("s1", "rsa"), status("s1", "rsa"), status("s1", "rsa"), status("s1", "rsa")
	retiring.State, retiring.Steps = keys.Retiring, []keys.Step{{Do: keys.DoRevoke, Due: day(3)}}
	revoked.State, revoked.Metadata = keys.Revoked, &keys.Metadata{Revoked: new(day(-14))}
	later.State, later.Metadata = keys.Removed, &keys.Metadata{Revoked: new(day(-15))}
	alone.State, alone.Metadata = keys.Retiring, &keys.Metadata{Retired: new(day(-40))}
	for name, tt := range map[string]struct {
		key   keys.Status
		until time.Time
		alarm bool
	}{
		"retiring": {retiring, day(17), false}, "revoked": {revoked, day(0), false}, "revoked long ago": {later, day(-1), true},
		"no other key signs": {alone, time.Time{}, true},
	} {
		if until, expected := Expected(tt.key); !until.Equal(tt.until) || expected == until.IsZero() {
			t.Errorf("%s: expected until %v", name, until)
		}
		if got := f.Alarm(tt.key, now) != nil; got != tt.alarm {
			t.Errorf("%s: alarm %v", name, got)
		}
	}
}

// TestFile: the file is read as it was written. A missing or old file is none, and a damaged one is an error.
func TestFile(t *testing.T) {
	state := t.TempDir()
	if f, err := Load(state, now); f != nil || err != nil {
		t.Error(f, err)
	}
	written := File{Written: now, Since: now.Add(-Period), Selectors: []Selector{{Domain: "example.org", Selector: "s2", Messages: 2}, {Domain: "example.org", Selector: "s1", Messages: 1}, {Domain: "a.example", Selector: "s2"}}}
	if err := written.Write(state); err != nil {
		t.Fatal(err)
	}
	f, err := Load(state, now.Add(maxAge))
	if err != nil || len(f.Selectors) != 3 || f.Of("example.org", "s1").Messages != 1 || f.Of("example.org", "s2").Messages != 2 || f.Of("example.org", "s3") != nil {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := Load(state, now.Add(maxAge+time.Second)); f != nil || f.Of("example.org", "s1") != nil || err != nil {
		t.Error(f, err)
	}
	if err := os.WriteFile(Path(state), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(state, now); err == nil || !strings.Contains(err.Error(), filepath.Join("status", "selectors.json")) {
		t.Error(err)
	}
}
