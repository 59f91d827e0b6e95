package traffic

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"signpost/internal/soak/judge"
)

// user is outbound mail of a login. Its host signs it, and passes it on if another host has the recipient. A domain without a key is not signed.
func (g *Generator) user(m *Mail, to Host) {
	m.Class = judge.User
	from := g.site.Hosts[g.random.IntN(len(g.site.Hosts))]
	domain := g.one(from.Domains...)
	m.Host, m.Login, m.HELO, m.Client = from.Name, login, "client.example", netip.MustParseAddr("203.0.113.77")
	m.Want.Signer = domain
	if g.site.NoKey != "" && g.random.IntN(20) == 0 {
		domain, m.Want.Signer = g.site.NoKey, ""
	}
	m.Sender = login + "@" + domain
	if from.Name != to.Name && m.Want.Signer != "" {
		// The other host verifies it. SPF depends on the address of the first host, which is loopback here.
		m.Want.Results = map[string]string{"dkim": "pass", "dmarc": "pass"}
	}
	m.Text = []byte(g.letter(m, "Ann <"+login+"@"+domain+">"))
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
	switch g.random.IntN(7) {
	case 6: // a login with the address of a colleague
		m.Client, m.HELO, m.Login = netip.MustParseAddr("203.0.113.77"), "client.example", login
		domain := g.one(to.Domains...)
		m.Sender = login + "@" + domain
		m.Text = []byte(g.letter(m, colleague+"@"+domain))
		return
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

// reporter is a report about a domain of the host. Some reports arrive twice.
func (g *Generator) reporter(m *Mail, to Host) {
	domain := g.one(to.Domains...)
	m.Client, m.HELO, m.Sender = netip.MustParseAddr(reports), Reporter, "noreply@"+Reporter
	m.Recipients = []string{Mailbox + "@" + domain}
	r := judge.Received{Domain: domain, ID: m.ID, Messages: int64(1 + g.random.IntN(1000))}
	if g.last.Domain == domain && g.random.IntN(4) == 0 {
		r = g.last
	}
	g.last = r
	m.Want.Received = r
	m.Want.Results = map[string]string{"spf": "pass", "dkim": "pass", "dmarc": "pass"}
	day := g.site.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprintf(z, `<feedback><report_metadata><org_name>Receiver</org_name><email>noreply@%s</email><report_id>%s</report_id><date_range><begin>%d</begin><end>%d</end></date_range></report_metadata>`+
		`<policy_published><domain>%s</domain><adkim>r</adkim><aspf>r</aspf><p>reject</p></policy_published><record><row><source_ip>127.0.0.11</source_ip><count>%d</count>`+
		`<policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>pass</spf></policy_evaluated></row><identifiers><header_from>%[5]s</header_from></identifiers>`+
		`<auth_results><dkim><domain>%[5]s</domain><selector>any</selector><result>pass</result></dkim></auth_results></record></feedback>`,
		Reporter, r.ID, day.Unix(), day.Add(24*time.Hour-time.Second).Unix(), domain, r.Messages)
	if err := z.Close(); err != nil {
		panic(err) // never: the buffer is in memory
	}
	name := fmt.Sprintf("%s!%s!%d!%d.xml.gz", Reporter, domain, day.Unix(), day.Add(24*time.Hour-time.Second).Unix())
	text := strings.Join([]string{"From: noreply@" + Reporter, "To: " + m.Recipients[0], "Subject: Report domain: " + domain + " Submitter: " + Reporter + " Report-ID: " + r.ID,
		"Date: " + g.site.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 +0000"), fmt.Sprintf("Message-ID: <%s@%s>", m.ID, Reporter), judge.IDField + ": " + m.ID,
		"MIME-Version: 1.0", "Content-Type: application/gzip; name=\"" + name + "\"", "Content-Transfer-Encoding: base64", "", base64.StdEncoding.EncodeToString(packed.Bytes()), ""}, "\r\n")
	m.Text = []byte(g.signed(m, text, Reporter))
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
