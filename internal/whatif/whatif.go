// Package whatif repeats the decisions of the journal under other rules. It decides with package policy, as the daemon does.
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

// Fate is what is done with a message.
type Fate struct {
	Role policy.Role `json:"role"`
	Done string      `json:"done"` // the word of the log, and the codes of a reply: "refused 550 5.7.1"
}

// Why a message cannot be judged again.
const (
	NeverVerified = "it was signed, left alone or refused, so that SPF, DKIM and DMARC were never looked at; now they would be"
	EvidenceCut   = "it had more evidence than the journal keeps of one message"
	LoginLeftOut  = "sign.login_domains names logins, and the journal did not keep this one (journal.addresses)"
	OlderVersion  = "an older version wrote it, which did not verify relays, or note what a failed DNS lookup decides or which Author Domain our results name"
)

// Judged is a repeated decision.
type Judged struct {
	Fate
	Unknown string // why it cannot be repeated: one of the texts above, or "". Fate is then empty
	Granted bool   // it would be signed and was not, if there was a usable key
}

// Was returns what was done with a message. In observe mode it was accepted.
func Was(e *journal.Entry) Fate {
	if e.Observe {
		return Fate{e.Assignment.Role, "accepted"}
	}
	return Fate{e.Assignment.Role, e.Done}
}

// Judge decides about a message under other rules, in enforce mode. A rule with an expiry date applies if it did at the time of
// the message; Hosted is used as it is.
func Judge(e *journal.Entry, r policy.Rules) Judged {
	if e.Cut {
		return Judged{Unknown: EvidenceCut}
	}
	r = r.At(e.Time)
	ev := e.Evidence
	if b := policy.Broken(ev); b.Reply.Code != 0 && e.Verdict.Reply == b.Reply || b.Reason != "" && e.Verdict.Reason == b.Reason {
		// A fault of ours does not depend on the rules.
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

func done(role policy.Role, v policy.Verdict, otherwise string) Judged {
	return Judged{Fate: Fate{role, filter.Done(v, otherwise)}}
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

// withoutResults reports whether the verdict does not depend on the results of SPF, DKIM and DMARC.
func withoutResults(e policy.Evidence, v policy.Verdict) bool {
	return !e.Connection.SMTP || e.Author.Doubt != "" || strings.HasPrefix(v.Reason, "[[deny]] ")
}

// sign decides about a message to be signed. If it was to be signed by the same domain, the same obstacle remains. If not, the
// journal does not have the keys of that time.
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

// Options are the options of Replay.
type Options struct {
	Rules    policy.Rules
	AsIf     dmarc.Policy // replaces a published p=none; "": does not
	Observed bool         // messages of observe mode count as accepted, not as decided
}

// Replay judges the messages that match a filter. It calls read after each.
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
