package dns

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// Answers that earlier versions wrote can be parsed: records, errors, and answers that are not complete.
func TestParseV1(t *testing.T) {
	records := func(all ...string) Lookup { return Lookup{Status: NoError, Records: all} }
	for _, c := range []struct {
		qtype, text string
		want        Lookup
	}{
		{"TXT", `"v=spf1 -all"`, records("v=spf1 -all")},
		{"TXT", `"v=spf1 \"a\\\" -all, x\xff", "second", "(3 more records, 4 bytes)"`, records("v=spf1 \"a\\\" -all, x\xff", "second", "(3 more records, 4 bytes)")},
		{"TXT", `"v=spf1 -all", "token", (53 more records, 3816 bytes)`, Lookup{Status: NoError, Records: []string{"v=spf1 -all", "token"}, Cut: 3816 + 16}},
		{"TXT", `(cut, 4211 bytes) "v=spf1 ip4:192.0.2.1 ip4:192.0.2.1`, Lookup{Status: NoError, Cut: 4211}},
		{"TXT", "(no longer known)", Lookup{Status: Forgotten}},
		{"TXT", "", Lookup{Status: NoError}},
		{"A", "192.0.2.1, 192.0.2.2", records("192.0.2.1", "192.0.2.2")},
		{"AAAA", "2001:db8::1", records("2001:db8::1")},
		{"MX", "10 mx.example.org., 20 mx2.example.org.", records("10 mx.example.org.", "20 mx2.example.org.")},
		{"MX", "0 .", records("0 .")},
		{"PTR", `host.example., an\032odd\,\032name.example.`, records("host.example.", `an\032odd\,\032name.example.`)},
		{"PTR", "(cut, 20200 bytes) a.a.a.a., a.a.", Lookup{Status: NoError, Cut: 20200}},
		{"A", "no such name", Lookup{Status: NXDomain}},
		{"TXT", "no such name", Lookup{Status: NXDomain}},
		{"MX", "no such record", Lookup{Status: NoData}},
		{"TXT", "the name servers answer SERVFAIL", Lookup{Status: ServFail}},
		{"A", "the name servers answer REFUSED", Lookup{Status: Refused}},
		{"PTR", "no answer in time", Lookup{Status: Timeout}},
		{"TXT", "timeout", Lookup{Status: Timeout}},
		{"TXT", "the time for it was up", Lookup{Status: Timeout}},
		{"TXT", "more than 100 records", Lookup{Status: TooManyRecords}},
		{"TXT", "more than 16384 octets of text", Lookup{Status: TooMuchText}},
		{"TXT", "more than 8 aliases", Lookup{Status: TooManyAliases}},
		{"TXT", "its aliases lead in circles", Lookup{Status: AliasLoop}},
		{"TXT", "the answer is to another question", Lookup{Status: UnrelatedAnswer}},
		{"TXT", "the answer is truncated over TCP", Lookup{Status: Truncated}},
		{"TXT", "malformed answer: dns: overflow unpacking uint16", Lookup{Status: Malformed}},
		{"TXT", "too many DNS lookups at a time", Lookup{Status: NoSlot}},
		{"TXT", "this host is short of resources: socket: too many open files", Lookup{Status: NoDescriptor}},
		{"TXT", "this host is short of resources: connect: cannot assign requested address", Lookup{Status: NoSocket}},
		{"TXT", "the name server: read: connection refused", Lookup{Status: ConnectionRefused}},
		{"TXT", "the name server: connect: no route to host", Lookup{Status: Unreachable}},
		{"TXT", "there is no name server", Lookup{Status: NoServer}},
		{"TXT", "internal error", Lookup{Status: InternalError}},
		{"TXT", "words of nobody", Lookup{Status: Unreachable}},
	} {
		got, want := ParseV1(c.qtype, c.text), c.want
		want.Type = c.qtype
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s %q: %+v, want %+v", c.qtype, c.text, got, want)
		}
	}
}

// A text of version 1 that a sender chose must not become a record that was not in the answer.
func FuzzParseV1(f *testing.F) {
	f.Add("v=spf1 -all", "x")
	f.Add("(3 more records, 4 bytes)", "\"")
	f.Fuzz(func(t *testing.T, one, other string) {
		want := []string{one, other}
		got := ParseV1("TXT", fmt.Sprintf("%q, %q", one, other))
		if !reflect.DeepEqual(got.Records, want) || got.Cut != 0 {
			t.Errorf("%q, want %q", got.Records, want)
		}
		if cut := ParseV1("TXT", fmt.Sprintf("%q, %q, (7 more records, 9 bytes)", one, other)); !reflect.DeepEqual(cut.Records, want) || cut.Cut != 9+len(strings.Join(want, "")) {
			t.Errorf("%+v, want %q", cut, want)
		}
	})
}
