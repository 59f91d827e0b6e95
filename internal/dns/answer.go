package dns

import (
	"container/list"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Limits of answers.
const (
	// maxText is the maximum total size of the TXT records of a name, in bytes: several times the largest key record.
	maxText = 16 << 10
	// maxRecords is the maximum number of records of one name and type. SPF limits are far lower: 10.
	maxRecords = 100
	// maxTTL is the maximum time for which an answer is cached. So a mistaken TTL of years has an effect for only a day.
	maxTTL = 24 * time.Hour
	// maxNegativeTTL is the maximum time for which a negative answer is cached. RFC 2308 section 5 recommends one to three hours, but new
	// records should be seen sooner.
	maxNegativeTTL = 15 * time.Minute
)

// answer is the result of a question.
type answer struct {
	err       *net.DNSError // nil: there are records
	absent    bool          // the name does not exist: NXDOMAIN (RFC 8020)
	authentic bool          // the AD bit
	ttl       time.Duration // 0: not to be cached
	lack      bool          // err means a lack of resources on this host, not a DNS failure
	policy    *list.Element // the element of Resolver.policies that contains the records for Remembered; may be nil
	used      time.Time     // when policy was last marked as used; guarded by Resolver.mu

	text  []string // TXT, the strings of each record joined
	addrs []netip.Addr
	mx    []*net.MX
	names []string // PTR, CNAME
	tlsa  []TLSA

	short atomic.Pointer[short] // the result of the first call of shortened, or nil
}

// read returns the answer to a question. m is the reply to a query for the name at. If the reply has only aliases, the answer has no
// records, and target is the name to which the last alias points.
func read(q question, at string, m *dns.Msg) (a *answer, target string) {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return failed(q, rcodeStatus(m.Rcode)), ""
	}
	a = &answer{authentic: m.AuthenticatedData, ttl: maxTTL}
	name, seen := at, []string{at}
	for {
		c := aliasOf(name, m)
		if c == nil || q.qtype == dns.TypeCNAME {
			break
		}
		a.keepFor(c.Hdr.Ttl)
		next := dns.CanonicalName(c.Target)
		if slices.Contains(seen, next) || len(seen) > 2*maxHops {
			return failed(q, AliasLoop), ""
		}
		name, seen = next, append(seen, next)
	}
	records, size := 0, 0
	for _, rr := range m.Answer {
		if rr.Header().Rrtype != q.qtype || dns.CanonicalName(rr.Header().Name) != name {
			continue
		}
		if records++; records > maxRecords {
			return failed(q, TooManyRecords), ""
		}
		a.keepFor(rr.Header().Ttl)
		switch rr := rr.(type) {
		case *dns.TXT:
			text := joinText(rr.Txt)
			if size += len(text); size > maxText {
				return failed(q, TooMuchText), ""
			}
			a.text = append(a.text, text)
		case *dns.A:
			a.addAddr(rr.A)
		case *dns.AAAA:
			a.addAddr(rr.AAAA)
		case *dns.MX:
			a.mx = append(a.mx, &net.MX{Host: rr.Mx, Pref: rr.Preference})
		case *dns.PTR:
			a.names = append(a.names, rr.Ptr)
		case *dns.CNAME:
			a.names = append(a.names, rr.Target)
		case *dns.TLSA:
			a.tlsa = append(a.tlsa, TLSA{rr.Usage, rr.Selector, rr.MatchingType, strings.ToLower(rr.Certificate)})
		}
	}
	if records > 0 {
		return a, ""
	}
	soa := slices.IndexFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
	if name != at && m.Rcode == dns.RcodeSuccess && soa < 0 {
		return a, name // the server did not follow the aliases
	}
	if len(m.Answer) > 0 && name == at && soa < 0 && m.Rcode == dns.RcodeSuccess {
		// Only records of other types: this is not a negative answer (RFC 2308 section 2.2).
		return failed(q, UnrelatedAnswer), ""
	}
	a.err = &net.DNSError{Err: string(NoData), Name: q.name, IsNotFound: true}
	a.absent = m.Rcode == dns.RcodeNameError && name == at
	if a.absent {
		a.err.Err = string(NXDomain)
	}
	if soa < 0 {
		a.ttl = 0 // RFC 2308 section 5: an answer without an SOA is not cached
		return a, ""
	}
	// RFC 2308 section 3: the lower of the TTL and the MINIMUM of the SOA.
	rr := m.Ns[soa].(*dns.SOA)
	a.keepFor(rr.Hdr.Ttl)
	a.keepFor(rr.Minttl)
	a.ttl = min(a.ttl, maxNegativeTTL)
	return a, ""
}

// aliasOf returns the alias of a name in a message, or nil.
func aliasOf(name string, m *dns.Msg) *dns.CNAME {
	for _, rr := range m.Answer {
		if c, ok := rr.(*dns.CNAME); ok && dns.CanonicalName(c.Hdr.Name) == name {
			return c
		}
	}
	return nil
}

// keepFor reduces the TTL of an answer to the TTL of one of its records, if that is lower. RFC 2181 section 8: a TTL with the top bit set
// is 0.
func (a *answer) keepFor(ttl uint32) {
	if ttl >= 1<<31 {
		ttl = 0
	}
	a.ttl = min(a.ttl, time.Duration(ttl)*time.Second)
}

func (a *answer) addAddr(ip net.IP) {
	if addr, ok := netip.AddrFromSlice(ip); ok {
		a.addrs = append(a.addrs, addr.Unmap())
	}
}

// joinText joins the strings of a TXT record, which the library returns in zone-file syntax.
func joinText(parts []string) string {
	if !slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(p, `\`) }) {
		return strings.Join(parts, "")
	}
	var b strings.Builder
	for _, p := range parts {
		for i := 0; i < len(p); i++ {
			if p[i] != '\\' {
				b.WriteByte(p[i])
				continue
			}
			if i+3 < len(p) && isDigit(p[i+1]) && isDigit(p[i+2]) && isDigit(p[i+3]) {
				b.WriteByte((p[i+1]-'0')*100 + (p[i+2]-'0')*10 + (p[i+3] - '0'))
				i += 3
			} else if i+1 < len(p) {
				i++
				b.WriteByte(p[i])
			}
		}
	}
	return b.String()
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// bytes returns the approximate memory of an answer in bytes, including its shortened form.
func (a *answer) bytes() int {
	n := 256 + 48*(len(a.text)+len(a.names)) + 96*(len(a.addrs)+len(a.mx))
	for _, s := range a.text {
		n += len(s)
	}
	for _, m := range a.mx {
		n += 32 + 2*len(m.Host)
	}
	for _, s := range a.names {
		n += len(s)
	}
	for _, t := range a.tlsa {
		n += 64 + len(t.Data)
	}
	return n
}

// maxString is the maximum length of one string in a TXT record: RFC 1035 section 3.3.14.
const maxString = 255

// SplitTXT splits a text into the strings of a TXT record. It returns at least one string.
func SplitTXT(text string) []string {
	var all []string
	for len(text) > maxString {
		all, text = append(all, text[:maxString]), text[maxString:]
	}
	return append(all, text)
}

// QuoteTXT returns a text as the strings of a TXT record in a zone file (RFC 1035 section 5.1), with sep between them.
func QuoteTXT(text, sep string) string {
	var b strings.Builder
	for i, s := range SplitTXT(text) {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteByte('"')
		for _, c := range []byte(s) {
			switch {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, `\%03d`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return b.String()
}
