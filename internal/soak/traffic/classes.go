package traffic

import (
	"fmt"
	"net/netip"
	"strings"

	"signpost/internal/soak/judge"
)

// user is outbound mail of a login. Its host signs it, and passes it on if another host has the recipient.
func (g *Generator) user(m *Mail, to Host) {
	m.Class = judge.User
	from := g.site.Hosts[g.random.IntN(len(g.site.Hosts))]
	domain := g.one(from.Domains...)
	m.Host, m.Login, m.HELO, m.Client = from.Name, "ann", "client.example", netip.MustParseAddr("203.0.113.77")
	m.Sender = "ann@" + domain
	m.Want.Signer = domain
	if from.Name != to.Name {
		// The other host verifies it. SPF depends on the address of the first host, which is loopback here.
		m.Want.Results = map[string]string{"dkim": "pass", "dmarc": "pass"}
	}
	m.Text = []byte(g.letter(m, "Ann <ann@"+domain+">"))
}

// unauthenticated is genuine mail of other sites.
func (g *Generator) unauthenticated(m *Mail) {
	m.Client, m.HELO = netip.MustParseAddr(sender), "mail.honest.example"
	name := g.one(honest, spfOnly, strict)
	m.Sender = "bob@" + name
	text := g.letter(m, "bob@"+name)
	m.Want.Results = map[string]string{"spf": "pass", "dmarc": "pass", "dkim": "none"}
	if name != spfOnly {
		text = g.signed(m, text, name)
		m.Want.Results["dkim"] = "pass"
	}
	disposition := "pass" // under an enforcing policy (RFC 9990)
	if name == honest {
		disposition = "none"
	}
	g.row(m, name, disposition)
	m.Text = []byte(text)
}

// signed signs, or panics: the keys and texts are those of this package.
func (g *Generator) signed(m *Mail, text, domain string) string {
	out, err := g.sign(text, domain)
	if err != nil {
		panic(fmt.Sprintf("message %s: %v", m.ID, err))
	}
	return out
}

// list is mail of a p=reject domain through a mailing list, which adds a tag and a footer. The list is verified, so the message is quarantined.
func (g *Generator) list(m *Mail) {
	m.Client, m.HELO, m.Sender = netip.MustParseAddr(listHost), "lists.example", "talk-bounces@"+lists
	text := g.letter(m, "bob@"+strict, "List-Id: <talk."+lists+">", "List-Post: <mailto:talk@"+lists+">")
	text = g.signed(m, text, strict)
	text = strings.Replace(text, "\r\nSubject: ", "\r\nSubject: [talk] ", 1) + "-- \r\nfooter of the list\r\n"
	m.Text = []byte(g.signed(m, text, lists))
	m.Want.Tagged = true
	m.Want.Results = map[string]string{"spf": "pass", "dmarc": "fail", "dkim": "pass"}
	g.row(m, strict, "quarantine")
}

// forwarder is mail that a forwarder with SRS passes on: with its signature, or unsigned and therefore quarantined.
func (g *Generator) forwarder(m *Mail) {
	m.Client, m.HELO = netip.MustParseAddr(relayed), "relay.example"
	m.Sender = "SRS0=abcd=EF=" + strict + "=bob@" + relay
	text := g.letter(m, "bob@"+strict)
	m.Want.Results = map[string]string{"spf": "pass", "dkim": "none", "dmarc": "fail"}
	m.Want.Tagged = true
	disposition := "quarantine"
	if g.random.IntN(2) == 0 {
		text = g.signed(m, text, strict)
		m.Want.Results["dkim"], m.Want.Results["dmarc"] = "pass", "pass"
		m.Want.Tagged, disposition = false, "pass"
	}
	g.row(m, strict, disposition)
	m.Text = []byte(text)
}

// forger is mail with a forged From.
func (g *Generator) forger(m *Mail, to Host) {
	m.Client, m.HELO, m.Sender = netip.MustParseAddr(attacker), "evil.example", "x@"+evil
	m.Want = judge.Want{Rejected: true}
	from := "boss@" + strict
	var more []string
	switch g.random.IntN(6) {
	case 0: // with a signature of its own, which is not aligned
		m.Text = []byte(g.signed(m, g.letter(m, from), evil))
	case 1: // with results in our name
		more = []string{"Authentication-Results: " + to.ID + "; dkim=pass header.d=" + strict + "; dmarc=pass header.from=" + strict}
	case 2: // with a list of its own, which is not verified
		m.Sender = "x@unknown.example"
		more = []string{"List-Id: <talk." + lists + ">", "List-Post: <mailto:talk@" + lists + ">"}
	case 3: // with the name of the victim as display name, and two addresses
		from = `"boss@` + strict + `" <boss@` + strict + `>`
	case 4: // a genuine message of the victim with another Subject
		text := g.signed(m, g.letter(m, from), strict)
		m.Text = []byte(strings.Replace(text, "\r\nSubject: ", "\r\nSubject: pay now, ", 1))
	case 5:
		more = []string{"X-Signpost-Disposition: none", "ARC-Authentication-Results: i=1; " + to.ID + "; dmarc=pass"}
	}
	if m.Text == nil {
		m.Text = []byte(g.letter(m, from, more...))
	}
	g.row(m, strict, "reject")
}

// row sets the row of the message in a report about its Author Domain, if that has rua.
func (g *Generator) row(m *Mail, domain, disposition string) {
	if domain != strict && domain != honest {
		return
	}
	passed := func(method string) string {
		if m.Want.Results[method] == "pass" && m.Want.Results["dmarc"] == "pass" {
			return "pass"
		}
		return "fail"
	}
	m.Want.Row = judge.Row{Domain: domain, Source: m.Client.String(), Disposition: disposition, DKIM: passed("dkim"), SPF: passed("spf")}
	if m.Sender != "bob@"+domain {
		m.Want.Row.SPF = "fail" // not aligned
	}
}
