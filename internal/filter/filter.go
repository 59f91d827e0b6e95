// Package filter handles one message: it collects what Postfix sends of it, policy assigns a role, the body streams through the
// signer, or through the verifier during the DNS lookups, policy decides, and at the end the decision becomes header edits, a reply
// and one line in the log.
package filter

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"signpost/internal/dns"
	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

// Filter makes the Message of each message. Its fields do not change while it serves.
type Filter struct {
	Rules           policy.Rules // Hosted comes with each snapshot of the keys
	Observe         bool         // sign, delete and reject nothing; results have an authserv-id of their own
	AuthservID      string       // empty: the MTA's own name
	AuthservAliases []string
	Expire          time.Duration // x=
	Keys            func() *keys.Snapshot
	Resolver        *dns.Resolver
	MessageTimeout  time.Duration // for all queries of a message
	Now             func() time.Time
	Log             *slog.Logger
	Recipients      bool          // keep them in the evidence
	Judged          func(Report)  // called at the end of each message; may be nil
	Kept            func(Kept)    // the same for the journal, at hardly any cost; may be nil
	Measured        func(Measure) // the same for metrics, at hardly any cost; may be nil
}

// Measure is what metrics count of a message.
type Measure struct {
	Role        policy.Role
	Disposition string           // a word of Dispositions; in observe mode what would have become of it
	IPRev       string           // the result's word, "" where there is none
	Evidence    *policy.Evidence // only lent
	Verified    bool             // results were found out
	Spent       time.Duration    // in the handlers, waiting for DNS at the end included
	Forged      int              // fields removed because they claim to be ours, or cannot be read
	Unnamed     int              // Authentication-Results removed because they have no authserv-id
}

// Dispositions returns the words for what was done with a message.
func Dispositions() []string {
	return []string{"accepted", "signed", "tagged", "held", "deferred", "refused"}
}

// Kept is a Report whose Lookups are not written out yet. It shares memory with the message, its header and the DNS cache, and
// keeps all of that in memory.
type Kept struct {
	Report
	Answered dns.Answered
}

// Begin starts a message: milter.Options.Begin.
func (f *Filter) Begin(ctx context.Context, s milter.Session, e milter.Envelope) milter.Message {
	m := &message{filter: f, ctx: ctx, evidence: evidence(s, e), mta: s.MTA}
	if policy.Stranger(m.evidence.Connection, m.evidence.Envelope, f.Rules) {
		m.startSPF()
	}
	return m
}

// Broken answers a message whose handling failed: milter.Options.Broken.
func (f *Filter) Broken(s milter.Session, e milter.Envelope) milter.Reply {
	found := evidence(s, e)
	found.QueueID = e.QueueID
	verdict := policy.Broken(found)
	if f.Kept != nil {
		did := "accepted"
		if r := verdict.Reply; r.Code != 0 {
			did = fmt.Sprintf("deferred %d %s", r.Code, r.Enhanced)
		}
		f.Kept(Kept{Report: Report{Evidence: found, Verdict: verdict, Done: did, Observe: f.Observe}})
	}
	if f.Observe {
		return milter.Reply{}
	}
	return milter.Reply(verdict.Reply)
}

func evidence(s milter.Session, e milter.Envelope) policy.Evidence {
	return policy.Evidence{
		Connection: policy.Connection{Client: s.Client, Name: s.Name, PTR: s.PTR, HELO: s.HELO, SMTP: s.SMTP, Daemon: s.Daemon},
		Envelope:   policy.Envelope{Sender: e.Sender, Login: e.Login},
	}
}

// observing precedes the authserv-id of results in observe mode, on which no filter should act.
const observing = "observe."

// own returns the configured authserv-id, or the MTA's own name.
func (f *Filter) own(mta string) string {
	if f.AuthservID != "" {
		return f.AuthservID
	}
	return mta
}

// id returns the authserv-id of the results that are written.
func (f *Filter) id(mta string) string {
	if f.Observe {
		return observing + f.own(mta)
	}
	return f.own(mta)
}

// ids returns the authserv-ids whose results count as ours, id first.
func (f *Filter) ids(mta string) []string {
	own := f.own(mta)
	ids := append([]string{own}, f.AuthservAliases...)
	for _, id := range ids[:len(ids):len(ids)] {
		ids = append(ids, observing+id)
	}
	if f.Observe {
		ids[0], ids[len(f.AuthservAliases)+1] = observing+own, own
	}
	return ids
}
