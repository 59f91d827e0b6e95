package dns

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"time"

	"github.com/miekg/dns"
)

// Zone answers queries from a zone file. It is used in tests, and to try records before they are published.
type Zone struct{ records map[string][]dns.RR }

// defaultTTL is the TTL of records if the zone file sets none.
const defaultTTL = 3600

// ParseZone parses a zone file: RFC 1035 section 5. The origin of the file is the root. Errors contain the line and the file name in the
// parameter file.
func ParseZone(r io.Reader, file string) (*Zone, error) {
	z := &Zone{records: map[string][]dns.RR{}}
	parser := dns.NewZoneParser(r, ".", file)
	parser.SetDefaultTTL(defaultTTL)
	wire := make([]byte, dns.MaxMsgSize)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		// RFC 1035 section 5.1: any byte of a name may be escaped. The wire format has one form for each name.
		n, err := dns.PackRR(rr, wire, 0, nil, false)
		if err != nil {
			return nil, fmt.Errorf("reading the zone: %s: %q: %w", file, rr.Header().Name, err)
		}
		if rr, _, err = dns.UnpackRR(wire[:n], 0); err != nil {
			return nil, fmt.Errorf("reading the zone: %s: %w", file, err)
		}
		name := dns.CanonicalName(rr.Header().Name)
		z.records[name] = append(z.records[name], rr)
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("reading the zone: %w", zoneFault(file, err))
	}
	return z, nil
}

// zoneErrors matches the errors of miekg/dns for zone files: FILE: dns: FAULT: "TOKEN" at line: LINE:COLUMN.
var zoneErrors = regexp.MustCompile(`^(?:.*: )?dns: (.*): ("(?:.*)") at line: (\d+):\d+$`)

// zoneFault returns an error in the form FILE:LINE: FAULT: "TOKEN".
func zoneFault(file string, err error) error {
	m := zoneErrors.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	return fmt.Errorf("%s:%s: %s: %s", file, m[3], m[1], m[2])
}

// Answer returns the answer of a recursive resolver that knows only this zone. The answer follows aliases. If the name does not have the
// records, the answer is NODATA or NXDOMAIN. It is NODATA if the name has other records or there is a name below it.
func (z *Zone) Answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	name, err := respell(q.Question[0].Name)
	if err != nil {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	next := ""
	for range 2 * maxHops {
		next = ""
		for _, rr := range z.records[name] {
			if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			} else if c, ok := rr.(*dns.CNAME); ok {
				m.Answer = append(m.Answer, rr)
				next = dns.CanonicalName(c.Target)
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if next != "" {
		return m // the aliases do not fit into one answer; the client continues from the last alias
	}
	if len(m.Answer) == 0 || m.Answer[len(m.Answer)-1].Header().Rrtype != q.Question[0].Qtype {
		m.Ns = append(m.Ns, z.soaAbove(name))
	}
	if !z.exists(name) {
		m.Rcode = dns.RcodeNameError
	}
	return m
}

// soaAbove returns the SOA of the zone of a name. If the file has no such SOA, it returns an SOA of the root.
func (z *Zone) soaAbove(name string) dns.RR {
	for _, i := range append(dns.Split(name), len(name)-1) {
		for _, rr := range z.records[name[i:]] {
			if rr.Header().Rrtype == dns.TypeSOA {
				return rr
			}
		}
	}
	return &dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: defaultTTL}, Ns: ".", Mbox: ".", Minttl: defaultTTL}
}

func (z *Zone) exists(name string) bool {
	if name == "." {
		return true
	}
	for known := range z.records {
		if dns.IsSubDomain(name, known) {
			return true
		}
	}
	return false
}

// Resolver returns a resolver that queries only the zone.
func (z *Zone) Resolver(now func() time.Time, log *slog.Logger) *Resolver {
	ask := func(_ context.Context, q *dns.Msg) (*dns.Msg, error) { return z.Answer(q), nil }
	return newResolver(ask, time.Minute, now, log)
}
