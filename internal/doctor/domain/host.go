package domain

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/internal/spf"
)

// checkPTR checks the names of the addresses that this host sends from (iprev, RFC 8601 section 3). An address needs a PTR record, and the
// name in that record must resolve to the address. Otherwise, large receivers reject mail from it.
func (l *examination) checkPTR(ctx context.Context) {
	for _, addr := range l.own.Sends {
		l.checkPTROf(ctx, addr.Unmap())
	}
}

// heloName returns the HELO name without a final dot, in lower case.
func (l *examination) heloName() string { return domain.Fold(l.own.HELO) }

// checkHELO checks the HELO name. RFC 5321 section 4.1.4 requires a fully qualified name that has the address of the host. RFC 7208 section
// 2.3 recommends that the name passes SPF.
func (l *examination) checkHELO(ctx context.Context) {
	if l.heloName() == "" {
		return
	}
	helo := l.heloName()
	sends := l.own.Sends
	if !fullName(helo) {
		l.add(doctor.Finding{Level: doctor.Red, What: fmt.Sprintf("the HELO name %q is not a fully qualified domain name", helo), Where: cmp.Or(l.own.heloPlace, "main.cf: smtp_helo_name, $myhostname by default"),
			Why: "RFC 5321 section 4.1.4: the HELO name must be a fully qualified domain name; many receivers reject other names (504 5.5.2)", Fix: l.nameHost(ctx)})
		return
	}
	addrs, err := l.addrs(ctx, helo)
	if err != nil {
		l.unknown(ctx, helo, err)
		return
	}
	if len(addrs) == 0 {
		f := doctor.Finding{Level: doctor.Red, What: "the HELO name " + helo + " has no address", Where: helo + ": no A or AAAA record",
			Why: "RFC 5321 section 4.1.4: many receivers reject a name without an address (450 4.7.1)", Fix: helo + ". IN A 192.0.2.1 ; or the right address"}
		if len(sends) > 0 {
			f.Fix = fmt.Sprintf("%s. IN %s %s", helo, addrType(sends[0]), sends[0])
		}
		if c := l.chainOf(ctx, helo); c.isAlias() {
			f.What, f.Where, f.Fix = "the HELO name "+helo+" is an alias whose target has no address", c.absent("A or AAAA"), f.Fix+" ; "+replaced
		}
		l.add(f)
		return
	}
	var fails []string
	fix, status := "v=spf1 a -all", ""
	for _, addr := range sends {
		r := spf.Check(ctx, l.view, addr, helo, "")
		if r.Status == spf.TempError {
			l.unknown(ctx, r.Failed, l.errorOf(ctx, r.Failed))
			return
		}
		if status == "" || r.Status != spf.Pass {
			status = string(r.Status)
		}
		if r.Status == spf.Pass {
			continue
		}
		fails = append(fails, fmt.Sprintf("%s: %s", addr, spfReason(r)))
		if _, err := spf.ParseRecord(r.Record); r.Record != "" && err == nil && fix == "v=spf1 a -all" {
			fix = r.Record // the name may also be a mail domain, so the fix extends its record
		}
		if fix != "v=spf1 a -all" || !slices.Contains(addrs, addr) {
			fix = allow(fix, addr)
		}
	}
	switch {
	case len(sends) == 0:
		l.good("the HELO name "+helo+" has an address", fmt.Sprintf("%s: %s", helo, doctor.Join(addrs, " and ", netip.Addr.String)))
	case len(fails) == 0:
		l.good("the HELO name "+helo+" passes SPF", helo)
	default:
		l.add(doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("SPF of the HELO name %s is %s, not pass", helo, status), Where: helo + "\n" + strings.Join(fails, "\n"),
			Why: "RFC 7208 section 2.4: bounces have no envelope sender, so receivers check SPF of the HELO name; without a pass they may reject or junk bounces",
			Fix: record(helo, fix)})
	}
}

// fullName reports whether a name may exist in the public DNS.
func fullName(name string) bool {
	name = domain.Fold(name)
	return strings.Contains(name, ".") && !strings.HasPrefix(name, "[") && !strings.HasSuffix(name, ".localdomain") && !strings.HasSuffix(name, ".local")
}

// allow inserts an address before all other terms of a record.
func allow(text string, addr netip.Addr) string {
	return "v=spf1 " + ipTerm(netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())) + text[len("v=spf1"):]
}

// nameHost returns the command that sets the HELO name. If one of the addresses that this host sends from has a suitable PTR name, the
// command uses that name.
func (l *examination) nameHost(ctx context.Context) string {
	if l.own.heloUnset != "" && fullName(l.own.hostname) {
		return l.own.heloUnset
	}
	name := "mail." + l.domain
	for _, addr := range l.own.Sends {
		if own := l.nameOf(ctx, addr.Unmap()); own != "" {
			name = own
			break
		}
	}
	fix := "postconf -e " + doctor.Quote("myhostname = "+name)
	if l.own.heloUnset != "" {
		fix = l.own.heloUnset + " && " + fix
	}
	return fix
}

// plainName reports whether a name consists only of characters that are allowed in host names.
func plainName(name string) bool {
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// nameOf returns a PTR name of an address, if the name resolves to that address. It returns "" if there is no such name or only a generic
// one.
func (l *examination) nameOf(ctx context.Context, addr netip.Addr) string {
	names, err := l.view.LookupAddr(ctx, addr.String())
	if err != nil {
		return ""
	}
	for _, name := range names[:min(len(names), maxExchanges)] {
		host := domain.Fold(name)
		if addrs, err := l.addrs(ctx, host); err == nil && fullName(host) && plainName(host) && !generic(host, addr) && slices.Contains(addrs, addr) {
			return host
		}
	}
	return ""
}

func (l *examination) checkPTROf(ctx context.Context, addr netip.Addr) {
	helo := l.heloName()
	reverse, err := dns.ReverseAddr(addr.String())
	if err != nil {
		return
	}
	fix := reverse + " IN PTR " + l.hostName() + "."
	names, err := l.view.LookupAddr(ctx, addr.String())
	if err != nil && !spf.IsNotFound(err) {
		l.unknown(ctx, strings.TrimSuffix(reverse, "."), err)
		return
	}
	if len(names) == 0 {
		l.add(doctor.Finding{Level: doctor.Red, What: addr.String() + " has no PTR record", Where: reverse,
			Why: "Gmail, Yahoo and many others reject mail from an address without a PTR record (550 5.7.25); the provider of the address sets it", Fix: fix})
		return
	}
	var back []string
	for i, name := range names {
		if i == maxExchanges {
			break
		}
		host := domain.Fold(name)
		addrs, err := l.addrs(ctx, host)
		if err != nil {
			l.unknown(ctx, host, err)
			return
		}
		if slices.Contains(addrs, addr) {
			back = append(back, host)
		}
	}
	where := reverse + " IN PTR " + strings.Join(names, " ")
	switch {
	case len(back) == 0:
		host := domain.Fold(names[0])
		l.add(doctor.Finding{Level: doctor.Red, What: fmt.Sprintf("the PTR name of %s does not resolve to it", addr), Where: where,
			Why: "RFC 8601 section 3: a PTR name counts only if it resolves to the address; Gmail rejects mail otherwise (550 5.7.25)",
			Fix: fmt.Sprintf("%s. IN %s %s", host, addrType(addr), addr)})
	case fullName(helo) && !slices.Contains(back, helo):
		l.add(doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("the HELO name is %s, but the PTR name of %s is %s", helo, addr, back[0]), Where: where,
			Why: "RFC 5321 section 4.1.4: some receivers treat a HELO name that differs from the PTR name as a sign of spam", Fix: fix})
	case generic(back[0], addr):
		l.add(doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("the PTR name of %s is a generic name of a provider", addr), Where: where,
			Why: "receivers take such names for home connections, and reject or junk their mail", Fix: reverse + " IN PTR mail." + l.domain + "."})
	default:
		l.good(fmt.Sprintf("the PTR name of %s is %s, which resolves to it", addr, back[0]), where)
	}
}

// generic reports whether a name is derived from the address.
func generic(name string, addr netip.Addr) bool {
	if !addr.Is4() {
		return false
	}
	var digits []string
	for _, n := range regexp.MustCompile(`[0-9]+`).FindAllString(name, -1) {
		digits = append(digits, strings.TrimLeft(n, "0"))
	}
	hits := 0
	for part := range strings.SplitSeq(addr.String(), ".") {
		if slices.Contains(digits, strings.TrimLeft(part, "0")) {
			hits++
		}
	}
	return hits >= 3
}
