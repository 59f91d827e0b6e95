package keys_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/keys"
	"signpost/keys/keystest"
)

const (
	zone = "$ORIGIN example.org.\n$TTL 3600\n@ IN SOA ns1 hostmaster 1 3600 600 86400 300\n@ IN NS ns1\nns1 IN A 127.0.0.1\n"
	// twoServers is the same zone with two name servers.
	twoServers = zone + "@ IN NS ns2\nns2 IN A 127.0.0.2\n"
	takenZone  = zone + "taken._domainkey IN TXT \"v=DKIM1; p=AAAA\"\n"
	day        = 24 * time.Hour
)

// rsaKeys is the pool of RSA keys of all tests.
var rsaKeys keystest.Pool

// site holds the keys of example.org, with its own clock and DNS.
type site struct {
	*testing.T
	dns     *keystest.DNS
	rotator *keys.Rotator
	rules   keys.Rules
	now     time.Time
	output  strings.Builder // what the rotator reported
	needed  bool            // the last run failed, or action is needed
}

func newSite(t *testing.T, zones map[string]string) *site {
	t.Helper()
	dns, err := keystest.New(zones)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &site{T: t, dns: dns, now: time.Date(2026, 11, 24, 4, 15, 0, 0, time.UTC), rules: keys.Rules{Algorithms: []string{"ed25519"}, Bits: 2048,
		RotateEvery: 90 * day, RetireAfter: 14 * day, KeepRevoked: 30 * day, Method: "rfc2136", TTL: time.Hour}}
	store := keys.Store{State: dir, Dir: filepath.Join(dir, "keys"), LockTimeout: 100 * time.Millisecond, Lease: new(keys.Lease), Now: func() time.Time {
		s.now = s.now.Add(time.Microsecond) // as a real clock does
		return s.now
	}}
	s.rotator = &keys.Rotator{Store: store, Rules: func(string) keys.Rules { return s.rules }, NewRSA: rsaKeys.Source(), Checker: &keys.Checker{Authority: dns},
		Publisher: func(string) (keys.Publisher, error) { return dns, nil },
		Done:      func(domain, what string) { fmt.Fprintf(&s.output, "%s: %s\n", domain, what) },
		Warn:      func(what string) { fmt.Fprintln(&s.output, what) },
		Needs: func(domain, what string, _ *keys.Metadata) {
			s.needed = true
			fmt.Fprintf(&s.output, "%s: %s\n", domain, what)
		}}
	if err := store.Make(); err != nil {
		t.Fatal(err)
	}
	return s
}

// pair selects keys of both algorithms.
func (s *site) pair() *site {
	s.rules.Algorithms = []string{"rsa", "ed25519"}
	return s
}

// try does the steps that are due, and returns the output.
func (s *site) try() string {
	s.output.Reset()
	s.needed = false
	s.rotator.Frozen, s.rotator.Urgent = false, false
	return s.run()
}

func (s *site) run() string {
	s.rotator.RunAll(s.Context(), []string{"example.org"}, func(int) {}, func(err error) {
		s.needed = true
		fmt.Fprintln(&s.output, err)
	})
	return s.output.String()
}

// rotate is like try, but the test fails if action is needed or an error occurs.
func (s *site) rotate() string {
	s.Helper()
	out := s.try()
	if s.needed {
		s.Fatal(out)
	}
	return out
}

// days calls rotate once on each of n days.
func (s *site) days(n int) {
	s.Helper()
	for range n {
		s.rotate()
		s.now = s.now.Add(day)
	}
}

// add creates a key of each algorithm and publishes it. Selector may be empty.
func (s *site) add(selector string) string {
	s.Helper()
	_, err := s.rotator.Add(s.Context(), keys.AddOptions{Domain: "example.org", Algorithms: s.rules.Algorithms, Bits: 2048, Selector: selector}, func(string) {})
	if err != nil {
		s.Fatal(err)
	}
	return s.try()
}

// rotateNow requests successors, and does the steps that are due.
func (s *site) rotateNow() (note string) {
	s.Helper()
	note, err := s.rotator.RequestRotation(s.Context(), "example.org")
	if err != nil {
		s.Fatal(err)
	}
	s.rotate()
	return note
}

// leak revokes a compromised key.
func (s *site) leak(selector string) string {
	s.Helper()
	if _, err := s.rotator.Leaked(s.Context(), "example.org", selector); err != nil {
		s.Fatal(err)
	}
	s.output.Reset()
	s.needed, s.rotator.Frozen, s.rotator.Urgent = false, false, true
	return s.run()
}

func (s *site) set() *keys.Set {
	s.Helper()
	set, err := s.rotator.Store.Load(nil)
	if err != nil {
		s.Fatal(err)
	}
	return set
}

func (s *site) signing() (all []string) {
	s.Helper()
	for _, k := range s.set().Signing("example.org") {
		all = append(all, k.Selector)
	}
	slices.Sort(all)
	return all
}

func (s *site) state() map[string]keys.State {
	s.Helper()
	all := map[string]keys.State{}
	for _, k := range s.set().Of("example.org") {
		if k.Err != nil {
			s.Errorf("%s: %v", k.Selector, k.Err)
		}
		all[k.Selector] = k.State
	}
	return all
}

// in returns the selectors of keys in a state.
func (s *site) in(state keys.State) []string {
	s.Helper()
	all := s.state()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(selector string) bool { return all[selector] != state })
}

// status returns the next step and the action needed of all keys.
func (s *site) status() string {
	var b strings.Builder
	for _, k := range s.set().Status(s.rotator.Rules, s.now) {
		fmt.Fprintln(&b, k.Selector, k.State, k.Next, k.Action)
	}
	return b.String()
}

// record returns the TXT record of a key in DNS.
func (s *site) record(selector string) string {
	s.Helper()
	texts, err := s.dns.LookupTXT(s.Context(), keys.RecordName("example.org", selector))
	if err != nil {
		s.Fatal(err)
	}
	return strings.Join(texts, " and ")
}

// interrupted calls do and interrupts it before operation number step. It reports whether do was interrupted.
func (s *site) interrupted(step int, do func()) (is bool) {
	type stop struct{}
	n := 0
	s.rotator.Store.Hook = func(string) {
		if n++; n == step {
			panic(stop{})
		}
	}
	defer func() {
		s.rotator.Store.Hook = nil
		if r := recover(); r != nil {
			if _, is = r.(stop); !is {
				panic(r)
			}
		}
	}()
	do()
	return false
}
