package dns

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Recall returns a View that answers lookups with the recorded answers. It is used to repeat the checks of a message. It sends no queries:
// any other lookup returns a temporary error, and Missed reports this.
func Recall(all []Lookup) *View {
	v := newResolver(nil, 0, time.Now, slog.New(slog.DiscardHandler)).View(netip.Addr{})
	for _, l := range all {
		name, err := canonical(l.Name)
		if err != nil || l.Incomplete() {
			continue
		}
		q := question{name, dns.StringToType[l.Type]}
		if a := recall(q, l); a != nil {
			v.shared.asked = append(v.shared.asked, asked{question: q, name: l.Name, answer: a, cached: l.Cached, took: time.Duration(l.Took)})
		}
	}
	return v.Known()
}

// recall returns the answer of l, or nil if a record cannot be parsed.
func recall(q question, l Lookup) *answer {
	a := &answer{authentic: l.Authentic}
	switch {
	case l.Status.notFound():
		a.err = &net.DNSError{Err: string(l.Status), Name: q.name, IsNotFound: true}
		a.absent = l.Status == NXDomain
	case l.Status != NoError:
		return failed(q, l.Status)
	}
	for _, r := range l.Records {
		if !a.take(q.qtype, r) {
			return nil
		}
	}
	return a
}

// take parses a record and adds it. It reports whether the record is valid.
func (a *answer) take(qtype uint16, record string) bool {
	switch qtype {
	case dns.TypeTXT:
		a.text = append(a.text, record)
		return true
	case dns.TypeA, dns.TypeAAAA:
		addr, err := netip.ParseAddr(record)
		a.addrs = append(a.addrs, addr)
		return err == nil
	case dns.TypeMX:
		mx := &net.MX{}
		_, err := fmt.Sscanf(record, "%d %s", &mx.Pref, &mx.Host)
		a.mx = append(a.mx, mx)
		return err == nil
	}
	a.names = append(a.names, record)
	return strings.HasSuffix(record, ".")
}
