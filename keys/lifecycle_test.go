package keys_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

// A name server that is down delays a key by a day. Then the key signs, with a warning, if half of the name servers have its
// record.
func TestSecondaryDown(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": twoServers})
	s.dns.Down("ns2.example.org", errors.New("no answer within 2s"))
	s.add("")
	for range 4 {
		s.rotate()
		s.now = s.now.Add(6*time.Hour - time.Minute)
	}
	if got := s.signing(); got != nil {
		t.Fatalf("%s signs within a day", got)
	}
	s.now = s.now.Add(10 * time.Minute)
	if out := s.try(); !s.needed || !strings.Contains(out, "warning: ") || !strings.Contains(out, "127.0.0.2") {
		t.Errorf("no warning: %s", out)
	}
	s.now = s.now.Add(3 * time.Hour)
	s.try()
	if got := s.signing(); got == nil {
		t.Errorf("nothing signs: %s", s.status())
	}
}

// SERVFAIL counts as no answer.
func TestSecondaryServfail(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": twoServers})
	s.dns.Down("ns2.example.org", errors.New("it answers SERVFAIL"))
	s.add("")
	s.rotate()
	s.now = s.now.Add(3 * time.Hour)
	s.rotate()
	if got := s.signing(); got != nil {
		t.Fatalf("%s signs", got)
	}
	if out := s.status(); !strings.Contains(out, "SERVFAIL") {
		t.Errorf("status does not report why:\n%s", out)
	}
}

// After a jump of the clock, a run reports it and revokes and removes no key.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": zone})
	s.add("")
	s.days(93)
	retiring := s.in(keys.Retiring)
	if len(retiring) != 1 {
		t.Fatal(s.state())
	}
	first := retiring[0]
	s.now = s.now.Add(30 * day)
	out := s.rotate()
	if s.state()[first] != keys.Retiring || !strings.Contains(out, "this run revokes only compromised keys and removes no record") {
		t.Errorf("after a jump of 30 days: %v %s", s.state(), out)
	}
	s.now = s.now.Add(time.Hour)
	s.rotate()
	if s.state()[first] != keys.Revoked {
		t.Errorf("the run after the jump: %v", s.state())
	}
	s.now = s.now.Add(-40 * day)
	if out := s.rotate(); !strings.Contains(out, "the clock went back") {
		t.Error(out)
	}
	if s.state()[first] != keys.Revoked {
		t.Errorf("after the clock went back: %v", s.state())
	}
}

// After a jump of the clock, only a compromised key is revoked.
func TestClockJumpsBeforeRevoke(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": zone})
	s.add("")
	s.days(93)
	s.now = s.now.Add(30 * day)
	leaked := s.signing()[0]
	s.leak(leaked)
	if got := s.state()[leaked]; got != keys.Revoked {
		t.Errorf("the key that leaked is %s", got)
	}
	if got := s.in(keys.Retiring); len(got) != 1 {
		t.Errorf("the record of an old key was revoked: %v", s.state())
	}
}

// A concurrent second run reports the process that holds the lock, and does nothing.
func TestTwoRotates(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": zone})
	s.add("")
	store := s.rotator.Store
	store.Lease = nil
	unlock, err := store.TryLock("example.org")
	if err != nil {
		t.Fatal(err)
	}
	if out := s.try(); !s.needed || !strings.Contains(out, fmt.Sprintf("example.org is locked by process %d", os.Getpid())) {
		t.Error(out)
	}
	unlock()
	s.rotate()
}

// A key that cannot be published does not affect others: the compromised key is revoked, and the standby signs.
func TestUnpublishableKeyAffectsNoOther(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": takenZone})
	s.add("")
	s.days(3)
	leaked := s.signing()[0]
	if out := s.add("taken"); !s.needed || !strings.Contains(out, "already has another TXT record") {
		t.Fatal(out)
	}
	if out := s.leak(leaked); !s.needed || !strings.Contains(out, "publish taken") {
		t.Error(out)
	}
	if txt := s.record(leaked); !strings.HasSuffix(txt, "p=") {
		t.Errorf("the leaked key is still in DNS: %q", txt)
	}
	if now := s.signing(); len(now) != 1 || now[0] == leaked {
		t.Errorf("%q signs", now)
	}
}

// The record at the selector of a key that was never published belongs to another program. It stays when the key is revoked.
func TestRevokeLeavesRecordOfOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": takenZone})
	s.add("taken")
	s.leak("taken")
	if txt := s.record("taken"); txt != "v=DKIM1; p=AAAA" {
		t.Errorf("%q", txt)
	}
}

// The CNAMEs of a ring of selectors point to a zone that Signpost may update.
func TestRing(t *testing.T) {
	t.Parallel()
	text := zone
	for _, selector := range []string{"sp1", "sp2", "sp3"} {
		text += selector + "._domainkey 600 IN CNAME " + selector + ".example.org.keys.test.\n"
	}
	s := newSite(t, map[string]string{"example.org.": text + "; static\n", "keys.test.": strings.ReplaceAll(zone, "example.org", "keys.test")})
	s.rules.Ring = map[string][]string{"ed25519": {"sp1", "sp2", "sp3"}}
	s.add("")
	var order []string
	until := map[string]time.Time{}
	for n := range 400 {
		s.days(1)
		signing := strings.Join(s.signing(), " ")
		if n < 2 && signing == "" {
			continue
		}
		if len(order) == 0 || order[len(order)-1] != signing {
			if s.now.Before(until[signing]) {
				t.Errorf("day %d: %s signs again while its old mail is in transit", n, signing)
			}
			order = append(order, signing)
		}
		until[signing] = s.now.Add(14 * day)
		if txt, err := s.dns.LookupTXT(t.Context(), signing+".example.org.keys.test"); err != nil || len(txt) != 1 || strings.HasSuffix(txt[0], "p=") {
			t.Fatalf("day %d: %s signs and DNS has %q %v", n, signing, txt, err)
		}
	}
	if got := strings.Join(order, " "); got != "sp1 sp2 sp3 sp1 sp2" {
		t.Errorf("the ring used the selectors %q", got)
	}
}

// A key that is added beside a standby is published immediately and becomes the successor. The old standby remains pending, and
// no other key is created.
func TestAddBesideStandby(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"example.org.": zone})
	s.add("")
	s.days(3)
	standby := s.in(keys.Verified)
	if out := s.add("big"); !strings.Contains(out, "published key big") {
		t.Error(out)
	}
	if s.record("big") == "" {
		t.Error("its record is not in DNS")
	}
	s.days(95)
	if got := s.signing(); !slices.Equal(got, []string{"big"}) || !slices.Equal(s.in(keys.Verified), standby) {
		t.Errorf("%q signs: %v, before, the standby was %q", got, s.state(), standby)
	}
	s.days(90)
	if got := s.signing(); !slices.Equal(got, standby) {
		t.Errorf("%q signs, want the old standby", got)
	}
}

// If Add is interrupted before any of its operations, the next run completes it.
func TestAddBesideStandbyInterrupted(t *testing.T) {
	t.Parallel()
	for step := 1; ; step++ {
		s := newSite(t, map[string]string{"example.org.": zone})
		s.add("")
		s.days(3)
		before := s.state()
		if !s.interrupted(step, func() { s.add("big") }) {
			if step < 5 {
				t.Errorf("add has only %d operations", step-1)
			}
			return
		}
		s.rotate()
		state, known := s.state()["big"]
		switch txt := s.record("big"); {
		case known && (state != keys.Verified || txt == ""):
			t.Errorf("step %d: big is %s and DNS has %q", step, state, txt)
		case !known && (txt != "" || !maps.Equal(before, s.state())):
			t.Errorf("step %d: key big does not exist: %v, DNS has %q", step, s.state(), txt)
		}
	}
}

// If a requested rotation of a pair is interrupted before any operation, the next runs complete it. Each key is replaced once,
// and a key of each algorithm signs at all times.
func TestRotateNowInterrupted(t *testing.T) {
	t.Parallel()
	stride := 1
	if testing.Short() {
		stride = 4 // each step makes three RSA keys
	}
	for step := 1; ; step += stride {
		s := newSite(t, map[string]string{"example.org.": zone}).pair()
		s.add("")
		s.days(3)
		first, standby := s.signing(), s.in(keys.Verified)
		done := !s.interrupted(step, func() { s.rotateNow() })
		if n := len(s.signing()); n != 2 {
			t.Errorf("step %d: %d keys sign", step, n)
		}
		if !done && !slices.Equal(s.in(keys.Active), standby) {
			s.rotateNow()
		}
		s.rotate()
		if now, old := s.in(keys.Active), s.in(keys.Retiring); !slices.Equal(now, standby) || len(old) != len(first) {
			t.Errorf("step %d: %v, want %q to sign", step, s.state(), standby)
		}
		if done {
			if step < 10 {
				t.Errorf("the rotation has only %d operations", step-1)
			}
			return
		}
	}
}
