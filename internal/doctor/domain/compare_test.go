package domain

import (
	"net/netip"
	"strings"
	"testing"

	"signpost/internal/doctor"
)

// spfOf returns the findings about the SPF record of example.org, for a host that sends from 192.0.2.1.
func spfOf(t *testing.T, zone string) (found []doctor.Finding) {
	t.Helper()
	for _, f := range check(t, zone, &Own{Sender: Sender{HELO: "mail.example.org", Sends: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}) {
		if f.Check == "spf" || f.Check == "spf-tree" {
			found = append(found, f)
		}
	}
	return found
}

// The SPF result for an address of this host is compared with that of go/spf. If they differ, the finding contains both. With the Fix of
// the finding, both results are the same.
func TestSPFResultsDiffer(t *testing.T) {
	const spfAt = `example.org. IN TXT "v=spf1 mx -all"`
	const permerror = "192.0.2.1: Signpost has permerror, blitiri.com.ar/go/spf has pass"
	for _, c := range []struct {
		name, record, records string
		level                 doctor.Level
		what, where, fix      string
	}{
		{"the macro p", `example.org. IN TXT "v=spf1 exists:%{p}.ok.example.org -all"`, "mail.example.org.ok.example.org. IN A 127.0.0.2\n", doctor.Yellow,
			"two implementations of SPF differ about example.org: Signpost has pass, blitiri.com.ar/go/spf has fail", "192.0.2.1: Signpost has pass, blitiri.com.ar/go/spf has fail; go/spf: ",
			`example.org. IN TXT "v=spf1 ip4:192.0.2.1 exists:%{p}.ok.example.org -all"`},
		{"a mapped address", `example.org. IN TXT "v=spf1 ip6:::ffff:192.0.2.1 -all"`, "", doctor.Red,
			"the SPF record of example.org does not allow this host", "192.0.2.1: Signpost has fail, blitiri.com.ar/go/spf has pass; Signpost: -all of example.org; go/spf: ",
			`example.org. IN TXT "v=spf1 ip4:192.0.2.1 ip6:::ffff:192.0.2.1 -all"`},
		{"a wrong term after the one that matches", `example.org. IN TXT "v=spf1 mx ipv4:198.51.100.1 -all"`, "", doctor.Red,
			"the SPF record of example.org has an error", permerror, `example.org. IN TXT "v=spf1 mx ip4:198.51.100.1 -all"`},
		{"a wrong term in an include", `example.org. IN TXT "v=spf1 include:p.example -all"`, `p.example. IN TXT "v=spf1 ip4:192.0.2.1 ipv4:198.51.100.1 -all"` + "\n", doctor.Red,
			"a term of the SPF record of example.org has no valid target: include:p.example: ...", permerror, `example.org. IN TXT "v=spf1 mx ip4:192.0.2.1 -all"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone := strings.Replace(healthy, spfAt, c.record, 1) + c.records
			found := spfOf(t, zone)
			if len(found) != 1 || found[0].Level != c.level || !isText(found[0].What, c.what) || !strings.Contains(found[0].Where, c.where) || found[0].Fix != c.fix || found[0].Why == "" {
				t.Fatalf("%+v", found)
			}
			for _, f := range spfOf(t, apply(t, zone, c.fix)) {
				if f.Level != doctor.Green || strings.Contains(f.Where, "go/spf") {
					t.Errorf("with %s: %+v", c.fix, f)
				}
			}
		})
	}
	for _, f := range spfOf(t, healthy) {
		if f.Level != doctor.Green || strings.Contains(f.Where, "go/spf") {
			t.Errorf("where both agree: %+v", f)
		}
	}
}

// If the record does not allow this host, doctor reports this even if there is a yellow finding about the record.
func TestOwnAddressBesideYellow(t *testing.T) {
	zone := strings.Replace(healthy, `"v=spf1 mx -all"`, `"v=spf1 ip4:198.51.100.1 ?all"`, 1)
	found := spfOf(t, zone)
	if len(found) != 2 || found[0].What != "the SPF record of example.org ends in ?all" || found[1].Level != doctor.Red || found[1].What != "the SPF record of example.org does not allow this host" ||
		found[1].Fix != `example.org. IN TXT "v=spf1 ip4:192.0.2.1 ip4:198.51.100.1 ?all"` {
		t.Errorf("%+v", found)
	}
}
