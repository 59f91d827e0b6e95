package worker

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
)

func today() time.Time { return time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) }

// evidence is that of a report about yesterday.
func evidence(reporter string) received.Evidence {
	return received.Evidence{Report: 7, Reporter: reporter, Domain: "example.org", Day: today().AddDate(0, 0, -1)}
}

// A source that passes is an alarm, unless a key of ours signed: then the mail was forwarded.
func TestUnknownSource(t *testing.T) {
	site := Site{Keys: map[string]map[string]bool{"example.org": {"s1": true}, "mail.example.org": {"m1": true}}}
	sig := func(domain, selector, result string) read.Signature {
		return read.Signature{Domain: domain, Selector: selector, Result: result}
	}
	for _, c := range []struct {
		name      string
		dkim, spf bool
		from      string
		all       []read.Signature
		want      string // the key of the alarm; empty: none
	}{
		{"forwarded", true, false, "example.org", []read.Signature{sig("example.org", "S1", "pass")}, ""},
		{"forwarded, key of a subdomain", true, false, "mail.example.org", []read.Signature{sig("mail.example.org", "m1", "pass")}, ""},
		{"forwarded, also signed by the forwarder", true, false, "example.org", []read.Signature{sig("forwarder.test", "f", "pass"), sig("example.org", "s1", "pass")}, ""},
		{"relayed through an address in the SPF record", true, true, "example.org", []read.Signature{sig("example.org", "s1", "pass")}, ""},
		{"a foreign key", true, false, "example.org", []read.Signature{sig("example.org", "news", "pass")}, "unknown_source example.org news example.org "},
		{"a foreign key, ours broken", true, false, "example.org", []read.Signature{sig("example.org", "s1", "fail"), sig("example.org", "news", "pass")}, "unknown_source example.org news example.org "},
		{"a foreign key of a subdomain", true, true, "news.example.org", []read.Signature{sig("news.example.org", "k", "pass")}, "unknown_source example.org k news.example.org "},
		{"SPF only", false, true, "example.org", nil, "unknown_source example.org    198.51.100.0/24"},
		{"SPF, our signature is broken", false, true, "example.org", []read.Signature{sig("example.org", "s1", "fail")}, "unknown_source example.org    198.51.100.0/24"},
		{"a report without selectors", true, false, "example.org", []read.Signature{sig("example.org", "", "pass")}, ""},
		{"a report without signatures", true, false, "example.org", nil, ""},
	} {
		s := sources{site, bundles{}}
		for n := range 2 {
			s.add(received.Passed{Evidence: evidence(fmt.Sprintf("r%d.test", n)), Source: netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), Messages: minMessages/2 + int64(n), DKIM: c.dkim, SPF: c.spf, HeaderFrom: c.from, Signatures: c.all})
		}
		all := s.alarms(map[string]int64{"example.org": 500})
		switch {
		case c.want == "" && len(all) == 0:
			continue
		case len(all) != 1 || all[0].Key() != c.want:
			t.Errorf("%s: %+v, want %q", c.name, all, c.want)
			continue
		}
		if a := all[0]; a.Messages != minMessages+1 || a.Total != 500 || a.Source.String() != "198.51.100.1" || a.Sources != 2 || strings.Join(a.Reporters, " ") != "r0.test r1.test" || !a.Since.Equal(today().AddDate(0, 0, -1)) || len(a.Reports) != 1 {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
	few := sources{site, bundles{}}
	few.add(received.Passed{Evidence: evidence("r.test"), Messages: minMessages - 1, SPF: true})
	if all := few.alarms(nil); len(all) > 0 {
		t.Errorf("a few messages: %+v", all)
	}
}

// A reporter is silent if it was regular before, and we still send mail to its domains.
func TestReporterSilent(t *testing.T) {
	days := func(from, to int) (all []time.Time) {
		for n := from; n >= to; n-- {
			all = append(all, today().AddDate(0, 0, -n))
		}
		return all
	}
	for _, c := range []struct {
		name    string
		days    []time.Time
		trusted string
		mail    mailTo
		want    bool
	}{
		{"silent", days(21, 8), "r.test", mailTo{"r.test": {100, 10}}, true},
		{"recipients are not known", days(21, 8), "r.test", nil, true},
		{"no mail in the last week", days(21, 8), "r.test", mailTo{"r.test": {100, 0}}, false},
		{"irregular before", days(21, 13), "r.test", nil, false},
		{"ten days", days(17, 8), "r.test", nil, true},
		{"a report a week ago", days(21, 7), "r.test", nil, false},
		{"not trusted", days(21, 8), "other.test", nil, false},
	} {
		all := silent([]received.Regularity{{Reporter: "r.test", Days: c.days}}, []string{c.trusted}, c.mail, today())
		if (len(all) == 1) != c.want {
			t.Errorf("%s: %+v", c.name, all)
		}
		if c.want && (!all[0].Since.Equal(today().AddDate(0, 0, -8)) || all[0].Code != status.ReporterSilent) {
			t.Errorf("%s: %+v", c.name, all)
		}
	}
}

// The policy of reports differs from that of DNS if two reporters, or all, see another one, and ours has been there for two days.
func TestPolicyDiffers(t *testing.T) {
	now := today().Add(5 * time.Hour)
	long := received.Lookup{Value: "v=DMARC1; p=reject; adkim=s", Since: now.AddDate(0, 0, -30), At: now.Add(-time.Hour)}
	changed, old, none := long, long, long
	changed.Since = now.Add(-47 * time.Hour)
	old.At = now.Add(-49 * time.Hour)
	none.Value = ""
	same := read.Policy{P: "reject", SP: "reject", ADKIM: "s", ASPF: "r", Pct: "100"}
	weak := read.Policy{P: "none", SP: "none"}
	for _, c := range []struct {
		name  string
		found received.Lookup
		seen  []read.Policy
		want  string // published, seen; empty: no alarm
	}{
		{"equal", long, []read.Policy{same, same}, ""},
		{"tags that the report omits", long, []read.Policy{{P: "reject"}}, ""},
		{"all see another one", long, []read.Policy{weak}, "p=reject adkim=s, p=none"},
		{"two of three", long, []read.Policy{weak, same, weak}, "p=reject adkim=s, p=none"},
		{"one of three", long, []read.Policy{same, same, weak}, ""},
		{"a relaxed mode", long, []read.Policy{{P: "reject", ADKIM: "r"}}, "p=reject adkim=s, p=reject"},
		{"another policy of subdomains", long, []read.Policy{{P: "reject", SP: "none"}}, "p=reject adkim=s, p=reject sp=none"},
		{"no record in DNS", none, []read.Policy{same}, ", p=reject adkim=s"},
		{"changed yesterday", changed, []read.Policy{weak, weak}, ""},
		{"DNS did not answer for two days", old, []read.Policy{weak, weak}, ""},
		{"never looked up", received.Lookup{}, []read.Policy{weak}, ""},
		{"no policy in the report", long, []read.Policy{{}, {}}, ""},
	} {
		var seen []received.SeenPolicy
		for n, p := range c.seen {
			seen = append(seen, received.SeenPolicy{Evidence: evidence(fmt.Sprintf("r%d.test", n)), Begin: today().AddDate(0, 0, -1), Policy: p})
		}
		a, got := policyDiffers(seen, c.found, now), ""
		if a != nil {
			got = a.Published + ", " + a.Seen
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Failed TLS sessions are counted by type. A few do not matter.
func TestTLSFailure(t *testing.T) {
	s := received.Sessions{Evidence: evidence("r.test"), Successful: 900, Failed: 40, Failures: []read.TLSFailure{
		{Type: "certificate-expired", Count: 25}, {Type: "validation-failure", Count: minSessions - 1}, {Type: "<b>", Count: 3}}}
	f := failures{bundles{}, map[string]int64{}}
	f.add(s)
	f.add(received.Sessions{Evidence: evidence("r2.test"), Successful: 60, Failed: 7})
	var got []string
	for _, a := range f.alarms() {
		got = append(got, fmt.Sprint(a.Failure, " ", a.Messages, " of ", a.Total, " ", a.Reporters))
	}
	// Three sessions of the first report have no type, and three have an unknown one.
	if want := "certificate-expired 25 of 1007 [r.test], other 13 of 1007 [r.test r2.test]"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
	many := failures{bundles{}, map[string]int64{}}
	many.add(received.Sessions{Evidence: evidence("r.test"), Successful: 5000, Failed: 20, Failures: []read.TLSFailure{{Type: "certificate-expired", Count: 20}}})
	if all := many.alarms(); len(all) > 0 {
		t.Errorf("less than %d %%: %+v", minShare, all)
	}
}

// An alarm is logged once when it begins and once when it ends. Reports of reporters that are not trusted, and about domains that are not hosted,
// raise none.
func TestAlarmsOfARun(t *testing.T) {
	s := newSite(t, `_dmarc.example.org. IN TXT "v=DMARC1; p=none"`)
	s.Trusted = []string{"friend.test"}
	row := func(last byte) read.Row {
		return read.Row{Source: netip.AddrFrom4([4]byte{198, 51, 100, last}), Count: 100, SPF: true, HeaderFrom: "example.org"}
	}
	other := s.about("other", row(1))
	other.Domain = "example.net"
	s.spool(t, read.Arrived{Reporter: "friend.test"}, other)
	s.spool(t, read.Arrived{Reporter: "stranger.test"}, s.about("1", row(2)))
	result, _ := s.run(t, status.Received{})
	if len(result.Alarms) > 0 {
		t.Errorf("%+v", result.Alarms)
	}
	s.spool(t, read.Arrived{Reporter: "friend.test"}, s.about("1", row(3), read.Row{Source: netip.MustParseAddr("192.0.2.1"), Count: 900, SPF: true}))
	result, _ = s.run(t, result)
	if len(result.Alarms) != 1 || result.Alarms[0].Source.String() != "198.51.100.3" || result.Alarms[0].Total != 1000 || result.Trusted != 1 {
		t.Fatalf("%+v", result)
	}
	count := func(message string) int { return strings.Count(s.log.String(), message) }
	for _, hours := range []int{0, 2, 3} { // an evaluation after each hour
		s.clock = s.clock.Add(time.Duration(hours) * time.Hour)
		result, _ = s.run(t, result)
	}
	if n := count(`msg="received reports raise an alarm" code=unknown_source domain=example.org source_ip=198.51.100.3 reporters=friend.test messages=100 total=1000 since=2026-11-30`); n != 1 {
		t.Errorf("the alarm was logged %d times:\n%s", n, &s.log)
	}
	s.clock = s.clock.AddDate(0, 0, alarmDays+1)
	result, _ = s.run(t, result)
	if len(result.Alarms) > 0 || count("an alarm of received reports has ended") != 1 {
		t.Errorf("%+v\n%s", result.Alarms, &s.log)
	}
}

// The numbers of a day are those of trusted reporters about hosted domains, two days later.
func TestNumbersOfADay(t *testing.T) {
	s := newSite(t, "")
	s.Trusted = []string{"friend.test"}
	rows := []read.Row{{Source: netip.MustParseAddr("192.0.2.1"), Count: 900, DKIM: true}, {Source: netip.MustParseAddr("203.0.113.1"), Count: 50}}
	s.spool(t, read.Arrived{Reporter: "friend.test"}, s.about("1", rows...))
	s.spool(t, read.Arrived{Reporter: "stranger.test"}, s.about("1", rows...))
	reported := day(s.clock).AddDate(0, 0, -1)
	result, _ := s.run(t, status.Received{})
	s.clock = s.clock.AddDate(0, 0, 1)
	result, _ = s.run(t, result)
	if !result.Day.Equal(reported) || result.Passed != 900 || result.Failed != 50 {
		t.Errorf("%+v", result)
	}
}
