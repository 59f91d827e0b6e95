package domain

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/testdns"
)

const goodPolicy = "version: STSv1\r\nmode: enforce\r\nmx: *.example.com\r\nmax_age: 604800\r\n"

// The certificate of httptest is for *.example.com, so the domain here is example.com itself.
func TestMTASTS(t *testing.T) {
	const zone = `example.com. IN MX 10 mail.example.com.
mail.example.com. IN A 192.0.2.1
example.com. IN TXT "v=spf1 mx -all"
_dmarc.example.com. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.com"
_mta-sts.example.com. IN TXT "v=STSv1; id=20261125"
mta-sts.example.com. IN A 127.0.0.1
`
	for _, c := range []struct {
		name, kind, policy, txt string
		status                  int
		stranger                bool // the CA of the certificate is unknown
		what, where, fix        string
	}{
		{name: "right", policy: goodPolicy},
		{name: "another exchange", policy: strings.Replace(goodPolicy, "*.example.com", "mx.example.net", 1), what: "the MTA-STS policy of example.com does not contain the mail exchange mail.example.com", where: "mx.example.net", fix: "mx: mail.example.com"},
		{name: "two labels", policy: strings.Replace(goodPolicy, "*.example.com", "*.com", 1), what: "the MTA-STS policy of example.com does not contain the mail exchange mail.example.com", where: "*.com", fix: "mx: mail.example.com"},
		{name: "mode", policy: strings.Replace(goodPolicy, "enforce", "enforced", 1), what: `the MTA-STS policy of example.com is not valid: mode must be enforce, testing or none, not "enforced"`, where: "https://", fix: `printf 'version: STSv1\nmode: testing\nmx: mail.example.com\nmax_age: 604800\n' > mta-sts.txt`},
		{name: "testing", policy: strings.Replace(goodPolicy, "enforce", "testing", 1), what: "the MTA-STS policy of example.com is not enforced (testing)", where: "https://", fix: "mode: enforce"},
		{name: "short", policy: strings.Replace(goodPolicy, "604800", "600", 1), what: "the MTA-STS policy of example.com expires after 600 seconds", where: "https://", fix: "max_age: 604800"},
		{name: "HTML", policy: goodPolicy, kind: "text/html", what: "the MTA-STS policy of example.com cannot be fetched", where: "Content-Type", fix: "curl -v https://mta-sts.example.com/.well-known/mta-sts.txt"},
		{name: "redirect", policy: goodPolicy, status: http.StatusFound, what: "the MTA-STS policy of example.com cannot be fetched", where: "status 302", fix: "curl -v https://mta-sts.example.com/.well-known/mta-sts.txt"},
		{name: "too long", policy: goodPolicy + strings.Repeat("x: y\n", maxPolicy), what: "the MTA-STS policy of example.com cannot be fetched", where: "longer than", fix: "curl -v https://mta-sts.example.com/.well-known/mta-sts.txt"},
		{name: "certificate", policy: goodPolicy, stranger: true, what: "the MTA-STS policy of example.com cannot be fetched", where: "certificate", fix: "curl -v https://mta-sts.example.com/.well-known/mta-sts.txt"},
		{name: "no id", policy: goodPolicy, txt: "v=STSv1; id=2026-11", what: "the MTA-STS record of example.com is not valid", where: "2026-11", fix: `_mta-sts.example.com. IN TXT "v=STSv1; id=1"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.kind == "" {
					c.kind = "text/plain; charset=utf-8"
				}
				w.Header().Set("Content-Type", c.kind)
				w.Header().Set("Location", "/")
				if r.URL.Path != "/.well-known/mta-sts.txt" {
					c.status = http.StatusNotFound
				}
				if c.status != 0 {
					w.WriteHeader(c.status)
				}
				_, _ = io.WriteString(w, c.policy)
			}))
			web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			web.StartTLS()
			defer web.Close()
			roots := x509.NewCertPool()
			if !c.stranger {
				roots.AddCert(web.Certificate())
			}
			text := zone
			if c.txt != "" {
				text = strings.Replace(zone, "v=STSv1; id=20261125", c.txt, 1)
			}
			server, err := testdns.Start(text)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Stop()
			d := Facts{Roots: roots, HTTPSPort: netip.MustParseAddrPort(web.Listener.Addr().String()).Port(),
				Resolver: dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: 5 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})}
			found := bad(d.check(t.Context(), "example.com", nil))
			if c.what == "" {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].What != c.what || found[0].Fix != c.fix || !strings.Contains(found[0].Where, c.where) {
				t.Errorf("%+v", found)
			}
		})
	}
}

func TestSmallRecords(t *testing.T) {
	for _, c := range []struct{ line, what, fix string }{
		{`_smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua=mailto:tls@example.org,https://example.org/tls"`, "", ""},
		{`_smtp._tls.example.org. IN TXT "v=TLSRPT1; rua=mailto:tls@example.org"`, "the TLSRPT record of example.org is not valid: it does not begin with v=TLSRPTv1;", `_smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@example.org"`},
		{`_smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua=tls@example.org"`, "the TLSRPT record of example.org is not valid: rua must be a mailto or https URI", `_smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@example.org"`},
		{`_smtp._tls.example.org. IN TXT "v=TLSRPTv1;"`, "the TLSRPT record of example.org is not valid: rua is missing", `_smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@example.org"`},
		{`default._bimi.example.org. IN TXT "v=BIMI1; l=https://example.org/l.svg; a=https://example.org/l.pem"`, "", ""},
		{`default._bimi.example.org. IN TXT "v=BIMI1; l=; a="`, "", ""},
		{`default._bimi.example.org. IN TXT "v=BIMI1; l=http://example.org/l.svg"`, "the BIMI record of example.org is not valid: l= must be an https URI of an SVG file", `default._bimi.example.org. IN TXT "v=BIMI1; l=https://example.org/logo.svg; a="`},
	} {
		found := bad(check(t, healthy+c.line+"\n", nil))
		if c.what == "" {
			if len(found) > 0 {
				t.Errorf("%s: %+v", c.line, found)
			}
			continue
		}
		if len(found) != 1 || found[0].What != c.what || found[0].Fix != c.fix {
			t.Errorf("%s: %+v", c.line, found)
			continue
		}
		if found := bad(check(t, publish(healthy+c.line+"\n", c.fix), nil)); len(found) > 0 {
			t.Errorf("%s: the fix does not correct the fault: %+v", c.line, found)
		}
	}
	zone := strings.Replace(healthy, "p=reject", "p=none", 1) + `default._bimi.example.org. IN TXT "v=BIMI1; l=https://example.org/l.svg"` + "\n"
	if found := bad(check(t, zone, nil)); len(found) != 2 || found[1].What != "example.org has a BIMI record, but no enforced DMARC policy" {
		t.Errorf("%+v", found)
	}
}

// The parsers do not panic, whatever a web server or DNS returns, and they accept only valid data.
func FuzzPolicy(f *testing.F) {
	f.Add(goodPolicy)
	f.Add("v=TLSRPTv1; rua=mailto:a@b")
	f.Add("v=BIMI1; l=; a=")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parsePolicy(s); err == nil && (p.maxAge < 0 || p.mode == "" || p.mode != "none" && len(p.mx) == 0) {
			t.Errorf("%q: %+v", s, p)
		}
		if parseTLSRPT(s) == nil && !strings.Contains(s, "rua") {
			t.Errorf("%q", s)
		}
		if _, err := parseBIMI(s); err == nil && !strings.Contains(s, "BIMI1") {
			t.Errorf("%q", s)
		}
	})
}

// hostileWeb returns a web server with a trusted certificate that answers a request for a policy with handler.
func hostileWeb(t *testing.T, handler http.HandlerFunc) (Facts, func()) {
	t.Helper()
	web := httptest.NewUnstartedServer(handler)
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	web.StartTLS()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	zone, err := dns.ParseZone(strings.NewReader("example.com. IN MX 0 .\n_mta-sts.example.com. IN TXT \"v=STSv1; id=1\"\nmta-sts.example.com. IN A 127.0.0.1\n"), "zone")
	if err != nil {
		t.Fatal(err)
	}
	return Facts{Roots: roots, HTTPSPort: netip.MustParseAddrPort(web.Listener.Addr().String()).Port(), Resolver: zone.Resolver(time.Now, slog.New(slog.DiscardHandler))}, web.Close
}

// Whatever the web server of a policy does, the check ends, and the answer cannot control the terminal.
func TestHostilePolicyServer(t *testing.T) {
	for _, c := range []struct {
		name, what, where string
		handler           http.HandlerFunc
	}{
		{"headers without end", "the MTA-STS policy of example.com cannot be fetched", "exceeded", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 4*maxPolicy))
		}},
		{"a body that is cut off", "the MTA-STS policy of example.com cannot be fetched", "EOF", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, goodPolicy)
			panic(http.ErrAbortHandler)
		}},
		{"another encoding", "the MTA-STS policy of example.com is not valid: the line \"\\x1f\\x8b\" has no colon", "https://", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "\x1f\x8b")
		}},
		{"escape sequences", `the MTA-STS policy of example.com is not valid: mode must be enforce, testing or none, not "\x1b[2J"`, "https://", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, "version: STSv1\nmode: \x1b[2J\nmax_age: 604800\n")
		}},
		{"the first of two modes counts", "the MTA-STS policy of example.com is not enforced (testing)", "https://", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, "version: STSv1\nmode: testing\nmode: enforce\nmx: a.example.com\nmax_age: 604800\n")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, stop := hostileWeb(t, c.handler)
			defer stop()
			found := slices.DeleteFunc(d.check(t.Context(), "example.com", nil), func(f doctor.Finding) bool { return f.Check != "mta-sts" })
			if len(found) != 1 || found[0].What != c.what || !strings.Contains(found[0].Where, c.where) {
				t.Errorf("%+v", found)
			}
		})
	}
}

// If a policy arrives very slowly, the check ends with the context.
func TestSlowPolicyServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d, stop := hostileWeb(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "version: STSv1\n")
		w.(http.Flusher).Flush()
		cancel() // like a timeout
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // the response must not end regularly, even if the client has not yet closed the connection
	})
	defer stop()
	found := slices.DeleteFunc(d.check(ctx, "example.com", nil), func(f doctor.Finding) bool { return f.Check != "mta-sts" })
	if len(found) != 1 || found[0].What != "the MTA-STS policy of example.com cannot be fetched" || !strings.Contains(found[0].Where, "context canceled") {
		t.Errorf("%+v", found)
	}
}

// TLSRPT and BIMI records are parsed as specified, even if the name has other records. The Fix corrects the record.
func TestMoreSmallRecords(t *testing.T) {
	const rpt, logo = `_smtp._tls.example.org. IN TXT `, `default._bimi.example.org. IN TXT `
	const rptFix, logoFix = rpt + `"v=TLSRPTv1; rua=mailto:postmaster@example.org"`, logo + `"v=BIMI1; l=https://example.org/logo.svg; a="`
	for _, c := range []struct{ lines, what, fix string }{
		{rpt + `"something else"` + "\n" + rpt + `"v=TLSRPTv1;rua=mailto:tls@example.org"`, "", ""},
		{rpt + `"v=TLSRPTv1; rua=mailto:a@example.org"` + "\n" + rpt + `"v=TLSRPTv1; rua=mailto:b@example.org"`, "the TLSRPT record of example.org is not valid: there is more than one record", rptFix},
		{rpt + `"v=TLSRPTv1; rua=mailto:@"`, "the TLSRPT record of example.org is not valid: rua must be a mailto or https URI", rptFix},
		{rpt + `"v=TLSRPTv1; rua=https:///x"`, "the TLSRPT record of example.org is not valid: rua must be a mailto or https URI", rptFix},
		{rpt + `"v=TLSRPTv1; rua=mailto:a@example.org, http://example.org/"`, "the TLSRPT record of example.org is not valid: rua must be a mailto or https URI", rptFix},
		{rpt + `"v=TLSRPTv1 rua=mailto:a@example.org"`, "the TLSRPT record of example.org is not valid: it does not begin with v=TLSRPTv1;", rptFix},
		{logo + `"something else"` + "\n" + logo + `"v=BIMI1; l=https://example.org/l.svg"`, "", ""},
		{logo + `"v=BIMI1; l=https://example.org/l.svg; a=http://example.org/l.pem"`, "the BIMI record of example.org is not valid: a= must be an https URI", logoFix},
		{logo + `"v=BIMI1; l=https:///l.svg"`, "the BIMI record of example.org is not valid: l= must be an https URI of an SVG file", logoFix},
		{logo + `"v=BIMI1; l=https://example.org/l.png"`, "the BIMI record of example.org is not valid: l= must be an https URI of an SVG file", logoFix},
		{logo + `"v=BIMI1"`, "the BIMI record of example.org is not valid: l= is missing", logoFix},
		{logo + `"v=bimi1; l=https://example.org/l.svg"`, "the BIMI record of example.org is not valid: it does not begin with v=BIMI1", logoFix},
	} {
		zone := healthy + c.lines + "\n"
		found := bad(lookAt(t, zone, "example.org", nil))
		if c.what == "" {
			if len(found) > 0 {
				t.Errorf("%s: %+v", c.lines, found)
			}
			continue
		}
		if len(found) != 1 || found[0].What != c.what || found[0].Fix != c.fix {
			t.Errorf("%s: %+v", c.lines, found)
			continue
		}
		if found := bad(lookAt(t, apply(t, zone, c.fix), "example.org", nil)); len(found) > 0 {
			t.Errorf("%s: the fix does not correct the fault: %+v", c.lines, found)
		}
	}
}

// BIMI requires an enforced DMARC policy. The Fix keeps the other tags of the DMARC record.
func TestLogoWantsDMARC(t *testing.T) {
	for _, c := range []struct{ dmarc, fix string }{
		{"v=DMARC1; p=none; rua=mailto:a@example.org; adkim=s", "v=DMARC1; p=quarantine; rua=mailto:a@example.org; adkim=s"},
		{"v=DMARC1; p=reject; sp=none; rua=mailto:a@example.org", "v=DMARC1; p=reject; sp=quarantine; rua=mailto:a@example.org"},
		{"v=DMARC1; p=reject; t=y; rua=mailto:a@example.org", "v=DMARC1; p=reject; t=n; rua=mailto:a@example.org"},
		{"", "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org"},
	} {
		zone := strings.Replace(healthy, "v=DMARC1; p=reject; rua=mailto:reports@example.org", c.dmarc, 1) + `default._bimi.example.org. IN TXT "v=BIMI1; l=https://example.org/l.svg"` + "\n"
		if c.dmarc == "" {
			zone = strings.Replace(zone, `_dmarc.example.org. IN TXT ""`+"\n", "", 1)
		}
		found := bad(lookAt(t, zone, "example.org", nil))
		at := slices.IndexFunc(found, func(f doctor.Finding) bool {
			return f.What == "example.org has a BIMI record, but no enforced DMARC policy"
		})
		if at < 0 || found[at].Fix != record("_dmarc.example.org", c.fix) {
			t.Errorf("%q: %+v", c.dmarc, found)
			continue
		}
		if found := bad(lookAt(t, apply(t, zone, found[at].Fix), "example.org", nil)); len(found) > 0 {
			t.Errorf("%q: the fix does not correct the fault: %+v", c.dmarc, found)
		}
	}
}
