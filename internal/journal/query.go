package journal

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/decision"
	"signpost/internal/domain"
	"signpost/policy"
)

// Query is a Filter as a user writes it. Empty fields are ignored; all others must match.
type Query struct {
	Domain, Client                      string
	From                                string // an address of the From field, or a domain
	MailFrom, Rcpt, Login               string // an address, or a domain; MailFrom may be "<>", and Login a name without a domain
	MessageID, Selector, Code           string
	Since, Until                        string // TimeFormats
	Role, Action, SPF, DKIM, DMARC, ARC []string
	Failed                              bool
}

// Text is a field of a Query that a user writes.
type Text struct {
	Name string // a word of the log, or of its filters
	Text *string
}

// Texts returns the fields of a Query that a user writes, except for the times.
func (q *Query) Texts() []Text {
	return []Text{{"domain", &q.Domain}, {"client", &q.Client}, {"from", &q.From}, {"mail-from", &q.MailFrom}, {"rcpt", &q.Rcpt}, {"login", &q.Login},
		{"message-id", &q.MessageID}, {"selector", &q.Selector}, {"code", &q.Code}}
}

// Empty reports whether the query selects all messages.
func (q *Query) Empty() bool {
	written := func(t Text) bool { return *t.Text != "" }
	chosen := func(c Choice) bool { return len(*c.Chosen) > 0 }
	return !slices.ContainsFunc(q.Texts(), written) && !slices.ContainsFunc(q.Choices(), chosen) && !q.Failed && q.Since == "" && q.Until == ""
}

// Choice is a field of a Query with a fixed set of words.
type Choice struct {
	Name   string
	Words  []string  // the allowed words
	Chosen *[]string // the field of the Query
	of     func(Outcome) string
}

// Choices returns the fields of a Query that have a fixed set of words.
func (q *Query) Choices() []Choice {
	return []Choice{
		{"action", decision.Words(policy.Actions()), &q.Action, func(o Outcome) string { return o.Action }},
		{"role", decision.Words(policy.Roles()), &q.Role, func(o Outcome) string { return o.Role }},
		{"spf", []string{"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}, &q.SPF, func(o Outcome) string { return o.SPF }},
		{"dkim", []string{"none", "pass", "fail", "policy", "temperror", "permerror"}, &q.DKIM, func(o Outcome) string { return o.DKIM }},
		{"dmarc", []string{"pass", "fail", "none", "temperror", "permerror"}, &q.DMARC, func(o Outcome) string { return o.DMARC }},
		{"arc", []string{"pass", "fail"}, &q.ARC, func(o Outcome) string { return o.ARC }},
	}
}

// Filter returns the Filter for a Query. now is the time to which durations refer. An error begins with the name of the field.
func (q *Query) Filter(now time.Time) (f Filter, err error) {
	if f.Since, err = parseTime("since", q.Since, now); err != nil {
		return f, err
	}
	if f.Before, err = parseTime("until", q.Until, now); err != nil {
		return f, err
	}
	if q.Domain != "" {
		if f.Domain, err = domain.ParseArgument(q.Domain); err != nil {
			return f, fmt.Errorf("domain: %w", err)
		}
	}
	if q.Client != "" {
		if f.Client, err = parseNetwork(q.Client); err != nil {
			return f, fmt.Errorf("client %w", err)
		}
	}
	if f.Content, err = q.content(); err != nil {
		return f, err
	}
	choices := slices.DeleteFunc(q.Choices(), func(c Choice) bool { return len(*c.Chosen) == 0 })
	for _, c := range choices {
		for _, word := range *c.Chosen {
			if !slices.Contains(c.Words, word) {
				return f, fmt.Errorf("%s %q is not allowed; use %s", c.Name, word, strings.Join(c.Words, ", "))
			}
		}
	}
	if len(choices) == 0 && !q.Failed {
		return f, nil
	}
	f.Outcome = func(o Outcome) bool {
		other := func(c Choice) bool { return !slices.Contains(*c.Chosen, c.of(o)) }
		return !slices.ContainsFunc(choices, other) && (!q.Failed || o.Failed())
	}
	return f, nil
}

func (q *Query) content() (c Content, err error) {
	for _, p := range []struct {
		name, text string
		into       *Party
	}{{"from", q.From, &c.Author}, {"mail-from", q.MailFrom, &c.Sender}, {"rcpt", q.Rcpt, &c.Recipient}, {"login", q.Login, &c.Login}} {
		if *p.into, err = parseParty(p.text, p.name == "login"); err != nil {
			return c, fmt.Errorf("%s %q %w", p.name, p.text, err)
		}
	}
	c.MessageID, c.Selector, c.Code = q.MessageID, strings.ToLower(q.Selector), policy.Code(q.Code)
	if c.Code != "" && !slices.Contains(policy.Codes(), c.Code) {
		return c, fmt.Errorf("code %q is unknown; the codes are in docs/log.md", q.Code)
	}
	return c, nil
}

// parseNetwork parses an address or a network. An address becomes a network with one address.
func parseNetwork(text string) (netip.Prefix, error) {
	address, _, _ := strings.Cut(text, "%") // the journal has no zones
	p, ok := domain.ParseNetwork(address)
	if !ok {
		return p, fmt.Errorf("%q is neither an address nor a network such as 203.0.113.0/24", text)
	}
	return p.Masked(), nil
}

// TimeFormats lists the forms of a time in a Query. Times are local.
const TimeFormats = "14d, 2h, 30m, 2006-01-02 or 2006-01-02T15:04"

// parseTime parses a duration before now, or a date. It returns the zero time for "".
func parseTime(field, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	const tooLong = 100 * 365 // days
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 32); err == nil && n < tooLong {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateTime, time.RFC3339} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q is not a time; use %s", field, text, TimeFormats)
}
