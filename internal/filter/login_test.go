package filter

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/lookup"
	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

// submit submits a message of login ann with these header fields (name, value, ...), and returns its record. The table assigns
// ann@example.org to ann, and carl@example.org to carl.
func submit(t *testing.T, change func(*Filter), fields ...string) *decision.Record {
	t.Helper()
	owners := lookup.Owners{Source: logins{"ann@example.org": "ann", "carl@example.org": "carl", "jörg@example.org": "carl"}, Names: []string{"hash:/logins"}, Delimiter: "+"}
	var got *decision.Record
	f := &Filter{
		Rules: policy.Rules{LoginMaps: true, LoginUnlisted: policy.Accept, LoginMismatch: policy.Reject, OnMissingKey: policy.Hold, Subdomains: true},
		Owners: func(ctx context.Context, local, domain string) ([]string, string, bool, error) {
			return owners.Find(ctx, local, []string{domain})
		},
		TablesTimeout: time.Second,
		Keys: func() *keys.Snapshot {
			return &keys.Snapshot{Set: new(keys.Set), Hosted: map[string]bool{"example.org": true}}
		},
		Now:      time.Now,
		Log:      slog.New(slog.DiscardHandler),
		Finished: func(r *decision.Record) { got = r },
	}
	if change != nil {
		change(f)
	}
	m := f.Begin(t.Context(), milter.Session{SMTP: true}, milter.Envelope{Sender: "ann@example.org", Login: "ann"})
	for i := 0; i < len(fields); i += 2 {
		m.Header(fields[i], " "+fields[i+1])
	}
	m.EndHeaders("Q")
	m.Finish(t.Context())
	return got
}

type logins map[string]string

func (l logins) Lookup(_ context.Context, table, key string) (lookup.Answer, error) {
	if strings.Contains(key, "down") {
		return lookup.Answer{}, errors.New("down")
	}
	value, found := l[key]
	return lookup.Answer{Value: value, Found: found}, nil
}

// A login cannot use a colleague's address, however the address is written. The filter without keys holds mail that it would sign.
func TestForgedFrom(t *testing.T) {
	for from, want := range map[string]policy.Action{
		"ann@example.org":                   policy.Hold,
		"Ann <ANN@Example.ORG>":             policy.Hold,
		`"ann"@example.org`:                 policy.Hold,
		"ann+x@example.org":                 policy.Hold,
		"new@example.org":                   policy.Hold, // login_unlisted = "accept"
		"Team: ann@example.org;":            policy.Hold,
		"ann@example.org <ann@example.org>": policy.Hold,
		"carl@example.net":                  policy.Accept, // not our domain

		"carl@example.org":                         policy.Reject,
		"CARL@EXAMPLE.ORG":                         policy.Reject,
		"Ann <carl@example.org>":                   policy.Reject,
		`"carl"@example.org`:                       policy.Reject,
		`"ca\rl"@example.org`:                      policy.Reject,
		`"carl+x"@example.org`:                     policy.Reject,
		"carl+x@example.org":                       policy.Reject,
		"carl (Ann) @ example.org":                 policy.Reject,
		"JÖRG@example.org":                         policy.Reject,
		"carl@example。org":                         policy.Reject, // a full stop of IDNA
		"carl@ｅｘａｍｐｌｅ.org":                         policy.Reject,
		"Team: ann@example.org, carl@example.org;": policy.Reject,
		", ,ann@example.org,,carl@example.org":     policy.Reject,
		"carl@example.org <ann@example.org>":       policy.Reject, // programs show one or the other
		"CARL@example.org <ann@example.org>":       policy.Reject,
		"ann@example.org, carl@example.net":        policy.Reject,

		// Programs read these differently: verify.hostile_from.
		"carl@example.org.":                  policy.Reject,
		"<@example.net:carl@example.org>":    policy.Reject,
		"=?utf-8?q?carl?=@example.org":       policy.Reject,
		"<carl@example.org> ann@example.org": policy.Reject,
		"\u200f" + "lrac@example.org":        policy.Reject,

		"down@example.org": policy.Tempfail,
		strings.Repeat("ann@example.org, ", 9) + "ann@example.org":  policy.Hold,
		strings.Repeat("ann@example.org, ", 10) + "ann@example.org": policy.Reject, // too many
		strings.Repeat("x", maxAddress) + "@example.org":            policy.Hold,
		strings.Repeat("x", maxAddress+1) + "@example.org":          policy.Reject, // too long
	} {
		if got := submit(t, nil, "From", from); got.Action != want {
			t.Errorf("From: %.60s: %s %s, want %s", from, got.Action, policy.Text(got.Reasons), want)
		}
	}
}

// With sign.login_sender = true, a message with one Sender that belongs to the login may have another From.
func TestSenderOfLogin(t *testing.T) {
	const from, carl, ann = "From", "carl@example.org", "ann@example.org"
	for _, c := range []struct {
		fields []string
		want   policy.Action
	}{
		{[]string{from, carl, "Sender", ann}, policy.Hold},
		{[]string{from, carl, "sender ", "Ann <" + ann + ">"}, policy.Hold},
		{[]string{from, carl, "Sender", carl}, policy.Reject},
		{[]string{from, carl, "Sender", "new@example.org"}, policy.Reject}, // no table has it
		{[]string{from, carl, "Sender", ann, "Sender", ann}, policy.Reject},
		{[]string{from, carl, "Sender", ann + ", " + carl}, policy.Reject},
		{[]string{from, carl, "Sender", carl + " <" + ann + ">"}, policy.Reject},
		{[]string{from, carl, "Sender", "down@example.org"}, policy.Tempfail},
		{[]string{from, carl, "Resent-Sender", ann}, policy.Reject},
		{[]string{from, carl, from, ann, "Sender", ann}, policy.Reject}, // two From fields
	} {
		if got := submit(t, func(f *Filter) { f.Rules.LoginSender = true }, c.fields...); got.Action != c.want {
			t.Errorf("%q: %s %s, want %s", c.fields, got.Action, policy.Text(got.Reasons), c.want)
		}
	}
}

// The reply names the address in at most one line of printable characters.
func TestReplyNamesAddress(t *testing.T) {
	for from, want := range map[string]string{
		"carl@example.org":                               "<carl@example.org>: From address rejected: this login does not own it",
		`"carl+\"> x"@example.org`:                       `<"carl+\"> x"@example.org>: From address rejected: this login does not own it`,
		strings.Repeat("ü", maxAddress) + "@example.org": "<...@example.org>: From address rejected: this login does not own it",
	} {
		if got := submit(t, nil, "From", from); got.Verdict.Reply.Text != want {
			t.Errorf("From: %.60s: reply %q", from, got.Verdict.Reply.Text)
		}
	}
}
