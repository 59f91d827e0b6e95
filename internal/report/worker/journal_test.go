package worker

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/journal"
	"signpost/policy"
)

// openJournal returns a journal with an outbound message to each recipient, of the day before the site's clock.
func openJournal(t *testing.T, s *site, recipients ...string) *journal.Reader {
	t.Helper()
	path := filepath.Join(s.dir, "journal", "journal.db")
	at := s.clock.AddDate(0, 0, -1)
	j := journal.Open(journal.Options{Path: path, Limits: journal.Limits{Keep: 14 * 24 * time.Hour, MaxSize: 512 << 20, Addresses: journal.Hash},
		Now: func() time.Time { return at }, Log: slog.New(slog.DiscardHandler), Lost: func(c journal.Cause, n int) { t.Errorf("%d messages lost: %s", n, c) }})
	add := func(role policy.Role, action policy.Action, to string) {
		r := &decision.Record{Assignment: policy.Assignment{Role: role}, Verdict: policy.Verdict{Action: action}}
		r.Recipients = []string{to}
		j.Add(r)
	}
	for _, to := range recipients {
		add(policy.RoleSign, policy.Sign, to)
	}
	add(policy.RoleSign, policy.Reject, "rejected@stranger.test")
	add(policy.RoleVerify, policy.Accept, "inbound@stranger.test")
	j.Close()
	r, err := journal.OpenReader(path)
	ok(t, err)
	t.Cleanup(r.Close)
	return r
}
