package received

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"signpost/internal/report/read"
	"signpost/internal/report/seen"
)

// sent is the report of a reporter about the n-th day before today, about mail with signatures from an address.
type sent struct {
	reporter   string
	ago        int
	unverified bool
	rows       []read.Row
}

func from(address string, n int64, signatures ...read.Signature) read.Row {
	return read.Row{Source: netip.MustParseAddr(address), Count: n, HeaderFrom: "example.org", Signatures: signatures}
}

func withS1(result string) read.Signature {
	return read.Signature{Domain: "example.org", Selector: "s1", Result: result}
}

// TestSelectors: only verified reports about mail from our addresses, and only our keys, are counted.
func TestSelectors(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	day := func(ago int) time.Time { return now.Truncate(24*time.Hour).AddDate(0, 0, -ago) }
	const ours, other = "192.0.2.1", "198.51.100.1"
	both := read.Signature{Domain: "example.org", Selector: "e1", Result: "neutral"}
	for name, tt := range map[string]struct {
		reports []sent
		want    []seen.Selector
	}{
		"nothing": {nil, []seen.Selector{}},
		"counted": {[]sent{{"a.example", 1, false, []read.Row{from(ours, 5, withS1("pass"), both), from("2001:db8::1", 2, withS1("pass"))}}, {"b.example", 2, false, []read.Row{from(ours, 1, withS1("temperror")), from(ours, 1, withS1("policy"))}}},
			[]seen.Selector{{Selector: "e1", Algorithm: "ed25519", Messages: 5, NotJudged: 5, Receivers: 1, Last: day(0).Add(-time.Second)},
				{Selector: "s1", Messages: 8, Passed: 7, NotJudged: 1, Receivers: 2, Last: day(0).Add(-time.Second)}}},
		"not counted": {[]sent{{"a.example", 1, true, []read.Row{from(ours, 5, withS1("fail"))}}, {"a.example", 40, false, []read.Row{from(ours, 5, withS1("fail"))}},
			{"b.example", 1, false, []read.Row{from(other, 5, withS1("fail")), from(ours, 1, read.Signature{Domain: "example.org", Result: "fail"}, read.Signature{Domain: "other.example", Selector: "s1", Result: "fail"}, read.Signature{Domain: "example.org", Selector: "made-up", Result: "fail"})}}},
			[]seen.Selector{}},
		// What failed before the last day without failures is corrected. A few failures are normal.
		"failing": {[]sent{{"a.example", 5, false, []read.Row{from(ours, 9, withS1("fail"))}}, {"a.example", 4, false, []read.Row{from(ours, 99, withS1("pass")), from(ours, 1, withS1("fail"))}},
			{"a.example", 3, false, []read.Row{from(ours, 3, withS1("permerror"))}}, {"a.example", 2, false, []read.Row{from(ours, 1, withS1("fail")), from(ours, 1, withS1("pass"))}},
			{"b.example", 5, false, []read.Row{from(ours, 9, withS1("fail"))}}, {"b.example", 4, false, []read.Row{from(ours, 9, withS1("pass"))}},
			{"trusted.example", 3, false, []read.Row{from(ours, 40, withS1("pass"))}}, {"trusted.example", 2, false, []read.Row{from(ours, 1, withS1("fail"))}}, {"trusted.example", 1, false, []read.Row{from(ours, 1, withS1("neutral"))}}},
			[]seen.Selector{{Selector: "s1", Messages: 174, Passed: 149, Failed: 24, NotJudged: 1, Receivers: 3, Last: day(0).Add(-time.Second), Trusted: 1, Failing: []seen.Failing{
				{Reporter: "trusted.example", Trusted: true, Failed: 1, Messages: 1, Since: day(2), Last: day(1).Add(-time.Second)},
				{Reporter: "a.example", Failed: 4, Messages: 5, Since: day(3), Last: day(1).Add(-time.Second)}}}}},
		// The systems of a reporter send reports of their own about the same day.
		"two reports about a day": {[]sent{{"a.example", 1, false, []read.Row{from(ours, 1, withS1("fail"))}}, {"a.example", 1, false, []read.Row{from(ours, 99, withS1("pass"))}}},
			[]seen.Selector{{Selector: "s1", Messages: 100, Passed: 99, Failed: 1, Receivers: 1, Last: day(0).Add(-time.Second)}}},
		"absurd counts": {[]sent{{"a.example", 1, false, []read.Row{from(ours, 1<<62, withS1("pass"))}}, {"b.example", 1, false, []read.Row{from(ours, 1<<62, withS1("pass"))}}},
			[]seen.Selector{{Selector: "s1", Messages: 2 * countLimit, Passed: 2 * countLimit, Receivers: 2, Last: day(0).Add(-time.Second)}}},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := Open(t.Context(), filepath.Join(t.TempDir(), "received.db"), true, func() time.Time { return now })
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			for i, s := range tt.reports {
				r := &read.Report{Kind: read.Aggregate, ID: fmt.Sprint(i), Domain: "example.org", Begin: day(s.ago), End: day(s.ago - 1).Add(-time.Second), Rows: s.rows}
				if err := store.Add(t.Context(), r, Origin{Reporter: s.reporter, Verified: !s.unverified, Received: now}); err != nil {
					t.Fatal(err)
				}
			}
			got, err := store.Selectors(t.Context(), []Key{{"example.org", "e1", "ed25519"}, {"example.org", "s1", "rsa"}, {"example.org", "s2", "rsa"}},
				[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/28"), netip.MustParsePrefix("2001:db8::/64")}, func(r string) bool { return r == "trusted.example" }, now.Add(-seen.Period))
			if err != nil {
				t.Fatal(err)
			}
			for i := range tt.want {
				s := &tt.want[i]
				s.Domain = "example.org"
				if s.Algorithm == "" {
					s.Algorithm = "rsa"
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v\nwant\n%+v", got, tt.want)
			}
		})
	}
}
