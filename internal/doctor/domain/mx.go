package domain

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/spf"
)

// maxExchanges is the maximum number of mail exchanges that are checked; legitimate domains have at most about five.
const maxExchanges = 10

// checkMX checks the MX records and the addresses of the mail exchanges: RFC 5321 section 5.1, RFC 7505.
func (l *examination) checkMX(ctx context.Context) {
	all, err := l.view.LookupMX(ctx, l.domain)
	if err != nil && !spf.IsNotFound(err) {
		l.unknown(ctx, l.domain, err)
		return
	}
	l.signed = l.view.Authentic(ctx, dns.MX, l.domain)
	before := len(l.all)
	var shown []string
	for _, mx := range all {
		shown = append(shown, fmt.Sprintf("%s. IN MX %d %s", l.domain, mx.Pref, mx.Host))
	}
	where := strings.Join(shown, "\n")
	switch {
	case len(all) == 0:
		l.noMX(ctx)
		return
	case len(all) == 1 && all[0].Host == ".":
		l.nullMX = true
		l.good(l.domain+" has a null MX: it accepts no mail", where)
		return
	case len(all) > maxExchanges:
		l.add(doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("%s has %d MX records", l.domain, len(all)), Where: where,
			Why: "RFC 7208 section 4.6.4: the SPF term mx is a permanent error with more than 10", Fix: shown[0] + " ; and at most nine others"})
		all = all[:maxExchanges]
	}
	for _, mx := range all {
		host := strings.TrimSuffix(mx.Host, ".")
		line := fmt.Sprintf("%s. IN MX %d ", l.domain, mx.Pref)
		if host == "" {
			l.add(doctor.Finding{Level: doctor.Red, What: l.domain + " has a null MX and other MX records", Where: where,
				Why: `RFC 7505 section 3: "." means that the domain accepts no mail, and must be the only MX record`, Fix: "; remove " + line + "."})
			continue
		}
		l.checkExchange(ctx, host, line)
		l.exchanges = append(l.exchanges, strings.ToLower(host))
	}
	if len(l.all) == before {
		l.good(fmt.Sprintf("the mail exchanges of %s have addresses", l.domain), where)
	}
}

func (l *examination) noMX(ctx context.Context) {
	addrs, err := l.addrs(ctx, l.domain)
	switch {
	case err != nil:
		l.unknown(ctx, l.domain, err)
	case len(addrs) > 0:
		l.add(doctor.Finding{Level: doctor.Yellow, What: l.domain + " has no MX record", Where: fmt.Sprintf("%s: addresses %v", l.domain, addrs),
			Why: "RFC 5321 section 5.1: senders use the address of the domain instead, but some receivers reject mail from a domain without MX. A name without mail should have MX 0 . and SPF v=spf1 -all",
			Fix: l.domain + ". IN MX 10 " + l.hostName() + "."})
	default:
		l.add(doctor.Finding{Level: doctor.Red, What: l.domain + " has no MX record and no address", Where: l.domain + ": no MX, A or AAAA record",
			Why: "RFC 5321 section 5.1: replies to its mail cannot be delivered, and many receivers reject such mail. A name without mail should have MX 0 . and SPF v=spf1 -all",
			Fix: l.firstMX(ctx)})
	}
}

// firstMX returns an MX record, and the address of its host if that has none.
func (l *examination) firstMX(ctx context.Context) string {
	host := l.hostName()
	fix := l.domain + ". IN MX 10 " + host + "."
	if addrs, err := l.addrs(ctx, host); err != nil || len(addrs) > 0 {
		return fix
	}
	addr := l.likelyAddress()
	return fmt.Sprintf("%s\n%s. IN %s %s ; or the right address", fix, host, addrType(addr), addr)
}

// likelyAddress returns an address that this host sends from, or else one for documentation.
func (l *examination) likelyAddress() netip.Addr {
	if l.own != nil && len(l.own.Sends) > 0 {
		return l.own.Sends[0]
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, 1})
}

// hostName returns the name of the mail host. If the name is not known, it returns a likely name.
func (l *examination) hostName() string {
	switch {
	case l.own != nil && fullName(l.own.HELO):
		return strings.TrimSuffix(l.own.HELO, ".")
	case len(l.exchanges) > 0:
		return l.exchanges[0]
	}
	return "mail." + l.domain
}

func (l *examination) checkExchange(ctx context.Context, host, line string) {
	if addr, err := netip.ParseAddr(host); err == nil {
		l.add(doctor.Finding{Level: doctor.Red, What: "an MX record of " + l.domain + " contains an IP address", Where: line + host + ".",
			Why: "RFC 5321 section 5.1: an MX record must contain a host name; senders cannot resolve this one, and mail is lost",
			Fix: fmt.Sprintf("%smail.%s. ; with mail.%s. IN %s %s", line, l.domain, l.domain, addrType(addr), addr)})
		return
	}
	addrs, err := l.addrs(ctx, host)
	c := l.chainOf(ctx, host)
	switch {
	case err != nil:
		l.unknown(ctx, host, err)
	case len(addrs) == 0:
		addr := l.likelyAddress()
		f := doctor.Finding{Level: doctor.Red, What: fmt.Sprintf("the mail exchange %s has no address", host), Where: line + host + ".",
			Why: "RFC 5321 section 5.1: mail for the domain cannot be delivered to this host",
			Fix: fmt.Sprintf("%s. IN %s %s ; or the right address", host, addrType(addr), addr)}
		if c.isAlias() {
			f.What, f.Where = fmt.Sprintf("the mail exchange %s is an alias whose target has no address", host), line+host+".\n"+c.absent("A or AAAA")
			f.Fix += ", " + replaced
		}
		l.add(f)
	case c.isAlias():
		l.add(doctor.Finding{Level: doctor.Red, What: fmt.Sprintf("the mail exchange %s is an alias", host), Where: c.lines(),
			Why: "RFC 2181 section 10.3, RFC 5321 section 5.1: an MX record must not contain an alias; some senders do not deliver",
			Fix: line + c.end() + "."})
	}
}

func addrType(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}
