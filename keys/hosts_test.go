package keys_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

// cluster makes a site wait for another host, b.
type cluster struct {
	behind   map[bool]bool // whether b is behind, for activation and for withdrawal
	notLeads error
}

func (c *cluster) join(s *site) *cluster {
	s.rotator.Hosts = &keys.Hosts{
		Behind: func(_ context.Context, _, _ string, withdraw bool) ([]string, error) {
			if c.behind[withdraw] {
				return []string{"b (last synchronized yesterday)"}, nil
			}
			return nil, nil
		},
		Leads: func(context.Context) error { return c.notLeads },
	}
	return c
}

// A key is activated only when each host has it. Until then, the old key signs on.
func TestActivationWaitsForHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": zone})
	s.add("")
	s.days(89)
	first := s.signing()
	c := (&cluster{behind: map[bool]bool{false: true}}).join(s)
	var out string
	for range 4 {
		out = s.try()
		s.now = s.now.Add(day)
	}
	if got := s.signing(); len(got) != 1 || got[0] != first[0] {
		t.Fatalf("%v signs, want %v", got, first)
	}
	if !s.needed || !strings.Contains(out, "not activated yet, because other hosts do not have its private key: b (last synchronized yesterday)") {
		t.Errorf("output %q", out)
	}
	if got, err := s.rotator.Waiting(t.Context(), "example.org"); err != nil || got != "" { // a standby key is not waited for
		t.Errorf("Waiting = %q, %v", got, err)
	}
	c.behind = nil
	s.rotate()
	if got := s.signing(); len(got) != 1 || got[0] == first[0] {
		t.Errorf("%v signs, want the successor of %v", got, first)
	}
}

// A record is withdrawn only when no host signs with its key.
func TestWithdrawalWaitsForHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": zone})
	s.add("")
	s.days(93)
	first := s.in(keys.Retiring)[0]
	c := (&cluster{behind: map[bool]bool{true: true}}).join(s)
	var out string
	for range 30 {
		out = s.try()
		s.now = s.now.Add(day)
	}
	if got := s.state()[first]; got != keys.Retiring || strings.HasSuffix(s.record(first), "p=") {
		t.Fatalf("key %s is %s, record %q", first, got, s.record(first))
	}
	if !s.needed || !strings.Contains(out, "not revoked yet, because other hosts may still sign with it: b") {
		t.Errorf("output %q", out)
	}
	c.behind = nil
	s.days(13) // the mail that b has sent until now
	if got := s.state()[first]; got != keys.Retiring || strings.HasSuffix(s.record(first), "p=") {
		t.Fatalf("mail of b is in transit: key %s is %s, record %q", first, got, s.record(first))
	}
	s.days(1)
	if got := s.state()[first]; got != keys.Revoked {
		t.Fatalf("key %s is %s", first, got)
	}
	c.behind = map[bool]bool{true: true}
	for range 40 {
		out = s.try()
		s.now = s.now.Add(day)
	}
	if got := s.state()[first]; got != keys.Revoked || !strings.Contains(out, "its record is not removed yet") {
		t.Errorf("key %s is %s, output %q", first, got, out)
	}
}

// A compromised key waits for no host: its record is emptied, and its successor signs.
func TestCompromisedKeyWaitsForNoHost(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": zone})
	s.add("")
	s.days(5)
	leaked := s.signing()[0]
	(&cluster{behind: map[bool]bool{true: true, false: true}, notLeads: errors.New("the database cannot be reached")}).join(s)
	s.leak(leaked)
	if got := s.state()[leaked]; got != keys.Revoked || !strings.HasSuffix(s.record(leaked), "p=") {
		t.Errorf("key %s is %s, record %q", leaked, got, s.record(leaked))
	}
	if got := s.signing(); len(got) != 1 || got[0] == leaked {
		t.Errorf("%v signs", got)
	}
}

// A host that does not lead changes no record and activates no key.
func TestOnlyTheLeaderChanges(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": zone})
	c := (&cluster{notLeads: errors.New("host b rotates the keys")}).join(s)
	s.add("")
	if got := s.in(keys.Generated); len(got) != 1 {
		t.Fatalf("states %v", s.state())
	}
	if out := s.try(); !s.needed || !strings.Contains(out, "host b rotates the keys") {
		t.Errorf("output %q", out)
	}
	c.notLeads = nil
	s.rotate()
	s.now = s.now.Add(3 * time.Hour)
	c.notLeads = errors.New("host b rotates the keys")
	s.try()
	if got := s.signing(); got != nil {
		t.Fatalf("%v signs", got)
	}
	c.notLeads = nil
	s.rotate()
	if got := s.signing(); len(got) != 1 {
		t.Errorf("nothing signs: %s", s.status())
	}
}

// --wait reports the host that a new key waits for.
func TestWaitingNamesHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": zone})
	(&cluster{behind: map[bool]bool{false: true}}).join(s)
	s.add("")
	s.try()
	s.now = s.now.Add(3 * time.Hour)
	s.try()
	got, err := s.rotator.Waiting(t.Context(), "example.org")
	if err != nil || !strings.Contains(got, "waiting until other hosts have key") || !strings.Contains(got, "b (last synchronized yesterday)") {
		t.Errorf("Waiting = %q, %v", got, err)
	}
}
