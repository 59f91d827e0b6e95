// Package traffic makes mail whose right result is known, because it is made so: no part of Signpost is asked. Signatures of other sites are made
// by go-msgauth with keys of this package. One seed always makes the same mail.
package traffic

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"signpost/internal/soak/judge"
)

// Site is what the generator must know about the hosts under test.
type Site struct {
	Hosts  []Host
	NoKey  string // a domain of all hosts that has no key; empty: none
	Now    func() time.Time
	Shares map[judge.Class]int // in percent; nil: Shares()
}

// Host is one of the hosts.
type Host struct {
	Name    string   // "a"
	ID      string   // the authserv-id
	Domains []string // hosted: mail from these is signed by Signpost, and mail to these is delivered here
}

// Shares returns the usual shares of the classes in percent.
func Shares() map[judge.Class]int {
	return map[judge.Class]int{judge.User: 44, judge.Unauthenticated: 22, judge.List: 8, judge.Forwarder: 7, judge.Forger: 18, judge.Reporter: 1}
}

// Mail is a message that a client sends.
type Mail struct {
	judge.Message
	Client     netip.Addr // for XCLIENT; invalid: loopback
	HELO       string
	Login      string // for XCLIENT; empty: none
	Sender     string
	Recipients []string
	Text       []byte // with CRLF
}

// Generator makes mail. It is for one goroutine.
type Generator struct {
	site   Site
	random *rand.Rand
	n      int
	rsa    *rsa.PrivateKey
	ed     ed25519.PrivateKey
	seed   uint64
	last   judge.Received
}

// Reported returns the domains of other sites to which reports about them are sent.
func Reported() []string { return []string{honest, strict} }

// Reporter is the domain that sends reports about the hosts' domains, to Mailbox at each of them.
const (
	Reporter = "receiver.example"
	Mailbox  = "dmarc"
)

// Users returns the address of the only user of a login for each domain: the login may use this address.
func Users(domain string) map[string]string {
	return map[string]string{login: login + "@" + domain, colleague: colleague + "@" + domain}
}

// The domains of other sites. Zone has their records.
const (
	honest  = "honest.example"  // signs, and SPF allows sender
	spfOnly = "spfonly.example" // does not sign; p=quarantine
	strict  = "strict.example"  // p=reject; signs
	lists   = "lists.example"   // a mailing list; signs
	relay   = "relay.example"   // a forwarder with SRS
	evil    = "evil.example"    // a forger with SPF of its own
)

const (
	sender   = "192.0.2.10"   // of the honest sites
	listHost = "192.0.2.20"   // of lists
	relayed  = "192.0.2.30"   // of relay
	attacker = "198.51.100.9" // of evil
	reports  = "192.0.2.40"   // of Reporter
)

// The logins.
const (
	login     = "ann" // of all messages
	colleague = "bob"
)

// New returns a Generator.
func New(seed uint64, site Site) (*Generator, error) {
	key, err := rsa.GenerateKey(cryptorand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	if site.Shares == nil {
		site.Shares = Shares()
	}
	return &Generator{site: site, random: rand.New(rand.NewPCG(seed, 1)), rsa: key, ed: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)), seed: seed}, nil
}

// Zone returns the DNS records of the other sites, as lines of a zone file of the root.
func (g *Generator) Zone() string {
	der, _ := x509.MarshalPKIXPublicKey(&g.rsa.PublicKey) // it never fails for RSA
	rsaRecord := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	edRecord := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(g.ed.Public().(ed25519.PublicKey))
	var b strings.Builder
	txt := func(name, text string) {
		fmt.Fprintf(&b, "%s. IN TXT", name)
		for len(text) > 200 {
			fmt.Fprintf(&b, " %q", text[:200])
			text = text[200:]
		}
		fmt.Fprintf(&b, " %q\n", text)
	}
	for name, address := range map[string]string{honest: sender, spfOnly: sender, strict: sender, lists: listHost, relay: relayed, evil: attacker, Reporter: reports} {
		txt(name, "v=spf1 ip4:"+address+" -all")
		txt("r1._domainkey."+name, rsaRecord)
		txt("e1._domainkey."+name, edRecord)
	}
	txt("_dmarc."+honest, "v=DMARC1; p=none; rua=mailto:dmarc@"+honest)
	txt("_dmarc."+spfOnly, "v=DMARC1; p=quarantine")
	txt("_dmarc."+strict, "v=DMARC1; p=reject; rua=mailto:dmarc@"+strict)
	txt("_dmarc."+evil, "v=DMARC1; p=none")
	txt("_dmarc."+Reporter, "v=DMARC1; p=reject")
	return b.String()
}

// Next returns the next message. Its Attempts are empty.
func (g *Generator) Next() Mail {
	g.n++
	m := Mail{Message: judge.Message{ID: fmt.Sprintf("%d-%d", g.seed, g.n)}}
	to := g.site.Hosts[g.random.IntN(len(g.site.Hosts))]
	m.Host, m.Want.At = to.Name, to.Name
	m.Recipients = []string{"box@" + g.one(to.Domains...)}
	at := g.random.IntN(100)
	for _, class := range []judge.Class{judge.User, judge.Unauthenticated, judge.List, judge.Forwarder, judge.Forger, judge.Reporter} {
		if at -= g.site.Shares[class]; at < 0 {
			m.Class = class
			break
		}
	}
	switch m.Class {
	case judge.Unauthenticated:
		g.unauthenticated(&m)
	case judge.List:
		g.list(&m)
	case judge.Forwarder:
		g.forwarder(&m)
	case judge.Forger:
		g.forger(&m, to)
	case judge.Reporter:
		g.reporter(&m, to)
	default:
		g.user(&m, to)
	}
	return m
}

func (g *Generator) one(all ...string) string { return all[g.random.IntN(len(all))] }

// letter returns a message without a signature.
func (g *Generator) letter(m *Mail, from string, more ...string) string {
	header := []string{"From: " + from, "To: " + m.Recipients[0], "Subject: " + g.one("test", "a longer subject of a message", "=?utf-8?q?Gr=C3=BC=C3=9Fe?="),
		"Date: " + g.site.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 +0000"), fmt.Sprintf("Message-ID: <%s@soak.example>", m.ID), judge.IDField + ": " + m.ID}
	header = append(header, more...)
	body := g.one("text\r\n", "", "two\r\nlines\r\n\r\n", "trailing  \t\r\nspaces \r\n\r\n\r\n", strings.Repeat("a line of a longer message\r\n", 1+g.random.IntN(200)), "8 bit: gr\xfc\xdfe\r\n", ".\r\n..\r\n")
	return strings.Join(header, "\r\n") + "\r\n\r\n" + body
}

// sign signs a message as another site does.
func (g *Generator) sign(text, domain string) (string, error) {
	var key crypto.Signer = g.rsa
	selector := "r1"
	if g.random.IntN(3) == 0 {
		key, selector = g.ed, "e1"
	}
	var b bytes.Buffer
	o := &dkim.SignOptions{Domain: domain, Selector: selector, Signer: key, HeaderCanonicalization: dkim.CanonicalizationRelaxed,
		BodyCanonicalization: dkim.Canonicalization(g.one("relaxed", "simple")), HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID", judge.IDField}}
	if err := dkim.Sign(&b, strings.NewReader(text), o); err != nil {
		return "", err
	}
	return b.String(), nil
}
