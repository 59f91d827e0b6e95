// Package filter is the way of one message: what Postfix shows of it is gathered, policy gives it a role, the body streams
// through the signer, and at the end everything becomes header edits, a reply and one line in the log.
package filter

import (
	"context"
	"log/slog"
	"time"

	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

// Filter makes the Message of each message. Its fields do not change while it serves.
type Filter struct {
	Rules           policy.Rules // Hosted comes with each snapshot of the keys
	Observe         bool         // sign nothing, change nothing, refuse nothing
	AuthservID      string       // empty: the MTA's own name
	AuthservAliases []string
	Expire          time.Duration // x=
	Keys            func() *keys.Snapshot
	Now             func() time.Time
	Log             *slog.Logger
}

// Begin starts a message: milter.Options.Begin.
func (f *Filter) Begin(_ context.Context, s milter.Session, e milter.Envelope) milter.Message {
	return &message{filter: f, start: f.Now(), evidence: evidence(s, e), ids: f.ids(s)}
}

// Broken answers a message whose handling failed: milter.Options.Broken.
func (f *Filter) Broken(s milter.Session, e milter.Envelope) milter.Reply {
	if f.Observe {
		return milter.Reply{}
	}
	return milter.Reply(policy.Broken(evidence(s, e)).Reply)
}

func evidence(s milter.Session, e milter.Envelope) policy.Evidence {
	return policy.Evidence{
		Connection: policy.Connection{Client: s.Client, Name: s.Name, PTR: s.PTR, HELO: s.HELO, SMTP: s.SMTP, Daemon: s.Daemon},
		Envelope:   policy.Envelope(e),
	}
}

// ids are the names under which results count as ours.
func (f *Filter) ids(s milter.Session) []string {
	own := f.AuthservID
	if own == "" {
		own = s.MTA
	}
	return append([]string{own}, f.AuthservAliases...)
}
