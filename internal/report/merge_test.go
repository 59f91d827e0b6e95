package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/dmarc"
	"signpost/internal/journal"
)

// Reports about parts of a day, which went through JSON, add up to the report about the whole day.
func TestSumOfParts(t *testing.T) {
	j := newJournal(t)
	var times []time.Time
	for n := range 300 {
		at := monday().Add(time.Duration(n) * 4 * time.Minute)
		j.at(at)
		r := varied(n%40, false)
		if n%17 == 0 {
			r.Evidence.DMARC[0].Status = dmarc.TempError
		}
		j.Add(r)
		times = append(times, at)
	}
	j.Close()
	whole := collected(t, j.path, monday(), Options{})
	past, err := journal.OpenReader(j.path)
	ok(t, err)
	defer past.Close()
	sums := map[string]*Sum{}
	after := int64(0)
	for _, n := range []int{0, 17, 18, 150, 299, -1} {
		until := monday().Add(day).UnixMicro()
		if n >= 0 {
			until = times[n].UnixMicro()
		}
		ok(t, Collect(t.Context(), past, monday(), Options{After: after, Until: until, Empty: true}, func(r *Report) error {
			text, err := json.Marshal(r)
			ok(t, err)
			var read Report
			ok(t, json.Unmarshal(text, &read))
			if sums[r.Policy.Domain] == nil {
				sums[r.Policy.Domain] = &Sum{}
			}
			sums[r.Policy.Domain].Add(&read)
			return nil
		}))
		after = until
	}
	order := func(r *Report) {
		slices.SortFunc(r.Rows, func(a, b Row) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	for name, want := range whole {
		got := sums[name].Report()
		order(got)
		order(want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the sum of the parts differs:\n%+v\n%+v", name, got, want)
		}
	}
	for name, s := range sums {
		if s.Report() != nil && whole[name] == nil {
			t.Errorf("%s: no report about the whole day", name)
		}
	}
}

// The sum of full reports is not larger than a report of one host. Each message is counted once: in a row, or as omitted.
func TestSumIsLimited(t *testing.T) {
	var s Sum
	const each = 8000
	for host := range 3 {
		r := &Report{Day: monday(), Policy: Policy{Domain: "example.org", P: "none"}, Optional: host != 1, TempErrors: 1, Omitted: 10}
		for n := range each {
			r.Rows = append(r.Rows, Row{Source: netip.AddrFrom4([4]byte{10, byte(host), byte(n >> 8), byte(n)}), Count: 2, HeaderFrom: "example.org"})
		}
		s.Add(r)
	}
	r := s.Report()
	if len(r.Rows) != maxRows || r.Messages+r.Omitted != 3*(2*each+10) || r.TempErrors != 3 || r.Optional {
		t.Errorf("%d rows, %d messages, %d omitted, %d temperrors, optional %v", len(r.Rows), r.Messages, r.Omitted, r.TempErrors, r.Optional)
	}
}

// Whatever the order in which hosts learn of the states of a delivery, they agree in the end. A delivery that was accepted stays so, even if
// somebody puts older states back.
func TestMergeAgrees(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		var states []Progress
		accepted := false
		for n := range 4 {
			p := Progress{Report: "a", Day: monday(), Stage: []Stage{StageFrozen, StageAccepted, StageRefused, StageGivenUp}[random.IntN(4)], Since: monday().Add(25 * time.Hour),
				Changed: monday().Add(25*time.Hour + time.Duration(random.IntN(3))*time.Second), Tries: n, Host: fmt.Sprint("h", n)}
			if random.IntN(3) == 0 {
				p.Bounced = "5.1.1"
			}
			accepted = accepted || p.Stage == StageAccepted
			states = append(states, p)
		}
		var results []Delivery
		for range 3 {
			s, _ := newState(t)
			s.Host = "me"
			freeze(t, s, frozenReport("a", 1), "x@example.com")
			for _, i := range slices.Concat(random.Perm(len(states)), random.Perm(len(states))) {
				ok(t, s.Merge(t.Context(), states[i]))
			}
			all, err := s.List(t.Context())
			ok(t, err)
			results = append(results, all[0])
		}
		if !reflect.DeepEqual(results[0], results[1]) || !reflect.DeepEqual(results[1], results[2]) {
			t.Errorf("hosts disagree after %+v:\n%+v\n%+v\n%+v", states, results[0], results[1], results[2])
		}
		if accepted && results[0].Stage != StageAccepted {
			t.Errorf("a delivery that was accepted is %s", results[0].Stage)
		}
	}
}

// A change is shared until the others have it, and again if an older state was put back.
func TestUnshared(t *testing.T) {
	s, c := newState(t)
	s.Host = "me"
	freeze(t, s, frozenReport("a", 1), "x@example.com", "y@example.com")
	want := func(what string, n, suppressed int) []Progress {
		t.Helper()
		all, suppressions, err := s.Unshared(t.Context(), 10)
		if err != nil || len(all) != n || len(suppressions) != suppressed {
			t.Errorf("%s: %+v %+v %v", what, all, suppressions, err)
		}
		return all
	}
	want("a new report", 0, 0)
	old := Progress{Report: "a", Position: 1, Stage: StageFrozen, Since: c.now(), Changed: c.now()}
	c.Time = c.Add(time.Minute)
	ok(t, s.Try(t.Context(), "a", "y@example.com"))
	ok(t, s.Move(t.Context(), "a", "y@example.com", StageAccepted, ""))
	moved := want("accepted", 1, 0)
	c.Time = c.Add(time.Minute)
	_, _, err := s.Bounce(t.Context(), Key("secret").MAC("y@example.com", "a"), "5.1.1")
	ok(t, err)
	ok(t, s.SetShared(t.Context(), moved[0]))
	bounced := want("it bounced meanwhile", 1, 1)
	if bounced[0].Bounced != "5.1.1" || bounced[0].Stage != StageAccepted || bounced[0].Position != 1 || !bounced[0].Day.Equal(monday()) || bounced[0].Host != "me" {
		t.Errorf("%+v", bounced[0])
	}
	ok(t, s.SetShared(t.Context(), bounced[0]))
	want("shared", 0, 1)
	ok(t, s.Merge(t.Context(), bounced[0]))
	want("the same state came back", 0, 1)
	ok(t, s.Merge(t.Context(), old))
	want("an older state was put back", 1, 1)

	_, suppressions, err := s.Unshared(t.Context(), 10)
	ok(t, err)
	ok(t, s.SetSuppressionShared(t.Context(), suppressions[0]))
	want("the suppression was shared", 1, 0)
	c.Time = c.Add(time.Minute)
	ended := Suppression{Destination: "y@example.com", Until: time.Unix(0, 0), Changed: c.now()}
	ok(t, s.MergeSuppression(t.Context(), ended))
	ok(t, s.MergeSuppression(t.Context(), suppressions[0]))
	if all, err := s.Suppressed(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("a user of another host ended the suppression: %+v %v", all, err)
	}
}

// The last change counts on all hosts, even if the clock of the host that made it is behind.
func TestClocksOfHostsDiffer(t *testing.T) {
	a, clock := newState(t)
	b, _ := newState(t)
	a.Host, b.Host = "a", "b"
	clock.Time = clock.Time.Add(4 * time.Minute)
	f := frozenReport("id", 1)
	f.Created = clock.Time
	for _, s := range []*State{a, b} {
		if _, err := s.Freeze(t.Context(), f, []Destination{{Address: "x@example.org", MAC: "m"}}); err != nil {
			t.Fatal(err)
		}
	}
	exchange := func(from, to *State, want Stage, suppressed int) {
		t.Helper()
		for range 2 { // a state that is not accepted returns
			deliveries, suppressions, err := from.Unshared(t.Context(), 10)
			ok(t, err)
			for _, p := range deliveries {
				ok(t, errors.Join(to.Merge(t.Context(), p), from.SetShared(t.Context(), p)))
			}
			for _, p := range suppressions {
				ok(t, errors.Join(to.MergeSuppression(t.Context(), p), from.SetSuppressionShared(t.Context(), p)))
			}
			from, to = to, from
		}
		for _, s := range []*State{a, b} {
			all, err := s.List(t.Context())
			ok(t, err)
			found, err := s.Suppressed(t.Context())
			ok(t, err)
			if all[0].Stage != want || len(found) != suppressed {
				t.Errorf("host %s: stage %s, %d suppressions, want %s, %d", s.Host, all[0].Stage, len(found), want, suppressed)
			}
		}
	}
	ok(t, b.Move(t.Context(), "id", "x@example.org", StageRefused, "550"))
	exchange(b, a, StageRefused, 0)
	if n, err := b.Retry(t.Context(), "id"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	exchange(b, a, StageFrozen, 0)
	ok(t, a.Suppress(t.Context(), "x@example.org", clock.Time.Add(time.Hour)))
	exchange(a, b, StageFrozen, 1)
	ok(t, b.Suppress(t.Context(), "x@example.org", time.Time{}))
	exchange(b, a, StageFrozen, 0)
}
