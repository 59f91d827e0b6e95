package keys

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// planNow is the time of the plans in this file.
var planNow = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

func ago(hours int) *time.Time {
	t := planNow.Add(-time.Duration(hours) * time.Hour)
	return &t
}

// planKey returns a key for "SELECTOR STEP=HOURS...", with the age of each step in hours. A selector that starts with e has an
// Ed25519 key.
func planKey(t *testing.T, text string) *Key {
	t.Helper()
	fields := strings.Fields(text)
	l := &Metadata{Domain: "example.org", Selector: fields[0], Algorithm: "rsa", Wait: Span(2 * time.Hour)}
	if strings.HasPrefix(fields[0], "e") {
		l.Algorithm = "ed25519"
	}
	for _, f := range fields[1:] {
		name, n, _ := strings.Cut(f, "=")
		var hours int
		if _, err := fmt.Sscan(n, &hours); err != nil {
			t.Fatal(text, err)
		}
		switch at := ago(hours); name {
		case "made":
			l.Created = *at
		case "published":
			l.Published = at
		case "seen":
			l.Published, l.Seen = at, at
		case "silent":
			l.Silent = at
		case "signs":
			l.Activated = at
		case "requested":
			l.Requested = at
		case "retired":
			l.Retired = at
		default:
			t.Fatal(text)
		}
	}
	return &Key{Domain: l.Domain, Selector: l.Selector, Algorithm: l.Algorithm, State: l.State(), Metadata: l, Since: l.since()}
}

// Plan determines the successor, the time at which it takes over, and the steps of the other keys. a is active, b is a standby, c
// is newer.
func TestPlan(t *testing.T) {
	const day = 24
	automatic := Rules{Algorithms: []string{"rsa"}, RotateEvery: 90 * day * time.Hour, RetireAfter: 14 * day * time.Hour, KeepRevoked: 30 * day * time.Hour, Method: "rfc2136"}
	pair, never, manual, manualEvery := automatic, automatic, automatic, automatic
	pair.Algorithms = []string{"rsa", "ed25519"}
	never.RotateEvery = 0
	manual.Method, manual.RotateEvery = "manual", 0
	manualEvery.Method = "manual"
	for _, c := range []struct {
		name  string
		rules Rules
		keys  []string
		want  string
	}{
		{"a standby waits for its rotation", automatic, []string{"a made=250 seen=245 signs=240", "b made=240 seen=239"}, "check b, activate b in 80d"},
		{"a second standby is published immediately", automatic, []string{"a made=250 seen=245 signs=240", "b made=240 seen=239", "c made=1"},
			"publish c, check b"},
		{"a second standby that is newer is the only successor", automatic, []string{"a made=250 seen=245 signs=240", "b made=240 seen=239", "c made=5 seen=4"},
			"check c, check b, activate c in 80d"},
		{"the hand-over waits for the newest key, whose record is not visible", automatic, []string{"a made=2450 seen=2450 signs=2400", "b made=2400 seen=2400", "c made=5 published=4"}, "check c, check b"},
		{"the hand-over waits for the newest key for one day only", automatic, []string{"a made=2450 seen=2450 signs=2400", "b made=2400 seen=2400", "c made=25 published=25"}, "check c, check b, activate b"},
		{"a key that cannot be published does not delay the other algorithm", pair,
			[]string{"a made=2450 seen=2450 signs=2400", "b made=2400 seen=2400", "e made=2450 seen=2450 signs=2400", "e2 made=99"},
			"check b, publish e2, activate b"},
		{"after a hand-over to a newer key, the old standby is the successor again", automatic, []string{"a made=250 seen=245 signs=240 retired=24", "b made=240 seen=239", "c made=50 seen=40 signs=24"},
			"check b, activate b in 89d, revoke a in 13d"},
		{"if no key signs, the newest ready key is activated", automatic, []string{"b made=240 seen=239", "c made=5 seen=4"}, "check c, check b, activate c"},
		{"if no key signs and the newest key is not ready, an older one is activated", automatic, []string{"b made=240 seen=239", "c made=5 published=4"}, "check c, check b, activate b"},
		{"if no key signs and none is ready, the key that is ready first is activated", automatic, []string{"b made=9 seen=1", "c made=5 seen=0"}, "check c, check b, activate b in 1h"},
		{"if no key signs, a key whose servers all answer is activated", automatic, []string{"b made=240 seen=239", "c made=5 seen=4 silent=1"}, "check c, check b, activate b"},
		{"if no key signs, a server that has not answered for a day no longer delays the newest key", automatic, []string{"b made=240 seen=239", "c made=50 seen=40 silent=25"}, "check c, check b, activate c"},

		{"an active key whose record was not found is checked, and no key is retired", automatic,
			[]string{"a made=250 seen=245 signs=240", "b made=240 seen=239", "c made=5 published=5 signs=5", "r made=900 seen=899 signs=890 retired=500"},
			"check b, check c, activate b in 89d"},
		{"when the record of the active key was found, older keys are retired and revoked", automatic,
			[]string{"a made=250 seen=245 signs=240", "b made=240 seen=239", "c made=5 seen=1 signs=5", "r made=900 seen=899 signs=890 retired=500"},
			"check b, retire a, activate b in 89d, revoke r"},
		{"two active keys whose records were not found are both checked", automatic, []string{"a made=9 published=9 signs=8", "b made=7 published=6", "c made=5 published=5 signs=4"},
			"check b, check c, check a"},
		{"a retired key is revoked if the record of an active key of the other algorithm was found", pair,
			[]string{"a made=5 published=5 signs=5", "b made=4 seen=3", "e1 made=250 seen=245 signs=240", "e2 made=240 seen=239", "r made=900 seen=899 signs=890 retired=500"},
			"check b, check a, check e2, activate e2 in 80d, activate b in 89d, revoke r"},

		{"manual, a newer key takes over as soon as it may", manual, []string{"a made=250 seen=245 signs=240", "c made=5 seen=1"}, "check c, activate c in 1h"},
		{"manual, an older key is a standby", manual, []string{"a made=250 seen=245 signs=240", "b made=251 seen=239"}, "check b"},
		{"manual, a requested rotation activates the standby", manual, []string{"a made=250 seen=245 signs=240 requested=0", "b made=251 seen=239"}, "check b, activate b"},
		{"manual, the standby is activated after rotate_every", manualEvery, []string{"a made=250 seen=245 signs=240", "b made=251 seen=239"}, "check b, activate b in 80d"},
		{"no key is created without a request", manual, []string{"a made=250 seen=245 signs=240"}, ""},

		{"publish.method was manual when the active key was created, and is now rfc2136", automatic, []string{"a made=2 signs=1"}, "create rsa key, publish a"},
		{"manual, a request creates a successor", manual, []string{"a made=250 seen=245 signs=240 requested=0"}, "create rsa key"},
		{"without rotate_every, a request creates a successor", never, []string{"a made=250 seen=245 signs=240 requested=0"}, "create rsa key"},
		{"without rotate_every, a request creates only one successor", never, []string{"a made=250 seen=245 signs=240 requested=3", "c made=3 published=3"}, "check c"},
		{"without rotate_every, the successor takes over as soon as it may", never, []string{"a made=250 seen=245 signs=240 requested=3", "c made=3 seen=1"}, "check c, activate c in 1h"},
		{"a request activates the standby", automatic, []string{"a made=250 seen=245 signs=240 requested=0", "b made=240 seen=239"}, "check b, activate b"},
		{"a pair waits until both successors may sign", pair, []string{"a made=250 seen=245 signs=240 requested=3", "b made=240 seen=239", "e1 made=250 seen=245 signs=240 requested=3", "e2 made=1 published=1"},
			"check b, check e2"},
		{"a pair is activated together", pair, []string{"a made=250 seen=245 signs=240 requested=3", "b made=240 seen=239", "e1 made=250 seen=245 signs=240 requested=3", "e2 made=3 seen=1"},
			"check b, check e2, activate b in 1h, activate e2 in 1h"},
		{"an interrupted hand-over of a pair continues with the second key", pair,
			[]string{"a made=250 seen=245 signs=240 requested=3", "b made=240 seen=239 signs=0", "e1 made=250 seen=245 signs=240 requested=3", "e2 made=9 seen=8"},
			"create rsa key, retire a, check e2, activate e2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []*Key
			for _, text := range c.keys {
				all = append(all, planKey(t, text))
			}
			describe := func() string {
				var got []string
				for _, s := range Plan(all, c.rules, planNow) {
					what := s.describe()
					if in := s.Due.Sub(planNow); in >= day*time.Hour {
						what += fmt.Sprintf(" in %dd", in/(day*time.Hour))
					} else if in > 0 {
						what += fmt.Sprintf(" in %dh", in/time.Hour)
					}
					got = append(got, what)
				}
				return strings.Join(got, ", ")
			}
			if got := describe(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			// The order of the files has no effect.
			slices.Reverse(all)
			want := strings.Split(c.want, ", ")
			got := strings.Split(describe(), ", ")
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("in another order: %s", describe())
			}
		})
	}
}

// A request is recorded once for each active key. A key that was activated after the request is the successor.
func TestRotateNow(t *testing.T) {
	s := newStore(t)
	s.Now = func() time.Time { return planNow }
	r := &Rotator{Store: s, Rules: func(string) Rules { return Rules{} }, Done: func(_, _ string) {}}
	requested := func(want string, texts ...string) {
		t.Helper()
		var all []*Key
		for _, text := range texts {
			all = append(all, planKey(t, text))
		}
		before := map[string]bool{}
		for _, k := range all {
			before[k.Selector] = k.requested()
		}
		begun, err := r.RotateNow("example.org", all, true)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range all {
			if k.requested() && !before[k.Selector] {
				got = append(got, k.Selector)
			}
		}
		if strings.Join(got, " ") != want || begun != (want != "") {
			t.Errorf("%q: %q are requested, want %q", texts, got, want)
		}
	}
	requested("", "b made=3 seen=2")
	requested("a", "a made=5 seen=4 signs=3", "b made=3 seen=2", "o made=9 seen=9 signs=8")
	requested("a e1", "a made=5 seen=4 signs=3", "e1 made=5 seen=4 signs=3")
	requested("", "a made=5 seen=4 signs=3 requested=1", "e1 made=5 seen=4 signs=3 requested=1")
	requested("e1", "a made=5 seen=4 signs=3 requested=1", "e1 made=5 seen=4 signs=3") // killed between the two
	requested("", "a made=5 seen=4 signs=3 requested=2", "b made=5 seen=4 signs=1", "e1 made=5 seen=4 signs=3 requested=2")
}

// An unmanaged key has no metadata until it is replaced. A request creates the metadata, in which the record is marked as found.
func TestRotateNowUnmanaged(t *testing.T) {
	g := newGuarded(t)
	l := g.place()
	g.start()
	g.step(guardedText(l), "hand", "unmanaged key signs, its record is visible")
	r := &Rotator{Store: g.store, Rules: func(string) Rules { return Rules{} }, Done: func(_, _ string) {}}
	if begun, err := r.RotateNow("example.org", load(t, g.store, nil).Of("example.org"), false); err != nil || !begun {
		t.Fatal(begun, err)
	}
	k := load(t, g.store, nil).Of("example.org")[0]
	if k.State != Active || !k.requested() || !k.seen() {
		t.Errorf("%s %+v", k.State, k.Metadata)
	}
}

// A standby is checked in each run, so its check is never overdue. The check of a key whose record was never found can be
// overdue.
func TestCheckOverdue(t *testing.T) {
	for text, want := range map[string]time.Time{"a made=500 seen=499": planNow, "a made=500 published=499": *ago(499), "a made=500 published=499 signs=400": *ago(400)} {
		s := Step{Do: DoCheck, Key: planKey(t, text), Due: planNow}
		if got := s.Since(planNow); !got.Equal(want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
