// Package messages reads the messages that the hosts of a cluster copied to its database: those that failed or were acted upon. It asks
// signpost-cluster through the control socket, so a program that uses it needs neither the password of the database nor the site key.
//
//	answer, err := messages.Find(ctx, control.Client{Socket: socket}, "4bXyz1234")
package messages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/journal"
	"signpost/policy"
)

// Message is a message in the journal of a host.
type Message struct {
	Host string `json:"host"`
	journal.Entry
}

// Answer is the result of a search, the newest message first.
type Answer struct {
	Messages []Message `json:"messages"`
	More     Position  `json:"more,omitzero"`    // there are more messages after this one; zero: there are none
	Refused  int       `json:"refused"`          // rows that no host of the cluster wrote, and that are omitted
	Unknown  int       `json:"unknown_site_key"` // rows that are omitted because this host does not have their site key
	Later    int       `json:"later_version"`    // rows that are omitted because this version of Signpost cannot read them
}

// Omitted returns a text about the rows that are missing in the answer, or "".
func (a Answer) Omitted() string {
	var all []string
	for _, c := range []struct {
		n    int
		what string
	}{{a.Refused, "not written by a host of the cluster"}, {a.Unknown, "sealed with a site key that this host does not have"}, {a.Later, "written by a later version of Signpost, or damaged"}} {
		if c.n > 0 {
			all = append(all, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(all) == 0 {
		return ""
	}
	return "messages of the database were omitted: " + strings.Join(all, ", ")
}

// Position is the place of a message in the order of a search. A search continues after it.
type Position struct {
	ID   int64  `json:"id"`
	Host string `json:"host"`
}

// Search selects messages of all hosts.
type Search struct {
	journal.Query           // Since and Until are not used
	Since, Before time.Time // zero: no limit
	After         Position  // zero: begin with the newest message
	Limit         int       // at most MaxLimit
}

const (
	// MaxLimit limits the messages of one answer. A message has some kilobytes of JSON.
	MaxLimit = 500
	// MinNetwork4 and MinNetwork6 are the shortest prefixes of networks that a search accepts. The database has no addresses, but hashes of
	// networks with 24 or 48 bits, and a search looks for at most 256 of them.
	MinNetwork4, MinNetwork6 = 16, 40
)

// Filter returns the filter of the search. An error begins with the name of the field.
func (s Search) Filter() (journal.Filter, error) {
	q := s.Query
	q.Since, q.Until = "", ""
	f, err := q.Filter(time.Time{})
	f.Since, f.Before = s.Since, s.Before
	if err == nil && f.Client.IsValid() && f.Client.Bits() < shortest(f.Client) {
		err = fmt.Errorf("client: a search of all hosts needs a network of at least %d bits, such as %s/%[1]d", shortest(f.Client), f.Client.Addr())
	}
	return f, err
}

func shortest(p netip.Prefix) int {
	if p.Addr().Is4() {
		return MinNetwork4
	}
	return MinNetwork6
}

// Values returns the parameters of a request.
func (s Search) Values() url.Values {
	v := url.Values{"limit": {strconv.Itoa(s.Limit)}}
	for _, c := range s.Choices() {
		if len(*c.Chosen) > 0 {
			v[c.Name] = *c.Chosen
		}
	}
	for _, t := range append(s.Texts(), journal.Text{Name: "after_host", Text: &s.After.Host}) {
		if *t.Text != "" {
			v.Set(t.Name, *t.Text)
		}
	}
	for name, at := range map[string]time.Time{"since_us": s.Since, "before_us": s.Before} {
		if !at.IsZero() {
			v.Set(name, strconv.FormatInt(at.UnixMicro(), 10))
		}
	}
	if s.After.ID != 0 {
		v.Set("after_id", strconv.FormatInt(s.After.ID, 10))
	}
	if s.Failed {
		v.Set("failed", "1")
	}
	return v
}

// Parse returns the search with the parameters of a request.
func Parse(v url.Values) (s Search, err error) {
	number := func(name string) (n int64) {
		if text := v.Get(name); text != "" && err == nil {
			if n, err = strconv.ParseInt(text, 10, 64); err != nil || n < 0 || n == math.MaxInt64 {
				err = errors.New(name + " is not valid")
			}
		}
		return n
	}
	at := func(name string) time.Time {
		if n := number(name); n > 0 {
			return time.UnixMicro(n)
		}
		return time.Time{}
	}
	for _, t := range s.Texts() {
		*t.Text = v.Get(t.Name)
	}
	s.Failed = v.Get("failed") != ""
	for _, c := range s.Choices() {
		*c.Chosen = v[c.Name]
	}
	s.Since, s.Before = at("since_us"), at("before_us")
	s.After = Position{number("after_id"), v.Get("after_host")}
	if s.Limit = int(number("limit")); s.Limit < 1 || s.Limit > MaxLimit {
		err = errors.Join(err, fmt.Errorf("limit must be 1 to %d", MaxLimit))
	}
	return s, err
}

// List returns messages that match a search.
func List(ctx context.Context, c control.Client, s Search) (a Answer, err error) {
	err = c.Messages(ctx, s.Values(), &a)
	return a, err
}

// Newest returns the newest messages that match a search, as many as most, with as many requests as are necessary. The newest is first.
func Newest(ctx context.Context, c control.Client, s Search, most int) (all Answer, err error) {
	for len(all.Messages) < most {
		s.Limit = min(MaxLimit, most-len(all.Messages))
		a, err := List(ctx, c, s)
		if err != nil {
			return all, err
		}
		a.Messages = append(all.Messages, a.Messages...)
		a.Refused, a.Unknown, a.Later = a.Refused+all.Refused, a.Unknown+all.Unknown, a.Later+all.Later
		all, s.After = a, a.More
		if a.More == (Position{}) {
			break
		}
	}
	return all, nil
}

// Find returns the messages with a queue ID or, if there are none, with a Message-ID: at most the newest hundred.
func Find(ctx context.Context, c control.Client, id string) (a Answer, err error) {
	err = c.Message(ctx, url.Values{"id": {id}}, &a)
	return a, err
}

// Get returns the message at a position. Without an error, the answer has at most one message.
func Get(ctx context.Context, c control.Client, at Position) (a Answer, err error) {
	err = c.Message(ctx, url.Values{"host": {at.Host}, "number": {strconv.FormatInt(at.ID, 10)}}, &a)
	return a, err
}

// Group returns the messages in groups: the parts that one message has on several hosts, in the order of time. The group with the newest part
// is first. A message that occurs twice is returned once. The parts of a group have the same Message-ID. Because every sender chooses that,
// a message from outside, which is verified, joins a group only if it is another attempt of the same client with the same envelope sender.
// Other messages were passed on by a host that Signpost trusts, so they continue the newest group before them.
func Group(all []Message) (groups [][]Message) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Message) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Host, b.Host))
	})
	all = slices.CompactFunc(all, func(a, b Message) bool { return a.ID == b.ID && a.Host == b.Host })
	for _, m := range all {
		i := -1
		if m.MessageID != "" {
			for n, parts := range groups {
				first := parts[0]
				if first.MessageID == m.MessageID && (m.Role != policy.RoleVerify || first.Role == policy.RoleVerify && first.Client == m.Client && first.Sender == m.Sender) {
					i = n
				}
			}
		}
		if i < 0 {
			i, groups = len(groups), append(groups, nil)
		}
		groups[i] = append(groups[i], m)
	}
	slices.SortStableFunc(groups, func(a, b []Message) int { return cmp.Compare(b[len(b)-1].ID, a[len(a)-1].ID) })
	return groups
}
