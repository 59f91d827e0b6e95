package testdns

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// hugeRecords of hugeText octets each make an answer of almost 64 KiB, the most that DNS can carry.
const (
	hugeRecords = 240
	hugeText    = 250
)

// lie changes an answer: WRONG-ID, WRONG-QUESTION (another name's), OTHER-NAME (all records are of another name),
// OTHER-TYPE (all are of another type), LOOP (two aliases of each other), HUGE (almost 64 KiB of TXT) and UPPER-CASE (all
// names are, which is no lie).
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
	case "UPPER-CASE":
		answer := copies(m.Answer)
		for _, rr := range answer {
			rr.Header().Name = strings.ToUpper(rr.Header().Name)
		}
		m.Answer = answer
		m.Question = []dns.Question{{Name: strings.ToUpper(q.Name), Qtype: q.Qtype, Qclass: q.Qclass}}
	}
}

// copies are records that may be changed: the zone's own serve other queries.
func copies(records []dns.RR) []dns.RR {
	all := make([]dns.RR, 0, len(records)+1)
	for _, rr := range records {
		all = append(all, dns.Copy(rr))
	}
	return all
}
