package journal

import (
	"path/filepath"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/testjournal"
	"signpost/policy"
)

// Entries of version 1 are read with the present words for role and action, with their sentences as reasons, and with each DNS answer.
func TestVersion1(t *testing.T) {
	r, err := OpenReader(testjournal.Version1(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, sentences, lookups := 0, 0, 0
	actions, roles := map[policy.Action]int{}, map[policy.Role]int{}
	err = r.Each(t.Context(), Filter{}, func(e *Entry) bool {
		n++
		actions[e.Decided()]++
		roles[e.Role]++
		if e.Version != 1 || e.QueueID == "" || e.Time.Year() != 2023 || !e.Client.IsValid() {
			t.Errorf("%+v", e)
		}
		if replied := e.Decided() == policy.Reject || e.Decided() == policy.Tempfail; replied != (e.Reply.Code != 0) {
			t.Errorf("%s: action %s, reply %+v", e.QueueID, e.Decided(), e.Reply)
		}
		for _, reason := range e.Reasons {
			if reason.Code == policy.Legacy && reason.Detail != "" {
				sentences++
			}
		}
		for _, l := range e.Lookups {
			if l.Status == "" {
				t.Errorf("%s: a lookup without a status: %+v", e.QueueID, l)
			}
			lookups++
		}
		for _, d := range e.DMARC {
			if (d.Status == "pass") != (d.Aligned != nil) {
				t.Errorf("%s: %+v", e.QueueID, d)
			}
		}
		return true
	})
	if err != nil || r.Unread() != nil || n != 75 || sentences < 30 || lookups < 100 {
		t.Errorf("%v %v: %d messages, %d sentences, %d lookups", err, r.Unread(), n, sentences, lookups)
	}
	for _, a := range policy.Actions() {
		if actions[a] == 0 && a != policy.Discard {
			t.Errorf("no message with action %s", a)
		}
	}
	for _, role := range policy.Roles() {
		if roles[role] == 0 {
			t.Errorf("no message with role %s", role)
		}
	}
	if len(actions) != 6 || len(roles) != 3 {
		t.Errorf("%v %v", actions, roles)
	}
}

// If the evidence shows the code of a decision, an entry of version 1 gets this code, so that explain can give advice.
func TestVersion1Codes(t *testing.T) {
	r, err := OpenReader(testjournal.Version1(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := map[string]policy.Code{"two-from-fields-tag": policy.HostileFrom, "replay-hidden-from": policy.HostileFrom, "five-from-domains": policy.HostileFrom,
		"client-a1": policy.HostileFrom, "client-a2": policy.SeveralAuthors, "client-a3-login-domains": policy.LoginMismatch, "from-big5": "", "forged-never": policy.Legacy,
		"local-deny-passing": policy.Legacy}
	err = r.Each(t.Context(), Filter{}, func(e *Entry) bool {
		code, ok := want[e.QueueID]
		if ok && (e.Code != code || e.Code != e.Verdict.Code()) {
			t.Errorf("%s: code %q, want %q: %+v", e.QueueID, e.Code, code, e.Reasons)
		}
		if submitted := e.Assignment.Reason.Code; e.Role == policy.RoleSign && submitted == "" || e.Role == policy.RoleVerify && !e.ResultsOnly && submitted != "" {
			t.Errorf("%s: role %s, reason %+v", e.QueueID, e.Role, e.Assignment.Reason)
		}
		delete(want, e.QueueID)
		return true
	})
	if err != nil || len(want) > 0 {
		t.Error(err, want)
	}
}

// An upgrade keeps the journal. The daemon appends to a journal of version 1, and filters find messages of both versions by the same words.
func TestUpgrade(t *testing.T) {
	d := newFixture(t)
	d.Path = testjournal.Version1(t)
	before := d.ids(t, "reject")
	j := Open(d.Options)
	j.Add(&decision.Record{Version: decision.Version, Evidence: policy.Evidence{QueueID: "4new"}, Assignment: policy.Assignment{Role: policy.RoleVerify},
		Verdict: policy.Verdict{Action: policy.Reject, Reply: policy.Reply{Code: 550}}})
	j.Close()
	if d.log.String() != "" {
		t.Error(d.log)
	}
	if aside, _ := filepath.Glob(d.Path + ".*"); len(aside) > 0 {
		t.Errorf("renamed: %q", aside)
	}
	if after := d.ids(t, "reject"); len(before) < 10 || len(after) != len(before)+1 {
		t.Errorf("%d messages with action reject, %d before", len(after), len(before))
	}
}

// ids returns the numbers of the messages with an action.
func (d *fixture) ids(t *testing.T, action string) []int64 {
	t.Helper()
	q := Query{Action: []string{action}}
	f, err := q.Filter(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ids, err := d.read(t).IDs(t.Context(), f, 1000, false)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}
