package messages

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"signpost/internal/journal"
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

// Messages with the same Message-ID are one group, in the order of time. Messages without a Message-ID are not.
func TestGroup(t *testing.T) {
	message := func(host string, id int64, mid string) Message {
		m := Message{Host: host}
		m.ID, m.MessageID = id, mid
		return m
	}
	groups := Group([]Message{message("b", 3, "<1>"), message("a", 1, "<1>"), message("a", 5, ""), message("b", 4, ""), message("b", 3, "<1>"), message("c", 2, "<2>")})
	var got []string
	for _, parts := range groups {
		names := ""
		for _, p := range parts {
			names += p.Host
		}
		got = append(got, names)
	}
	if strings.Join(got, " ") != "a b ab c" {
		t.Errorf("%q", got)
	}
}
