package testdns

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

const (
	// hugeRecords records of hugeText bytes each make an answer of almost 64 KiB, the maximum size in DNS.
	hugeRecords = 240
	hugeText    = 250
	// thousand is the number of records of THOUSAND.
	thousand = 1000
)

// lie changes an answer according to its kind. WRONG-ID changes the ID, and WRONG-QUESTION changes the name in the question. OTHER-NAME and
// OTHER-TYPE change the name or the type of all records. LOOP is two CNAME records that point to each other. HUGE is almost 64 KiB of TXT.
// THOUSAND is 1000 records of the type of the query: TXT, A, AAAA, MX or PTR. UPPER-CASE changes all names to upper case, which is allowed.
func lie(m *dns.Msg, kind string) {
	if len(m.Question) != 1 {
		return
	}
	q := m.Question[0]
	header := func(name string, rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: 60}
	}
	say := func(answer ...dns.RR) { m.Rcode, m.Answer, m.Ns = dns.RcodeSuccess, answer, nil }
	switch kind {
	case "WRONG-ID":
		m.Id ^= 1
	case "WRONG-QUESTION":
		m.Question = []dns.Question{{Name: "other.example.", Qtype: q.Qtype, Qclass: q.Qclass}}
	case "OTHER-NAME":
		answer := copies(m.Answer)
		for _, rr := range answer {
			rr.Header().Name = "other.example."
		}
		say(append(answer, &dns.TXT{Hdr: header("other.example.", dns.TypeTXT), Txt: []string{"other"}})...)
	case "OTHER-TYPE":
		say(&dns.HINFO{Hdr: header(q.Name, dns.TypeHINFO), Cpu: "PDP-11", Os: "UNIX"})
	case "LOOP":
		say(&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: "loop." + q.Name},
			&dns.CNAME{Hdr: header("loop."+q.Name, dns.TypeCNAME), Target: q.Name})
	case "HUGE":
		txt := &dns.TXT{Hdr: header(q.Name, dns.TypeTXT), Txt: []string{strings.Repeat("x", hugeText)}}
		say(slices.Repeat([]dns.RR{txt}, hugeRecords)...)
		m.Compress = true
	case "THOUSAND":
		var answer []dns.RR
		for i := range thousand {
			if rr := record(header(q.Name, q.Qtype), i); rr != nil {
				answer = append(answer, rr)
			}
		}
		if answer != nil {
			say(answer...)
			m.Compress = true
		}
	case "UPPER-CASE":
		answer := copies(m.Answer)
		for _, rr := range answer {
			rr.Header().Name = strings.ToUpper(rr.Header().Name)
		}
		m.Answer = answer
		m.Question = []dns.Question{{Name: strings.ToUpper(q.Name), Qtype: q.Qtype, Qclass: q.Qclass}}
	}
}

// record returns valid record number i of a type, or nil if the type is not supported.
func record(h dns.RR_Header, i int) dns.RR {
	switch h.Rrtype {
	case dns.TypeTXT:
		return &dns.TXT{Hdr: h, Txt: []string{fmt.Sprintf("record %d", i)}}
	case dns.TypeA:
		return &dns.A{Hdr: h, A: net.IPv4(198, 18, byte(i>>8), byte(i))}
	case dns.TypeAAAA:
		return &dns.AAAA{Hdr: h, AAAA: net.ParseIP(fmt.Sprintf("2001:db8::%x", i))}
	case dns.TypeMX:
		return &dns.MX{Hdr: h, Preference: uint16(i), Mx: fmt.Sprintf("mx%d.%s", i, h.Name)}
	case dns.TypePTR:
		return &dns.PTR{Hdr: h, Ptr: fmt.Sprintf("host%d.%s", i, h.Name)}
	}
	return nil
}

// rootServers adds the name servers of the root to the answer to `. NS`, so that every zone text has a root.
func rootServers(m *dns.Msg) {
	if len(m.Question) == 1 && m.Question[0].Name == "." && m.Question[0].Qtype == dns.TypeNS && len(m.Answer) == 0 {
		h := dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 518400}
		m.Rcode, m.Answer, m.Ns = dns.RcodeSuccess, []dns.RR{&dns.NS{Hdr: h, Ns: "a.root-servers.net."}}, nil
	}
}

// copies returns copies of records. The caller may change the copies. The records of the zone are used for other queries too.
func copies(records []dns.RR) []dns.RR {
	all := make([]dns.RR, 0, len(records)+1)
	for _, rr := range records {
		all = append(all, dns.Copy(rr))
	}
	return all
}
