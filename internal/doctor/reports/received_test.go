package reports

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/report/status"
	"signpost/internal/testdns"
)

const receivedZone = `_dmarc.a.test. IN TXT "v=DMARC1; p=none; rua=mailto:DMARC@a.test!10m,mailto:service@elsewhere.test"
_smtp._tls.a.test. IN TXT "v=TLSRPTv1; rua=mailto:tls%2Brpt@a.test,https://a.test/x"
_dmarc.customer.test. IN TXT "v=DMARC1; p=none; rua=mailto:dmarc@a.test, mailto:customers@b.test"
customer.test._report._dmarc.a.test. IN TXT "v=DMARC1"
_dmarc.elsewhere.test. IN TXT "v=DMARC1; p=none"
_dmarc.b.test. IN TXT "v=DMARC1; p=none"
sub.a.test. IN A 192.0.2.1
`

// received returns facts with the settings of Postfix and the tables in answers: "TABLE KEY".
func received(t *testing.T, zone string, main map[string]string, answers ...string) Received {
	t.Helper()
	s, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	o := dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(s.Addr())}, Timeout: 200 * time.Millisecond, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	return Received{Hosted: []string{"a.test", "customer.test", "sub.a.test"}, Delimiter: "+", Resolver: dns.New(o), Now: time.Now,
		LastRun: func() (status.Received, error) { return status.Received{LastRun: time.Now(), OK: true}, nil },
		Postconf: func(context.Context, ...string) (string, error) {
			if main == nil {
				return "", errors.New("not found")
			}
			var all []string
			for name, value := range main {
				all = append(all, name+" = "+value)
			}
			return strings.Join(all, "\n"), nil
		},
		Ask: func(_ context.Context, table, key string) (string, bool, error) {
			if strings.HasPrefix(table, "mysql:") {
				return "", false, errors.New("permission denied")
			}
			for _, a := range answers {
				if a == table+" "+key {
					return "x", true, nil
				}
			}
			return "", false, nil
		}}
}

// Addresses of hosted domains, and of domains that Postfix receives mail for, are found in the records that apply to hosted domains. An
// address for reports about a domain of another organization needs its permission.
func TestDiscover(t *testing.T) {
	f := received(t, receivedZone, map[string]string{"virtual_mailbox_domains": "b.test"})
	f.Addresses = []string{"dmarc@a.test"}
	got, failed := Discover(t.Context(), f)
	want := []Candidate{
		{"customers@b.test", []string{"_dmarc.customer.test"}, false, []string{"customer.test._report._dmarc.b.test"}, false},
		{"dmarc@a.test", []string{"_dmarc.a.test", "_dmarc.customer.test"}, true, []string{}, true},
		{"tls+rpt@a.test", []string{"_smtp._tls.a.test"}, false, []string{}, true},
	}
	if !reflect.DeepEqual(got, want) || len(failed) > 0 {
		t.Errorf("got  %+v\nwant %+v\nfailed %q", got, want, failed)
	}
	// Without Postfix, only the addresses of hosted domains are known.
	f.Postconf = func(context.Context, ...string) (string, error) { return "", errors.New("not found") }
	if got, _ := Discover(t.Context(), f); len(got) != 2 || got[0].Address != "dmarc@a.test" {
		t.Errorf("%+v", got)
	}
	f = received(t, ";fault _smtp._tls.a.test. SERVFAIL\n"+receivedZone, nil)
	if got, failed := Discover(t.Context(), f); len(got) != 1 || len(failed) != 1 || failed[0] != "_smtp._tls.a.test" {
		t.Errorf("%+v, failed %q", got, failed)
	}
}

// Each fault because of which reports do not arrive, or are not read, is found.
func TestReceivedChecks(t *testing.T) {
	virtual := map[string]string{"virtual_mailbox_domains": "a.test", "virtual_mailbox_maps": "hash:v", "message_size_limit": "10240000"}
	with := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for k, v := range virtual {
			m[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	const zone = "_dmarc.a.test. IN TXT \"v=DMARC1; p=none; rua=mailto:dmarc@a.test\"\n"
	for _, c := range []struct {
		name, zone       string
		main             map[string]string
		answers          []string
		check, what, fix string
	}{
		{name: "ready", main: virtual, answers: []string{"hash:v dmarc@a.test"}},
		{name: "catch-all", main: virtual, answers: []string{"hash:v @a.test"}},
		{name: "alias", main: with("virtual_alias_maps", "hash:a"), answers: []string{"hash:a dmarc@a.test"}},
		{name: "local alias", main: map[string]string{"mydestination": "a.test", "local_recipient_maps": "proxy:unix:passwd.byname hash:aliases"}, answers: []string{"hash:aliases dmarc"}},
		{name: "all recipients", main: with("virtual_mailbox_maps", "")},
		{name: "relay", main: map[string]string{"relay_domains": "test"}},
		{name: "no mailbox", main: virtual, check: "receive-recipient", what: "Postfix rejects mail to dmarc@a.test", fix: "alias for dmarc@a.test"},
		{name: "domain unknown", main: map[string]string{"relay_domains": "b.test"}, check: "receive-recipient", what: "does not accept mail to a.test", fix: "change the address"},
		{name: "table not readable", main: with("virtual_mailbox_maps", "mysql:x"), check: "receive-recipient", what: "a lookup failed", fix: "sudo signpost doctor"},
		{name: "no postconf", check: "receive-recipient", what: "postconf(1) failed", fix: "postconf -n"},
		{name: "not configured", zone: zone + "_smtp._tls.a.test. IN TXT \"v=TLSRPTv1; rua=mailto:tls@a.test\"\n", main: virtual, answers: []string{"hash:v dmarc@a.test"},
			check: "receive-rua", what: "reports to tls@a.test are not read", fix: "signpost reports discover"},
		{name: "no permission", zone: zone + "_dmarc.customer.test. IN TXT \"v=DMARC1; p=none; rua=mailto:dmarc@a.test\"\n", main: virtual, answers: []string{"hash:v dmarc@a.test"},
			check: "receive-rua", what: "about a domain of another organization", fix: `customer.test._report._dmarc.a.test. IN TXT "v=DMARC1"`},
		{name: "lookup failed", zone: ";fault _dmarc.customer.test. SERVFAIL\n" + zone, main: virtual, answers: []string{"hash:v dmarc@a.test"}, check: "receive-rua", what: "lookup of _dmarc.customer.test failed", fix: "dig"},
		{name: "small limit", main: with("message_size_limit", "5000000"), answers: []string{"hash:v dmarc@a.test"}, check: "receive-size", what: "rejects large reports", fix: "message_size_limit = 10485760"},
		{name: "no limit", main: with("message_size_limit", "0"), answers: []string{"hash:v dmarc@a.test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.zone == "" {
				c.zone = zone
			}
			f := received(t, c.zone, c.main, c.answers...)
			f.Addresses = []string{"dmarc@a.test"}
			found, right := 0, false
			for _, one := range doctor.Run(t.Context(), ReceivedChecks(f)) {
				if one.Level != doctor.Green {
					found++
					right = one.Check == c.check && strings.Contains(one.What, c.what) && strings.Contains(one.Fix, c.fix)
				}
			}
			if want := c.check != ""; found > 1 || right != want || found == 0 && want {
				t.Errorf("%+v", doctor.Run(t.Context(), ReceivedChecks(f)))
			}
		})
	}
}

// A worker that never ran, stopped or failed is reported.
func TestRead(t *testing.T) {
	now := time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		last status.Received
		err  error
		want string // a part of What; empty: no finding
	}{
		{"well", status.Received{LastRun: now.Add(-time.Hour), OK: true}, nil, ""},
		{"never", status.Received{}, fs.ErrNotExist, "never run"},
		{"damaged", status.Received{}, errors.New("damaged"), "cannot read"},
		{"stopped", status.Received{LastRun: now.Add(-25 * time.Hour), OK: true}, nil, "not run since 2026-11-30"},
		{"failed", status.Received{LastRun: now, Error: "disk full\nhint: x"}, nil, "failed"},
	} {
		r := &receiving{Received: Received{LastRun: func() (status.Received, error) { return c.last, c.err }, Now: func() time.Time { return now }}}
		found := r.read(t.Context())
		if c.want == "" && len(found) == 0 {
			continue
		}
		if len(found) != 1 || c.want == "" || !strings.Contains(found[0].What, c.want) || found[0].Level != doctor.Yellow || found[0].Fix == "" {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}
