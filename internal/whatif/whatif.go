// Package whatif repeats the decisions of the journal with other rules. It uses package policy, as the daemon does. Replay is the entry point.
package whatif

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/policy"
)

// Fate is the decision about a message.
type Fate struct {
	Role   policy.Role   `json:"role,omitempty"`
	Action policy.Action `json:"action,omitempty"`
	Reply  string        `json:"reply,omitempty"` // the codes of a reply: "550 5.7.1"
}

// String returns the action and the codes of the reply.
func (f Fate) String() string { return strings.TrimSpace(string(f.Action) + " " + f.Reply) }

func fate(role policy.Role, v policy.Verdict) Fate {
	f := Fate{Role: role, Action: v.Action}
	if r := v.Reply; r.Code != 0 {
		f.Reply = fmt.Sprintf("%d %s", r.Code, r.Enhanced)
	}
	return f
}

// The reasons why a decision cannot be repeated.
const (
	NeverVerified = "it was signed, bypassed or rejected without SPF, DKIM and DMARC results, which these rules need"
	EvidenceCut   = "the journal cut its evidence, which was too large"
	LoginLeftOut  = "sign.login_domains needs the login, which the journal does not have (journal.addresses)"
	NoLogins      = "its From address was not looked up, because sign.login_maps was not set"
	OlderVersion  = "an older version recorded it without its relays, the effect of a failed DNS lookup, or the Author Domain of our results"
)

// Judged is the result of repeating a decision.
type Judged struct {
	Fate
	Unknown string // why the decision cannot be repeated: one of the texts above; Fate is then empty
	Granted bool   // the message was not signed, and would be signed if there is a usable key
}

// kind is the way in which a decision is repeated.
type kind int

const (
	byRules     kind = iota // the decision is made again from the evidence and the rules
	independent             // the decision does not depend on the rules: Signpost itself failed
	unsignable              // outbound mail with a header that cannot be signed: the action depends only on the client
	obstacle                // outbound mail that could not be signed: the action is chosen again
)

// kindOf returns the kind of a decision by its code. known is false for a code that this function does not list. A test checks that it
// lists all codes.
func kindOf(c policy.Code) (k kind, known bool) {
	switch c {
	case policy.InternalError:
		return independent, true
	case policy.TooManyFields:
		return unsignable, true
	case policy.NoUsableKey, policy.SigningFailed, policy.OnMissingKey, policy.BounceUnsigned:
		return obstacle, true
	}
	switch c {
	case policy.Authenticated, policy.Originating, policy.TrustedNetwork, policy.LocalSubmission, policy.Requeued,
		policy.ReportBounce, policy.SkipNetwork, policy.OwnResults, policy.NotHosted, policy.NoActiveKey, policy.ListedNoKey, policy.TableFailed, policy.SubdomainOfHosted, policy.NotInSignDomains,
		policy.LoginMismatch, policy.SeveralAuthors, policy.HeaderTooLarge,
		policy.HostileFrom, policy.HostileTagged, policy.LocalDeny, policy.LocalAllow, policy.DMARCPass, policy.DMARCNone, policy.DMARCFail,
		policy.DMARCTempError, policy.DMARCPermError, policy.TempErrorAsFail, policy.TestMode, policy.NoAuthor, policy.SPFFail, policy.SPFTempError,
		policy.NoSlot, policy.DNSDown, policy.ReportReceived, policy.NeverReject, policy.AlwaysReject, policy.SealedPass, policy.SealedWithoutPass, policy.SealedUnreadable,
		policy.TrustedClient, policy.AcceptedForwarder, policy.AuthorHeader, policy.MailingListRelay, policy.SRSRelay, policy.ResentRelay,
		policy.ARCRelay, policy.RelayDenied, policy.RelayUnverified, policy.HeaderStale, policy.HeaderBroken, policy.NoAuthorSignature, policy.NoRelay,
		policy.NotTrusted, policy.ChainValid, policy.SealersTrusted, policy.SealerFoundPass, policy.Legacy:
		return byRules, true
	}
	return byRules, false
}

// decided returns the decision about a message, whether or not it was carried out.
func decided(e *journal.Entry) Fate {
	v := e.Verdict
	v.Action = e.Decided()
	return fate(e.Role, v)
}

// Was returns the action that was taken on a message. In observe mode, every message was accepted.
func Was(e *journal.Entry) Fate {
	if e.Observe {
		return Fate{Role: e.Role, Action: policy.Accept}
	}
	return decided(e)
}

// Judge repeats the decision about a message under other rules, in enforce mode. A rule with an expiry date applies if it had not expired
// at the time of the message. Rules.Hosted has the domains that are hosted now.
func Judge(e *journal.Entry, r policy.Rules) Judged {
	if e.Cut {
		return Judged{Unknown: EvidenceCut}
	}
	r = r.At(e.Time)
	ev := e.Evidence
	if kind, _ := kindOf(e.Code); kind == independent {
		return Judged{Fate: decided(e)}
	}
	a, v := policy.AssignRole(ev, r)
	if aboutDecides(ev, r, a) {
		return Judged{Unknown: OlderVersion}
	}
	if len(r.LoginDomains) > 0 && journal.Hidden(ev.Envelope.Login) {
		any := r
		any.LoginDomains = nil
		if a, v = policy.AssignRole(ev, any); a.Role == policy.RoleSign && v.Action == "" {
			return Judged{Unknown: LoginLeftOut}
		}
	}
	switch {
	case policy.NeedsLogins(ev, r, a, v) && len(ev.FromUse) == 0:
		return Judged{Unknown: NoLogins}
	case v.Action != "":
		return Judged{Fate: fate(a.Role, v)}
	case a.Role == policy.RoleSign:
		return sign(e, a, r)
	case a.Role == policy.RoleVerify:
		if ev.SPF == nil && !withoutResults(ev, policy.Decide(ev, r)) {
			return Judged{Unknown: NeverVerified}
		}
		return verified(a.Role, ev, r)
	}
	return Judged{Fate: Fate{Role: a.Role, Action: policy.Accept}}
}

// verified returns the decision about a message whose entry may be ambiguous. If not all possibilities lead to the same decision, it sets
// Unknown.
func verified(role policy.Role, e policy.Evidence, r policy.Rules) Judged {
	var first Judged
	for i, possible := range possibilities(e) {
		switch now := (Judged{Fate: fate(role, policy.Decide(possible, r))}); {
		case i == 0:
			first = now
		case now != first:
			return Judged{Unknown: OlderVersion}
		}
	}
	return first
}

// withoutResults reports whether the verdict is independent of the results of SPF, DKIM and DMARC.
func withoutResults(e policy.Evidence, v policy.Verdict) bool {
	return !e.Connection.SMTP || v.Code() == policy.HostileFrom || v.Code() == policy.LocalDeny
}

// sign returns the decision about a message that is to be signed under the rules. If the same domain was to sign the original message but
// could not, the same obstacle applies. Otherwise, the journal does not show whether the domain had a usable key, and sign assumes that it
// had one.
func sign(e *journal.Entry, a policy.Assignment, r policy.Rules) Judged {
	if kind, _ := kindOf(e.Code); kind == unsignable {
		a, v := policy.Unsignable(e.Evidence, a)
		v.Action = cmp.Or(v.Action, policy.Accept)
		return Judged{Fate: fate(a.Role, v)}
	}
	if e.Role != policy.RoleSign || e.Assignment.Domain != a.Domain {
		return Judged{Fate: Fate{Role: policy.RoleSign, Action: policy.Sign}, Granted: true}
	}
	if e.Decided() == policy.Sign || len(e.Reasons) == 0 {
		return Judged{Fate: decided(e)}
	}
	return Judged{Fate: fate(policy.RoleSign, policy.MissingKey(e.Evidence, r, e.Reasons[0]))}
}

// Options are the options of Replay.
type Options struct {
	Rules    policy.Rules
	AsIf     dmarc.Policy // replaces a published p=none; "": nothing is replaced
	Observed bool         // messages in observe mode count as accepted, whatever the decision was
}

// Replay repeats the decisions about the messages that match a filter. It calls read after each.
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

// AsIf returns the entry in which the policy p replaces each published p=none.
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
