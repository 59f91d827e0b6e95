package messages

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"signpost/internal/journal"
	"signpost/policy"
)

// The server receives the search of the client.
func TestParse(t *testing.T) {
	at := time.UnixMicro(1_700_000_000_123_456)
	for _, s := range []Search{
		{Limit: 1},
		{Query: journal.Query{Domain: "example.org", Client: "192.0.2.0/24", Role: []string{"verify"}, Action: []string{"reject", "tag"}, SPF: []string{"fail"}, DKIM: []string{"none"},
			DMARC: []string{"fail"}, ARC: []string{"fail"}, Failed: true}, Since: at, Before: at.Add(time.Hour), After: Position{12, "mx1"}, Limit: MaxLimit},
	} {
		got, err := Parse(s.Values())
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%+v, want %+v; %v", got, s, err)
		}
		if _, err := got.Filter(); err != nil {
			t.Error(err)
		}
	}
	for name, value := range map[string]string{"limit": "0", "after_id": "-1", "since_us": "x", "before_us": "9223372036854775807"} {
		v := Search{Limit: 1}.Values()
		v.Set(name, value)
		if _, err := Parse(v); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	if _, err := (Search{Query: journal.Query{Client: "10.0.0.0/8"}}).Filter(); err == nil || !strings.Contains(err.Error(), "at least 16 bits, such as 10.0.0.0/16") {
		t.Error(err)
	}
	if _, err := (Search{Query: journal.Query{Client: "2001:db8::/32"}}).Filter(); err == nil || !strings.Contains(err.Error(), "at least 40 bits") {
		t.Error(err)
	}
}

// A message that hosts pass on is one group, in the order of time. A message from outside with the Message-ID of another one is not, unless
// it is another attempt of the same client. Messages without a Message-ID are not grouped.
func TestGroup(t *testing.T) {
	message := func(host string, id int64, mid, client string, role policy.Role) Message {
		m := Message{Host: host}
		m.ID, m.MessageID, m.Role, m.Client = id, mid, role, netip.MustParseAddr(client)
		return m
	}
	for name, c := range map[string]struct {
		want string
		all  []Message
	}{
		"received and sent on": {"ab", []Message{message("b", 3, "<1>", "10.0.0.1", policy.RoleBypass), message("a", 1, "<1>", "192.0.2.1", policy.RoleVerify),
			message("b", 3, "<1>", "10.0.0.1", policy.RoleBypass)}},
		"submitted and sent on": {"ab", []Message{message("a", 1, "<1>", "192.0.2.1", policy.RoleSign), message("b", 3, "<1>", "10.0.0.1", policy.RoleSign)}},
		"without a Message-ID":  {"b a", []Message{message("a", 1, "", "192.0.2.1", policy.RoleVerify), message("b", 2, "", "10.0.0.1", policy.RoleBypass)}},
		"another Message-ID":    {"b a", []Message{message("a", 1, "<1>", "192.0.2.1", policy.RoleVerify), message("b", 2, "<2>", "10.0.0.1", policy.RoleBypass)}},
		"second attempt":        {"ab", []Message{message("a", 1, "<1>", "192.0.2.1", policy.RoleVerify), message("b", 2, "<1>", "192.0.2.1", policy.RoleVerify)}},
		"another client": {"c ab", []Message{message("a", 1, "<1>", "192.0.2.1", policy.RoleVerify), message("b", 2, "<1>", "10.0.0.1", policy.RoleBypass),
			message("c", 3, "<1>", "192.0.2.9", policy.RoleVerify)}},
		"another client before the message is sent on": {"bc a", []Message{message("a", 1, "<1>", "192.0.2.1", policy.RoleVerify),
			message("b", 2, "<1>", "192.0.2.9", policy.RoleVerify), message("c", 3, "<1>", "10.0.0.1", policy.RoleBypass)}},
		"a client with the Message-ID of outbound mail": {"b a", []Message{message("a", 1, "<1>", "192.0.2.1", policy.RoleSign), message("b", 2, "<1>", "192.0.2.1", policy.RoleVerify)}},
	} {
		var got []string
		for _, parts := range Group(c.all) {
			names := ""
			for _, p := range parts {
				names += p.Host
			}
			got = append(got, names)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
