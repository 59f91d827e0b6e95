package reports

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/testdns"
)

const zone = `reports.a.test. IN MX 10 mx.a.test.
reports.a.test. IN TXT "v=spf1 a:mx.a.test -all"
s1._domainkey.reports.a.test. IN TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
_dmarc.reports.a.test. IN TXT "v=DMARC1; p=reject"
`

// settings are those of a Postfix that is ready, apart from the lookups in its tables.
func settings() map[string]string {
	return map[string]string{"myhostname": "mx.a.test", "config_directory": "/etc/postfix", "relay_domains": "reports.a.test", "relay_recipient_maps": "regexp:recipients",
		"transport_maps": "inline:{ {reports.a.test = discard:} } hash:transport", "masquerade_classes": "envelope_sender, header_sender, header_recipient",
		"canonical_classes": "envelope_sender, header_sender", "sender_canonical_classes": "envelope_sender", "internal_mail_filter_classes": "bounce", "non_smtpd_milters": "unix:s"}
}

func facts(t *testing.T, zone string, main map[string]string) Facts {
	t.Helper()
	s, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	o := dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(s.Addr())}, Timeout: 200 * time.Millisecond, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	return Facts{Domain: "reports.a.test", Selectors: []string{"s1"}, Resolver: dns.New(o).View(netip.Addr{}),
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
			answers := map[string]string{"regexp:recipients " + local + "@reports.a.test": "OK",
				"inline:{ {reports.a.test = discard:} } reports.a.test": "discard:", "hash:other reports.a.test": "smtp:", "hash:domains reports.a.test": "x",
				"tcp:srs " + local + "@reports.a.test": "SRS0=x@a.test", "socketmap:unix:srs:forward " + local + "@reports.a.test": "SRS0=x@a.test", "hash:same @reports.a.test": local + "@reports.a.test"}
			if strings.HasPrefix(table, "mysql:") {
				return "", false, errors.New("permission denied")
			}
			value, found := answers[table+" "+key]
			return value, found, nil
		}}
}

// Each fault that would send reports without an end makes one check red, and its fix states what to do.
func TestChecks(t *testing.T) {
	edit := func(old, now string) string { return strings.Replace(zone, old, now, 1) }
	with := func(name, value string) map[string]string { m := settings(); m[name] = value; return m }
	for _, c := range []struct {
		name, zone       string
		main             map[string]string
		keyless, warning bool
		check, what, fix string
	}{
		{name: "ready"},
		{name: "no MX", zone: edit("IN MX 10 mx.a.test.", "IN A 192.0.2.1"), check: "reports-mx", what: "no MX", fix: "reports.a.test. IN MX 10 mx.a.test."},
		{name: "MX lookup failed", zone: ";fault reports.a.test. SERVFAIL\n" + zone, check: "reports-mx", what: "lookup", fix: "dig"},
		{name: "no SPF", zone: edit("v=spf1 ", "x"), check: "reports-spf", what: "0 SPF records", fix: `"v=spf1 a:mx.a.test -all"`},
		{name: "no key", keyless: true, check: "reports-key", what: "no active DKIM key", fix: "dkimkey add reports.a.test"},
		{name: "key not published", zone: edit("s1._domainkey", "s2._domainkey"), check: "reports-key", what: "not published", fix: "dkimkey show reports.a.test s1"},
		{name: "no DMARC", zone: edit("_dmarc.", "x."), check: "reports-dmarc", what: "0 DMARC records", fix: `_dmarc.reports.a.test. IN TXT "v=DMARC1; p=reject"`},
		{name: "rua", zone: edit("p=reject", "p=reject; rua=mailto:d@a.test"), check: "reports-dmarc", what: "has a rua", fix: `"v=DMARC1; p=reject"`},
		{name: "p=none", zone: edit("p=reject", "p=none"), check: "reports-dmarc", what: "not p=reject", fix: `"v=DMARC1; p=reject"`},
		{name: "domain unknown to Postfix", main: with("relay_domains", "b.test"), check: "reports-recipient", what: "does not accept mail", fix: "relay_domains = b.test reports.a.test"},
		{name: "domain in a table", main: with("relay_domains", "hash:domains")},
		{name: "parent in relay_domains", main: with("relay_domains", "a.test")},
		{name: "recipient unknown", main: with("relay_recipient_maps", "hash:none"), check: "reports-recipient", what: "rejects mail", fix: "relay_recipient_maps = hash:none regexp:/etc/postfix/signpost_reports.regexp"},
		{name: "all recipients", main: with("relay_recipient_maps", "")},
		{name: "table not readable", main: with("relay_recipient_maps", "mysql:x"), check: "reports-recipient", what: "lookup in relay_recipient_maps failed", fix: "sudo signpost doctor"},
		{name: "delivered", main: with("transport_maps", "hash:other"), check: "reports-discard", what: "instead of discarding", fix: "transport_maps = inline:{ {reports.a.test = discard:} } hash:other"},
		{name: "masqueraded", main: with("masquerade_domains", "a.test"), check: "reports-sender", what: "masquerade_domains changes", fix: "masquerade_domains = !reports.a.test a.test"},
		{name: "not masqueraded", main: with("masquerade_domains", "!reports.a.test a.test")},
		{name: "masqueraded in the header only", main: func() map[string]string {
			m := with("masquerade_domains", "a.test")
			m["masquerade_classes"] = "header_sender"
			return m
		}()},
		{name: "SRS", main: with("sender_canonical_maps", "tcp:srs"), check: "reports-sender", what: "sender_canonical_maps changes the envelope sender of reports to SRS0=x@a.test", fix: "does SRS"},
		{name: "postsrsd 2", main: with("sender_canonical_maps", "socketmap:unix:srs:forward"), check: "reports-sender", what: "sender_canonical_maps changes the envelope sender of reports to SRS0=x@a.test", fix: "does SRS"},
		{name: "SRS in one service", main: with("cleanup/unix/sender_canonical_maps", "tcp:srs"), check: "reports-sender", what: "sender_canonical_maps of cleanup/unix changes", fix: "postconf -P 'cleanup/unix/sender_canonical_maps = inline:{ {@reports.a.test = @reports.a.test} } tcp:srs'"},
		{name: "SRS in a milter", main: with("smtpd_milters", "unix:s, { unix:/run/SRS-milter.sock }"), warning: true, check: "reports-sender", what: "a milter seems to change the envelope sender", fix: "exclude reports.a.test"},
		{name: "SRS in a milter of one service", main: with("smtp/inet/smtpd_milters", "unix:/run/srs"), warning: true, check: "reports-sender", what: "a milter seems to change the envelope sender", fix: "exclude reports.a.test"},
		{name: "canonical without a change", main: with("canonical_maps", "hash:same")},
		{name: "own bounces", main: with("internal_mail_filter_classes", ""), check: "reports-bounce", what: "own bounces", fix: "internal_mail_filter_classes = bounce"},
		{name: "no non_smtpd_milters", main: with("non_smtpd_milters", ""), check: "reports-bounce", what: "to Signpost", fix: "non_smtpd_milters = $smtpd_milters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.zone == "" {
				c.zone = zone
			}
			if c.main == nil {
				c.main = settings()
			}
			f := facts(t, c.zone, c.main)
			if c.keyless {
				f.Selectors = nil
			}
			found := Red(t.Context(), f)
			if c.warning {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				found = doctor.Run(t.Context(), Checks(f))
			}
			if (len(found) == 0) != (c.check == "") {
				t.Errorf("%+v", found)
			}
			for _, f := range found {
				if f.Check == c.check && strings.Contains(f.What, c.what) && strings.Contains(f.Fix, c.fix) {
					c.check = ""
				}
			}
			if c.check != "" {
				t.Errorf("no finding of %s with %q and %q: %+v", c.check, c.what, c.fix, found)
			}
		})
	}
}

// Without postconf, no report is sent.
func TestNoPostfix(t *testing.T) {
	if found := Red(t.Context(), facts(t, zone, nil)); len(found) == 0 {
		t.Error("no check is red")
	}
}

// The recipients of other domains that Postfix accepts without a table are still accepted.
func TestStepsKeepOtherRecipients(t *testing.T) {
	main := settings()
	main["relay_domains"], main["relay_recipient_maps"], main["transport_maps"] = "b.test", "", ""
	var all []string
	for _, step := range Steps(t.Context(), facts(t, zone, main)) {
		all = append(all, step.Lines...)
	}
	for _, want := range []string{"reports.a.test. IN MX 10 mx.a.test.", "dkimkey add reports.a.test", "postconf -e 'relay_domains = b.test reports.a.test'",
		"postconf -e 'transport_maps = inline:{ {reports.a.test = discard:} }'",
		`printf '%b\n' '/^r-[a-z2-7]+@reports\\.a\\.test$/ OK\n!/@reports\\.a\\.test$/ OK' > /etc/postfix/signpost_reports.regexp`} {
		if !slices.Contains(all, want) {
			t.Errorf("no line %s in\n%s", want, strings.Join(all, "\n"))
		}
	}
}
