// Package filter handles one message. It collects the envelope and the header, and package policy assigns a role. The signer or the
// verifier reads the body while DNS lookups are in progress. Then package policy decides. Package filter converts the decision to header
// edits, a reply and one log line.
//
// A [Filter] has the settings. Its methods Begin and Broken are the handlers of a milter.Server:
//
//	f := &filter.Filter{AuthservID: "mx.example.org", Keys: watcher.Current, Resolver: resolver, Now: time.Now, Log: log}
//	server := milter.NewServer(milter.Options{Begin: f.Begin, Broken: f.Broken, Log: log})
//
// docs/architecture.md follows a message through the files of this package.
package filter

import (
	"context"
	"log/slog"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dns"
	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

// Filter creates the Message for each message. Its fields do not change after the server has started.
type Filter struct {
	Rules           policy.Rules // the field Hosted is not used: the snapshot of the keys has the hosted domains
	Observe         bool         // observe mode: nothing is signed, deleted or rejected, and the authserv-id of the results begins with "observe."
	AuthservID      string       // empty: the name of the MTA
	AuthservAliases []string
	Expire          time.Duration // x=
	Keys            func() *keys.Snapshot
	Listed          Listed        // nil: there are no tables
	Owners          Owners        // nil: sign.login_maps is empty
	TablesTimeout   time.Duration // the timeout for all table lookups of a message together
	Resolver        *dns.Resolver
	MessageTimeout  time.Duration // the timeout for all queries of a message together
	Now             func() time.Time
	Log             *slog.Logger
	Bounces         *Bounces               // nil: no reports are sent
	Reports         *Reports               // nil: no reports are received
	Finished        func(*decision.Record) // called at the end of each message, from many goroutines; may be nil
}

// Listed reports whether the tables of domains.tables have one of the domains, and returns the table that has it. If a lookup failed and no
// other table has a domain, it returns the error and the table whose lookup failed.
type Listed func(ctx context.Context, domains []string) (table string, found bool, err error)

// Owners returns the logins that own an address in the tables of sign.login_maps, and the table that has its entry. found is false if no
// table has one. After an error, table is the one whose lookup failed.
type Owners func(ctx context.Context, local, domain string) (logins []string, table string, found bool, err error)

// Begin starts a message: milter.Options.Begin.
func (f *Filter) Begin(ctx context.Context, s milter.Session, e milter.Envelope) milter.Message {
	m := &message{filter: f, ctx: ctx, evidence: evidence(s, e), mta: s.MTA}
	if policy.Unauthenticated(m.evidence.Connection, m.evidence.Envelope, f.Rules) {
		m.startSPF()
	}
	return m
}

// Broken answers and logs a message whose handling failed: milter.Options.Broken. The record of such a message contains only information
// from the envelope.
func (f *Filter) Broken(s milter.Session, e milter.Envelope) milter.Reply {
	found := evidence(s, e)
	found.QueueID = e.QueueID
	verdict := policy.Broken(found)
	r := &decision.Record{Version: decision.Version, Code: verdict.Code(), Evidence: found, Verdict: verdict, Observe: f.Observe}
	if f.Observe {
		r.Would, r.Action = r.Action, policy.Accept
	}
	f.log(context.Background(), r)
	if f.Finished != nil {
		f.Finished(r)
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

// observing is the prefix of the authserv-id of results in observe mode. No filter should act on these results.
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
