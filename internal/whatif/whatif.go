// Package whatif makes the decisions of the journal again, under other rules: what would have become of each message. It
// rests on policy alone, as the daemon does.
package whatif

import (
	"context"
	"errors"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/filter"
	"signpost/internal/journal"
	"signpost/policy"
)

// Fate is what becomes of a message.
type Fate struct {
	Role policy.Role `json:"role"`
	Done string      `json:"done"` // the log's word, and for a reply its codes: "refused 550 5.7.1"
}

// Why a message cannot be judged again.
const (
	NeverVerified = "it was signed, left alone or refused, so that SPF, DKIM and DMARC were never looked at; now they would be"
	EvidenceCut   = "it had more evidence than the journal keeps of one message"
	LoginLeftOut  = "sign.login_domains names logins, and the journal did not keep this one (journal.addresses)"
	OlderVersion  = "an older version wrote it, which did not verify relays, or note what a failed DNS lookup decides or which Author Domain our results name"
)

// Judged is a decision made again.
type Judged struct {
	Fate
	Unknown string // why it cannot be made again; one of the words above. Fate is empty then
	Granted bool   // it would be signed, and was not: that there was a usable key then is taken for granted
}

// Was is what became of a message. In observe mode it was accepted, whatever would have been done.
func Was(e *journal.Entry) Fate {
	if e.Observe {
		return Fate{e.Assignment.Role, "accepted"}
	}
	return Fate{e.Assignment.Role, e.Done}
}

// Judge decides about a message under other rules, in enforce mode. Exceptions among the rules count if they did at the time
// of the message; Hosted is as given.
func Judge(e *journal.Entry, r policy.Rules) Judged {
	if e.Cut {
		return Judged{Unknown: EvidenceCut}
	}
	r = r.At(e.Time)
	ev := e.Evidence
	if b := policy.Broken(ev); b.Reply.Code != 0 && e.Verdict.Reply == b.Reply || b.Reason != "" && e.Verdict.Reason == b.Reason {
		// A defect of ours is none of the rules.
		return done(e.Assignment.Role, e.Verdict, "accepted")
	}
	a := policy.AssignRole(ev, r)
	if aboutDecides(ev, r, a) {
		return Judged{Unknown: OlderVersion}
	}
	if len(r.LoginDomains) > 0 && journal.Hidden(ev.Envelope.Login) {
		any := r
		any.LoginDomains = nil
		if a = policy.AssignRole(ev, any); a.Role == policy.Sign {
			return Judged{Unknown: LoginLeftOut}
		}
	}
	switch a.Role {
	case policy.Sign:
		return sign(e, a, r)
	case policy.Verify:
		v := policy.Decide(ev, r)
		if ev.SPF == nil && !withoutResults(ev, v) {
			return Judged{Unknown: NeverVerified}
		}
		return verified(a.Role, ev, r)
	}
	return done(a.Role, policy.Verdict{Reply: a.Reply}, "accepted")
}

func done(role policy.Role, v policy.Verdict, so string) Judged {
	return Judged{Fate: Fate{role, filter.Done(v, so)}}
}

// verified decides about a message whose entry may be ambiguous. It judges the message only if all possibilities agree.
func verified(role policy.Role, e policy.Evidence, r policy.Rules) Judged {
	var first Judged
	for i, possible := range possibilities(e) {
		switch now := done(role, policy.Decide(possible, r), "accepted"); {
		case i == 0:
			first = now
		case now != first:
			return Judged{Unknown: OlderVersion}
		}
	}
	return first
}

// withoutResults says that a verdict would be the same whatever SPF, DKIM and DMARC had found.
func withoutResults(e policy.Evidence, v policy.Verdict) bool {
	return !e.Connection.SMTP || e.Author.Doubt != "" || strings.HasPrefix(v.Reason, "[[deny]] ")
}

// sign is about a message that is to be signed. Where it was to be signed by the same domain before, what was in the way is
// in the way again; where it was not, the journal does not say which keys there were.
func sign(e *journal.Entry, a policy.Assignment, r policy.Rules) Judged {
	if why := dkim.ErrTooManyFields.Error(); e.Assignment.Reason == why {
		a = policy.Unsignable(e.Evidence, why)
		return done(a.Role, policy.Verdict{Reply: a.Reply}, "accepted")
	}
	if e.Assignment.Role != policy.Sign || e.Assignment.Domain != a.Domain {
		return Judged{Fate: Fate{policy.Sign, "signed"}, Granted: true}
	}
	if e.Word() == "signed" {
		return done(policy.Sign, policy.Verdict{}, "signed")
	}
	why, _, _ := strings.Cut(e.Verdict.Reason, "; sign.on_missing_key = ")
	return done(policy.Sign, policy.MissingKey(e.Evidence, r, why), "accepted")
}

// Options are the rules of a Replay.
type Options struct {
	Rules    policy.Rules
	AsIf     dmarc.Policy // replaces a published p=none; "": does not
	Observed bool         // messages of observe mode count as accepted, not as decided
}

// Replay judges the messages that a filter takes. It calls read after each.
func Replay(ctx context.Context, past *journal.Reader, which journal.Filter, o Options, read func()) (*Tally, error) {
	tally := &Tally{}
	err := past.Each(ctx, which, func(e *journal.Entry) bool {
		judged := Judge(AsIf(e, o.AsIf), o.Rules)
		e.Observe = e.Observe && o.Observed
		tally.Add(e, judged)
		read()
		return ctx.Err() == nil
	})
	return tally, errors.Join(err, ctx.Err())
}

// AsIf returns the entry as it would be if its Author Domains published p instead of p=none.
func AsIf(e *journal.Entry, p dmarc.Policy) *journal.Entry {
	if p == "" {
		return e
	}
	other := *e
	other.Evidence.DMARC = make([]dmarc.Result, len(e.Evidence.DMARC))
	for i, d := range e.Evidence.DMARC {
		other.Evidence.DMARC[i] = d.AsIf(p)
	}
	return &other
}
