package domain

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/spf"
)

// exchange is a mail exchange (MX host) with TLSA records.
type exchange struct {
	host    string
	records []dns.TLSA
	signed  bool // DNSSEC validates the TLSA records and the addresses
	chain   []*x509.Certificate
	err     error // why chain is empty
}

func (e *exchange) name() string { return "_25._tcp." + e.host }

// checkDANE checks the TLSA records (RFC 7672). This check runs last, because mail servers are slow and many networks block port 25.
func (l *examination) checkDANE(ctx context.Context) {
	if len(l.exchanges) == 0 {
		return
	}
	var all []*exchange
	before := len(l.all)
	for _, host := range l.exchanges {
		e := &exchange{host: host}
		var err error
		e.records, e.signed, err = l.view.LookupTLSA(ctx, e.name())
		switch {
		case spf.IsNotFound(err):
		case err != nil:
			if f, isNew := l.failure(ctx, e.name(), err); isNew {
				f.Why = "RFC 7672 section 2.1.3: if the zone is signed, senders that use DANE defer mail until this lookup succeeds"
				l.add(f)
			}
		default:
			e.signed = e.signed && (l.view.Authentic(ctx, dns.A, host) || l.view.Authentic(ctx, dns.AAAA, host))
			all = append(all, e)
		}
	}
	var asking sync.WaitGroup
	for _, e := range all {
		asking.Go(func() { e.chain, e.err = l.served(ctx, e.host) })
	}
	asking.Wait()
	for _, e := range all {
		before := len(l.all)
		l.checkTLSA(e)
		l.checkDNSSEC(ctx, e)
		if len(l.all) == before {
			l.good("the TLSA records of "+e.host+" are validated by DNSSEC and match its certificate", lines(e.name(), e.records))
		}
	}
	for i, f := range l.all {
		if f.Level != doctor.Green { // all domains that use this exchange share the finding
			l.all[i].Where += "\na mail exchange of " + l.domain
		}
	}
	if len(l.all) == before {
		l.found.Absent = append(l.found.Absent, l.check)
		l.found.TLSA = l.possibleTLSA(ctx)
		l.good("the mail exchanges of "+l.domain+" have no TLSA records; DANE is optional", "_25._tcp."+l.exchanges[0]+": no TLSA record")
	}
}

// possibleTLSA returns the records of the present certificates of the mail exchanges. It returns none if DNSSEC would not validate them (RFC 7672 section
// 2.2.1), or if a mail exchange does not show a certificate.
func (l *examination) possibleTLSA(ctx context.Context) (all []string) {
	if !l.Resolver.Near() || !l.signed {
		return nil
	}
	found := make([]string, len(l.exchanges))
	var asking sync.WaitGroup
	for i, host := range l.exchanges {
		if !l.view.Authentic(ctx, dns.A, host) && !l.view.Authentic(ctx, dns.AAAA, host) {
			return nil
		}
		asking.Go(func() {
			if chain, err := l.served(ctx, host); err == nil && len(chain) > 0 {
				found[i] = lines((&exchange{host: host}).name(), []dns.TLSA{own(chain[0])})
			}
		})
	}
	asking.Wait()
	if slices.Contains(found, "") {
		return nil
	}
	return found
}

// checkTLSA checks the records, and compares the certificate with them.
func (l *examination) checkTLSA(e *exchange) {
	right := "openssl s_client -starttls smtp -connect " + word(e.host) + ":25 </dev/null | openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum # the digits for TLSA 3 1 1"
	if len(e.chain) > 0 {
		right = lines(e.name(), []dns.TLSA{own(e.chain[0])})
	}
	usable, mismatch := 0, ""
	for _, t := range e.records {
		if why := unusable(t); why != "" {
			fix := right
			if better := mendTLSA(t); unusable(better) == "" && len(e.chain) == 0 {
				fix = lines(e.name(), []dns.TLSA{better})
			}
			l.add(doctor.Finding{Level: doctor.Yellow, What: "a TLSA record of " + e.host + " is unusable: " + why, Where: lines(e.name(), []dns.TLSA{t}),
				Why: "RFC 7672 section 3.1: senders ignore an unusable record; if all records are unusable, they do not check the certificate", Fix: fix})
			continue
		}
		usable++
		if len(e.chain) == 0 || mismatch == "none" {
			continue
		}
		if mismatch = matches(t, e.chain, e.host, l.domain); mismatch == "" {
			mismatch = "none"
		}
	}
	switch {
	case usable == 0 || mismatch == "none":
	case mismatch != "":
		l.add(doctor.Finding{Level: l.daneLevel(e), What: "the certificate of " + e.host + " does not match its TLSA records: " + mismatch, Where: lines(e.name(), e.records) + "\nserved: " + lines(e.name(), []dns.TLSA{own(e.chain[0])}),
			Why: "RFC 7672 section 2.2: senders that use DANE do not deliver to this host", Fix: right})
	case e.err == errNoTLS:
		l.add(doctor.Finding{Level: l.daneLevel(e), What: e.host + " has TLSA records, but does not offer STARTTLS", Where: lines(e.name(), e.records),
			Why: "RFC 7672 section 2.2: senders that use DANE do not deliver to this host", Fix: "postconf -e 'smtpd_tls_security_level = may'"})
	default:
		l.add(doctor.Finding{Level: doctor.Yellow, What: "the certificate of " + e.host + " could not be compared with its TLSA records", Where: lines(e.name(), e.records) + fmt.Sprintf("\n%q", e.err.Error()),
			Why: "many networks block outbound port 25; repeat the check on another host", Fix: "posttls-finger -c -l dane " + l.domain})
	}
}

// daneLevel returns Yellow for records that DNSSEC does not validate, because they have no effect yet. If doctor cannot check DNSSEC, it
// returns Red.
func (l *examination) daneLevel(e *exchange) doctor.Level {
	if l.Resolver.Near() && !e.signed {
		return doctor.Yellow
	}
	return doctor.Red
}

// checkDNSSEC checks whether DNSSEC validates the exchange and its records. Otherwise the records have no effect (RFC 7672 section 2.2.1).
// The AD bit counts only if the path to the resolver is secure: RFC 4035 section 4.9.3.
func (l *examination) checkDNSSEC(ctx context.Context, e *exchange) {
	f := doctor.Finding{Level: doctor.Yellow, Where: lines(e.name(), e.records)}
	switch {
	case !l.Resolver.Near():
		f.What = "doctor cannot check DNSSEC of the TLSA records of " + e.host + ": the DNS resolver is not on this host"
		f.Why = "RFC 4035 section 4.9.3: the AD bit is trustworthy only from a resolver on this host; install one (unbound) and set it in [dns] of signpost.toml"
		f.Fix = `servers = ["127.0.0.1:53"]`
	case e.signed && l.signed:
		return
	case !l.view.Authentic(ctx, dns.MX, "org"): // signed since 2009
		f.What = "doctor cannot check DNSSEC of the TLSA records of " + e.host + ": the DNS resolver does not validate"
		f.Why = "RFC 7672 section 2.2: senders use only records that DNSSEC validates; unbound on Debian validates by default"
		f.Fix = "apt-get install unbound dns-root-data"
	case !e.signed:
		f.What = "the TLSA records of " + e.host + " have no effect: DNSSEC does not validate them"
		f.Why = "RFC 7672 section 2.2: senders ignore such records; sign the zone and publish its DS record in the parent zone"
		f.Fix = "delv " + word(e.name()) + " TLSA # prints \"fully validated\" after that"
	default:
		f.What = "the TLSA records of " + e.host + " have little effect: the MX records of " + l.domain + " are not validated by DNSSEC"
		f.Why = "RFC 7672 section 2.2.1: an attacker who forges the MX records redirects the mail; sign the zone and publish its DS record in the parent zone"
		f.Fix = "delv " + l.domain + " MX # prints \"fully validated\" after that"
	}
	l.add(f)
}

// The values of the fields of a record are in RFC 6698 section 2.1. RFC 7672 section 3.1 states which of these values mail servers may use.
const (
	daneTA, daneEE              = 2, 3
	wholeCert, publicKey        = 0, 1
	exactly, bySHA256, bySHA512 = 0, 1, 2
)

func unusable(t dns.TLSA) string {
	switch {
	case t.Usage == 0 || t.Usage == 1:
		return fmt.Sprintf("usage %d must not be used for SMTP", t.Usage)
	case t.Usage > daneEE:
		return fmt.Sprintf("usage %d is unknown", t.Usage)
	case t.Selector > publicKey:
		return fmt.Sprintf("selector %d is unknown", t.Selector)
	case t.Matching > bySHA512:
		return fmt.Sprintf("matching type %d is unknown", t.Matching)
	case t.Matching == bySHA256 && len(t.Data) != 2*sha256.Size:
		return fmt.Sprintf("a SHA-256 digest has %d hexadecimal digits, this one has %d", 2*sha256.Size, len(t.Data))
	case t.Matching == bySHA512 && len(t.Data) != 2*sha512.Size:
		return fmt.Sprintf("a SHA-512 digest has %d hexadecimal digits, this one has %d", 2*sha512.Size, len(t.Data))
	case t.Matching != exactly:
		return ""
	}
	data, err := hex.DecodeString(t.Data)
	if err == nil && t.Selector == wholeCert {
		_, err = x509.ParseCertificate(data)
	} else if err == nil {
		_, err = x509.ParsePKIXPublicKey(data)
	}
	if err != nil {
		return "it contains no certificate or key"
	}
	return ""
}

// mendTLSA returns the record that was probably intended. It corrects the usage to one for SMTP, and the matching type according to the
// length of the data.
func mendTLSA(t dns.TLSA) dns.TLSA {
	if t.Usage < daneTA {
		t.Usage += daneTA
	}
	switch len(t.Data) {
	case 2 * sha256.Size:
		t.Matching = bySHA256
	case 2 * sha512.Size:
		t.Matching = bySHA512
	}
	return t
}

// own returns the recommended record for a certificate, 3 1 1 (RFC 7671 section 5.1). It stays valid if the renewed certificate has the
// same key.
func own(c *x509.Certificate) dns.TLSA {
	return dns.TLSA{Usage: daneEE, Selector: publicKey, Matching: bySHA256, Data: digest(c, publicKey, bySHA256)}
}

func digest(c *x509.Certificate, selector, matching uint8) string {
	data := c.Raw
	if selector == publicKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case bySHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case bySHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return hex.EncodeToString(data)
}

// matches returns an empty string if a chain matches a record. Otherwise it returns the reason. DANE-EE ignores names and dates, and
// DANE-TA checks both (RFC 7671 sections 5.1 and 5.2).
func matches(t dns.TLSA, chain []*x509.Certificate, host, domain string) string {
	if t.Usage == daneEE {
		if digest(chain[0], t.Selector, t.Matching) == t.Data {
			return ""
		}
		return "the server sends another certificate"
	}
	anchors := chain
	if data, err := hex.DecodeString(t.Data); err == nil && t.Selector == wholeCert && t.Matching == exactly {
		if c, err := x509.ParseCertificate(data); err == nil {
			anchors = append(anchors[:len(anchors):len(anchors)], c) // this certificate is in DNS, so the server does not have to send it
		}
	}
	why := "the server sends no certificate of this issuer"
	for _, a := range anchors {
		if digest(a, t.Selector, t.Matching) != t.Data {
			continue
		}
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(a)
		for _, c := range chain[1:] {
			between.AddCert(c)
		}
		for _, name := range []string{host, domain} { // RFC 7672 section 3.2.2
			_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name})
			if err == nil {
				return ""
			}
			if name == host {
				why = fmt.Sprintf("%q", err.Error())
			}
		}
	}
	return why
}

func lines(name string, all []dns.TLSA) string {
	return doctor.Join(all, "\n", func(t dns.TLSA) string {
		return fmt.Sprintf("%s. IN TLSA %d %d %d %s", name, t.Usage, t.Selector, t.Matching, t.Data)
	})
}
