package domain

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/testdns"
)

// authority is a CA for the certificates of these tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("c", ed25519.SeedSize)))
	return authority{sign(t, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, key.Public(), key), key}
}

func sign(t *testing.T, c, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = c
	}
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	der, err := x509.CreateCertificate(nil, c, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	done, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// issue returns the certificate chain of a server.
func (a authority) issue(t *testing.T, name string, end time.Time) tls.Certificate {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", ed25519.SeedSize)))
	leaf := sign(t, &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: end, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, a.cert, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

// mailServer listens on a loopback port until the test ends, and calls talk for each connection.
func mailServer(t *testing.T, talk func(net.Conn)) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(c)
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// smtpd speaks SMTP. It offers STARTTLS if cert is not nil.
func smtpd(cert *tls.Certificate) func(net.Conn) {
	return func(c net.Conn) {
		say := func(s string) { _, _ = io.WriteString(c, s+"\r\n") }
		say("220 mail.example.org ESMTP")
		in := bufio.NewScanner(c)
		for in.Scan() {
			switch word, _, _ := strings.Cut(strings.ToUpper(in.Text()), " "); {
			case word == "EHLO" && cert != nil:
				say("250-mail.example.org\r\n250 STARTTLS")
			case word == "STARTTLS" && cert != nil:
				say("220 go ahead")
				c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*cert}})
				in = bufio.NewScanner(c)
			case word == "QUIT":
				say("221 bye")
				return
			default:
				say("250 mail.example.org")
			}
		}
	}
}

// daneOf returns the findings under "dane".
func daneOf(t *testing.T, d Facts) (all []doctor.Finding) {
	t.Helper()
	for _, f := range d.check(t.Context(), "example.org", nil) {
		if f.Check == "dane" {
			all = append(all, f)
		}
	}
	return all
}

// validating returns a resolver for a zone. The resolver sets the AD bit for the names in signed. A name that begins with a dot matches all
// names below it.
func validating(t *testing.T, zone string, signed []string) *dns.Resolver {
	t.Helper()
	z, err := dns.ParseZone(strings.NewReader(zone), "zone")
	if err != nil {
		t.Fatal(err)
	}
	return dns.New(dns.Options{Timeout: 5 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Ask: func(_ context.Context, q *miekg.Msg) (*miekg.Msg, error) {
			m, name := z.Answer(q), q.Question[0].Name
			m.AuthenticatedData = slices.ContainsFunc(signed, func(s string) bool { return s == name || s[0] == '.' && strings.HasSuffix(name, s) })
			return m, nil
		}})
}

const daneAt = "_25._tcp.mail.example.org. IN TLSA "

// The DANE check compares the TLSA records with DNSSEC and with the certificate. Publishing the record in its Fix corrects the fault.
func TestDANE(t *testing.T) {
	ca := newAuthority(t)
	right, other := ca.issue(t, "mail.example.org", time.Time{}), ca.issue(t, "other.example.org", time.Time{})
	old := ca.issue(t, "mail.example.org", time.Now().Add(-time.Minute))
	base := strings.Replace(healthy, "A 192.0.2.1", "A 127.0.0.1", 1)
	const good = "the TLSA records of mail.example.org are validated by DNSSEC and match its certificate"
	all, registry, host := []string{"org.", "example.org.", ".example.org."}, []string{"org."}, []string{"org.", ".example.org."}
	spki := digest(right.Leaf, publicKey, bySHA256)
	for _, c := range []struct {
		name, record string
		server       *tls.Certificate
		signed       []string
		level        doctor.Level
		what, fix    string
	}{
		{"right", "3 1 1 " + spki, &right, all, doctor.Green, good, ""},
		{"whole certificate", "3 0 1 " + digest(right.Leaf, wholeCert, bySHA256), &right, all, doctor.Green, good, ""},
		{"SHA-512", "3 1 2 " + digest(right.Leaf, publicKey, bySHA512), &right, all, doctor.Green, good, ""},
		{"no digest", "3 1 0 " + digest(right.Leaf, publicKey, exactly), &right, all, doctor.Green, good, ""},
		{"expired, which DANE-EE ignores", "3 1 1 " + digest(old.Leaf, publicKey, bySHA256), &old, all, doctor.Green, good, ""},
		{"issuer", "2 0 1 " + digest(ca.cert, wholeCert, bySHA256), &right, all, doctor.Green, good, ""},
		{"also a record for the next key", "3 1 1 " + strings.Repeat("ab", 32) + "\n" + daneAt + "3 1 1 " + spki, &right, all, doctor.Green, good, ""},
		{"mismatch", "3 1 1 " + strings.Repeat("ab", 32), &right, all, doctor.Red, "the certificate of mail.example.org does not match its TLSA records: the server sends another certificate", daneAt + "3 1 1 " + spki},
		{"issuer, another name", "2 0 1 " + digest(ca.cert, wholeCert, bySHA256), &other, all, doctor.Red, `the certificate of mail.example.org does not match its TLSA records: "x509: certificate is valid for other.example.org, not mail.example.org"`, daneAt + "3 1 1 " + digest(other.Leaf, publicKey, bySHA256)},
		{"issuer, not served", "2 0 1 " + strings.Repeat("ab", 32), &right, all, doctor.Red, "the certificate of mail.example.org does not match its TLSA records: the server sends no certificate of this issuer", daneAt + "3 1 1 " + spki},
		{"no STARTTLS", "3 1 1 " + spki, nil, all, doctor.Red, "mail.example.org has TLSA records, but does not offer STARTTLS", "postconf -e 'smtpd_tls_security_level = may'"},
		{"PKIX", "1 1 1 " + spki, &right, all, doctor.Yellow, "a TLSA record of mail.example.org is unusable: usage 1 must not be used for SMTP", daneAt + "3 1 1 " + spki},
		{"wrong length", "3 1 2 " + spki, &right, all, doctor.Yellow, "a TLSA record of mail.example.org is unusable: a SHA-512 digest has 128 hexadecimal digits, this one has 64", daneAt + "3 1 1 " + spki},
		{"selector", "3 2 1 " + spki, &right, all, doctor.Yellow, "a TLSA record of mail.example.org is unusable: selector 2 is unknown", daneAt + "3 1 1 " + spki},
		{"nothing at all", "3 0 0 abcd", &right, all, doctor.Yellow, "a TLSA record of mail.example.org is unusable: it contains no certificate or key", daneAt + "3 1 1 " + spki},
		{"not signed", "3 1 1 " + spki, &right, registry, doctor.Yellow, "the TLSA records of mail.example.org have no effect: DNSSEC does not validate them", "delv _25._tcp.mail.example.org TLSA # prints \"fully validated\" after that"},
		{"MX not signed", "3 1 1 " + spki, &right, host, doctor.Yellow, "the TLSA records of mail.example.org have little effect: the MX records of example.org are not validated by DNSSEC", "delv example.org MX # prints \"fully validated\" after that"},
		{"no resolver validates", "3 1 1 " + spki, &right, nil, doctor.Yellow, "doctor cannot check DNSSEC of the TLSA records of mail.example.org: the DNS resolver does not validate", "apt-get install unbound dns-root-data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			port := mailServer(t, smtpd(c.server))
			found := daneOf(t, Facts{Resolver: validating(t, base+daneAt+c.record+"\n", c.signed), SMTPPort: port})
			if len(found) != 1 || found[0].Level != c.level || found[0].What != c.what || found[0].Fix != c.fix {
				t.Fatalf("%+v", found)
			}
			if strings.HasPrefix(c.fix, daneAt) {
				if found := daneOf(t, Facts{Resolver: validating(t, base+c.fix+"\n", c.signed), SMTPPort: port}); len(bad(found)) > 0 {
					t.Errorf("the fix does not correct the fault: %+v", found)
				}
			}
		})
	}
}

// If DNSSEC validates the MX records and the address, the record of the present certificate is proposed. When it is published, it is right.
func TestPossibleTLSA(t *testing.T) {
	right := newAuthority(t).issue(t, "mail.example.org", time.Time{})
	base := strings.Replace(healthy, "A 192.0.2.1", "A 127.0.0.1", 1)
	signed := []string{"org.", "example.org.", ".example.org."}
	port := mailServer(t, smtpd(&right))
	_, found := Examine(t.Context(), Facts{Domain: "example.org", Resolver: validating(t, base, signed), SMTPPort: port})
	if want := daneAt + "3 1 1 " + digest(right.Leaf, publicKey, bySHA256); len(found.TLSA) != 1 || found.TLSA[0] != want || !slices.Contains(found.Absent, "dane") {
		t.Fatalf("%q %q, want %q", found.TLSA, found.Absent, want)
	}
	_, found = Examine(t.Context(), Facts{Domain: "example.org", Resolver: validating(t, base+found.TLSA[0]+"\n", signed), SMTPPort: port})
	if len(found.TLSA) > 0 || slices.Contains(found.Absent, "dane") {
		t.Errorf("%q %q", found.TLSA, found.Absent)
	}
	silent := mailServer(t, smtpd(nil))
	if _, found = Examine(t.Context(), Facts{Domain: "example.org", Resolver: validating(t, base, signed), SMTPPort: silent}); len(found.TLSA) > 0 {
		t.Errorf("%q is proposed for a server without TLS", found.TLSA)
	}
}

// Without TLSA records and DNSSEC, no connection is made.
func TestNoDANE(t *testing.T) {
	dial := func(context.Context, string, string) (net.Conn, error) {
		t.Error("connected")
		return nil, errors.New("no")
	}
	found := daneOf(t, Facts{Resolver: validating(t, healthy, nil), Dial: dial})
	if len(found) != 1 || found[0].Level != doctor.Green || found[0].What != "the mail exchanges of example.org have no TLSA records; DANE is optional" {
		t.Errorf("%+v", found)
	}
}

// If a mail server cannot be reached, its TLSA records are not reported as wrong.
func TestDANEWithoutCertificate(t *testing.T) {
	const record = daneAt + "3 1 1 0000000000000000000000000000000000000000000000000000000000000000\n"
	zone := strings.Replace(healthy, "A 192.0.2.1", "A 127.0.0.1", 1) + record
	signed := []string{"example.org.", ".example.org."}
	for _, c := range []struct {
		name, where string
		talk        func(net.Conn)
	}{
		{"a greeting without end", "the reply is too long", func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, strings.Repeat("220-x\r\n", 1000)); err != nil {
					return
				}
			}
		}},
		{"a line without end", "the reply is too long", func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, strings.Repeat("2", 10000)); err != nil {
					return
				}
			}
		}},
		{"nothing", "EOF", func(net.Conn) {}},
		{"no mail server", "short response", func(c net.Conn) { _, _ = io.WriteString(c, "!\r\n") }},
	} {
		found := daneOf(t, Facts{Resolver: validating(t, zone, signed), SMTPPort: mailServer(t, c.talk)})
		if len(found) != 1 || found[0].Level != doctor.Yellow || found[0].What != "the certificate of mail.example.org could not be compared with its TLSA records" ||
			!strings.Contains(found[0].Where, c.where) || found[0].Fix != "posttls-finger -c -l dane example.org" {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}

// If a mail server does not answer, the check ends with the context.
func TestDANEOfSilentServer(t *testing.T) {
	zone := strings.Replace(healthy, "A 192.0.2.1", "A 127.0.0.1", 1) + daneAt + "3 1 1 0000000000000000000000000000000000000000000000000000000000000000\n"
	ctx, cancel := context.WithCancel(t.Context())
	port := mailServer(t, func(c net.Conn) {
		cancel()
		_, _ = io.Copy(io.Discard, c)
	})
	all := Facts{Resolver: validating(t, zone, []string{"example.org.", ".example.org."}), SMTPPort: port}.check(ctx, "example.org", nil)
	if last := all[len(all)-1]; last.What != "the certificate of mail.example.org could not be compared with its TLSA records" {
		t.Errorf("%+v", last)
	}
}

// The AD bit of a resolver on another host is not trusted.
func TestDANEOfDistantResolver(t *testing.T) {
	ca := newAuthority(t)
	right := ca.issue(t, "mail.example.org", time.Time{})
	server, err := testdns.Start(strings.Replace(healthy, "A 192.0.2.1", "A 127.0.0.1", 1) + daneAt + "3 1 1 " + digest(right.Leaf, publicKey, bySHA256) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	resolver := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr()), netip.MustParseAddrPort("192.0.2.53:53")},
		Timeout: 5 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	found := daneOf(t, Facts{Resolver: resolver, SMTPPort: mailServer(t, smtpd(&right))})
	if len(found) != 1 || found[0].Level != doctor.Yellow || found[0].What != "doctor cannot check DNSSEC of the TLSA records of mail.example.org: the DNS resolver is not on this host" || found[0].Fix != `servers = ["127.0.0.1:53"]` {
		t.Errorf("%+v", found)
	}
}

// If name servers fail on TLSA queries, senders that use DANE cannot deliver mail.
func TestTLSAUnanswered(t *testing.T) {
	server, err := testdns.Start(healthy + ";fault _25._tcp.mail.example.org SERVFAIL\n")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	resolver := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: 5 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	found := daneOf(t, Facts{Resolver: resolver})
	if len(found) != 1 || found[0].Level != doctor.Yellow || found[0].What != "_25._tcp.mail.example.org: DNS lookup failed" || !strings.Contains(found[0].Why, "RFC 7672 section 2.1.3") {
		t.Errorf("%+v", found)
	}
}
