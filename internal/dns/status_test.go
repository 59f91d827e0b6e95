package dns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Each failure has a status, and each status occurs in a case here or in TestLookupJSON.
func TestStatusOfErrors(t *testing.T) {
	op := func(err error) error {
		return &net.OpError{Op: "dial", Net: "udp", Addr: net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:53")), Err: os.NewSyscallError("connect", err)}
	}
	for _, c := range []struct {
		err  error
		want Status
		text string
	}{
		{op(syscall.EMFILE), NoDescriptor, "no descriptor: connect: too many open files"},
		{op(syscall.ENFILE), NoDescriptor, ""},
		{op(syscall.EADDRNOTAVAIL), NoSocket, ""},
		{op(syscall.EAGAIN), NoSocket, ""},
		{op(syscall.ENOMEM), NoSocket, ""},
		{op(syscall.ECONNREFUSED), ConnectionRefused, "connection refused"},
		{op(syscall.ECONNRESET), ConnectionClosed, "connection closed"},
		{io.EOF, ConnectionClosed, ""},
		{op(syscall.ENETUNREACH), Unreachable, "unreachable: connect: network is unreachable"},
		{context.DeadlineExceeded, Timeout, "timeout"},
		{context.Canceled, Timeout, ""},
		{&queryError{status: Truncated}, Truncated, "truncated"},
		{fmt.Errorf("asking: %w", &queryError{Malformed, errors.New("overflow")}), Malformed, "malformed: overflow"},
	} {
		r := newResolver(func(context.Context, *dns.Msg) (*dns.Msg, error) { return nil, c.err }, time.Minute, time.Now, slog.New(slog.DiscardHandler))
		v := r.View(netip.Addr{})
		_, err := v.LookupTXT(t.Context(), "a.example")
		if e, ok := err.(*net.DNSError); !ok || e.Err != string(c.want) || !e.IsTemporary || !slices.Contains(Statuses(), c.want) {
			t.Errorf("%v: %#v, want %s", c.err, err, c.want)
		}
		if l := v.Answered().Lookups()[0]; l.Status != c.want || !l.Failed() || l.Records != nil {
			t.Errorf("%v: %+v, want %s", c.err, l, c.want)
		}
		if got := queryErrorOf(c.err).Error(); c.text != "" && got != c.text {
			t.Errorf("%v: %q, want %q", c.err, got, c.text)
		}
		if !errors.Is(queryErrorOf(op(syscall.ENETUNREACH)), syscall.ENETUNREACH) {
			t.Error("the cause is lost")
		}
	}
}

// A Lookup has the records, their TTL and the status. The field names in its JSON contain units, and empty values are omitted.
func TestLookupJSON(t *testing.T) {
	z := zone(t, `text.example. 300 TXT "say \"a\", b" c
mail.example. 60 MX 10 mx.mail.example.
mail.example. 600 MX 20 mx2.mail.example.
mail.example. 90000 A 192.0.2.1
tlsa.example. 60 TLSA 3 1 1 ABCD
1.2.0.192.in-addr.arpa. 60 PTR mail.example.
loop.example. 60 CNAME loop.example.
`+manyRecords("many.example.", maxRecords+1))
	huge := new(dns.Msg)
	r := fake(func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
		rcode, name := dns.RcodeSuccess, q.Question[0].Name
		switch name {
		case "fails.example.":
			rcode = dns.RcodeServerFailure
		case "refuses.example.":
			rcode = dns.RcodeRefused
		case "oldest.example.":
			rcode = dns.RcodeNotImplemented
		case "errs.example.":
			rcode = dns.RcodeFormatError
		case "new.example.":
			rcode = 3000
		case "panics.example.":
			panic("as asked for")
		case "other.example.":
			m := new(dns.Msg).SetReply(q)
			m.Answer = []dns.RR{&dns.HINFO{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET}}}
			return m, nil
		case "huge.example.":
			huge.SetReply(q)
			for range 70 {
				huge.Answer = append(huge.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{strings.Repeat("x", 250)}})
			}
			return huge, nil
		}
		if label, rest, ok := strings.Cut(name, ".chain."); ok { // a server that does not follow aliases; each alias leads to another one
			m := new(dns.Msg).SetReply(q)
			m.Answer = []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET}, Target: label + "x.chain." + rest}}
			return m, nil
		}
		if rcode != dns.RcodeSuccess {
			m := new(dns.Msg).SetReply(q)
			m.Rcode = rcode
			return m, nil
		}
		m := z.Answer(q)
		m.AuthenticatedData = name == "mail.example."
		return m, nil
	})
	seen := map[Status]bool{}
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"text.example", dns.TypeTXT, `{"name":"text.example","type":"TXT","status":"NOERROR","records":["say \"a\", bc"],"ttl_s":300,"query_ms":1}`},
		{"mail.example", dns.TypeMX, `{"name":"mail.example","type":"MX","status":"NOERROR","records":["10 mx.mail.example.","20 mx2.mail.example."],"ttl_s":60,"dnssec":true,"query_ms":1}`},
		{"mail.example", dns.TypeA, `{"name":"mail.example","type":"A","status":"NOERROR","records":["192.0.2.1"],"ttl_s":86400,"dnssec":true,"query_ms":1}`},
		{"mail.example", dns.TypeAAAA, `{"name":"mail.example","type":"AAAA","status":"NODATA","ttl_s":TTL,"dnssec":true,"query_ms":1}`},
		{"1.2.0.192.in-addr.arpa", dns.TypePTR, `{"name":"1.2.0.192.in-addr.arpa","type":"PTR","status":"NOERROR","records":["mail.example."],"ttl_s":60,"query_ms":1}`},
		{"tlsa.example", dns.TypeTLSA, `{"name":"tlsa.example","type":"TLSA","status":"NOERROR","records":["3 1 1 abcd"],"ttl_s":60,"query_ms":1}`},
		{"none.example", dns.TypeTXT, `{"name":"none.example","type":"TXT","status":"NXDOMAIN","ttl_s":TTL,"query_ms":1}`},
		{"fails.example", dns.TypeTXT, `{"name":"fails.example","type":"TXT","status":"SERVFAIL","query_ms":1}`},
		{"refuses.example", dns.TypeTXT, `{"name":"refuses.example","type":"TXT","status":"REFUSED","query_ms":1}`},
		{"oldest.example", dns.TypeTXT, `{"name":"oldest.example","type":"TXT","status":"NOTIMP","query_ms":1}`},
		{"errs.example", dns.TypeTXT, `{"name":"errs.example","type":"TXT","status":"FORMERR","query_ms":1}`},
		{"new.example", dns.TypeTXT, `{"name":"new.example","type":"TXT","status":"RCODE3000","query_ms":1}`},
		{"panics.example", dns.TypeTXT, `{"name":"panics.example","type":"TXT","status":"internal_error","query_ms":1}`},
		{"other.example", dns.TypeTXT, `{"name":"other.example","type":"TXT","status":"unrelated_answer","query_ms":1}`},
		{"huge.example", dns.TypeTXT, `{"name":"huge.example","type":"TXT","status":"too_much_text","query_ms":1}`},
		{"many.example", dns.TypeTXT, `{"name":"many.example","type":"TXT","status":"too_many_records","query_ms":1}`},
		{"loop.example", dns.TypeTXT, `{"name":"loop.example","type":"TXT","status":"alias_loop","query_ms":1}`},
		{"a.chain.example", dns.TypeTXT, `{"name":"a.chain.example","type":"TXT","status":"too_many_aliases","query_ms":1}`},
	} {
		v := r.View(netip.Addr{})
		a := v.lookup(t.Context(), c.name, c.qtype)
		v.shared.asked[0].took = 1000400 * time.Nanosecond
		l := v.Answered().Lookups()[0]
		seen[l.Status] = true
		got, err := json.Marshal(l)
		want := strings.ReplaceAll(c.want, "TTL", fmt.Sprint(int(a.ttl.Seconds())))
		if err != nil || string(got) != want {
			t.Errorf("%v\n%s, want\n%s", err, got, want)
		}
		var back Lookup
		l.Took = Millis(time.Millisecond)
		if err := json.Unmarshal(got, &back); err != nil || fmt.Sprintf("%#v", back) != fmt.Sprintf("%#v", l) {
			t.Errorf("%v: %#v, want %#v", err, back, l)
		}
	}
	seen[NoServer] = statusOfError(New(Options{Now: time.Now, Timeout: time.Second, Log: slog.New(slog.DiscardHandler)}).View(netip.Addr{}).LookupTXT(t.Context(), "a")) == NoServer
	seen[Limit] = statusOfError(r.View(netip.Addr{}).Limit(0).LookupTXT(t.Context(), "a")) == Limit
	seen[NotLookedUp] = statusOfError(r.View(netip.Addr{}).Known().LookupTXT(t.Context(), "a")) == NotLookedUp
	seen[InvalidName] = statusOfError(r.View(netip.Addr{}).LookupTXT(t.Context(), "a..b")) == InvalidName
	over, cancel := context.WithCancel(t.Context())
	cancel()
	seen[Timeout] = statusOfError(r.View(netip.Addr{}).LookupTXT(over, "a")) == Timeout
	others := []Status{NoSlot, NoDescriptor, NoSocket, ConnectionRefused, ConnectionClosed, Unreachable, Truncated, Malformed, Forgotten} // in other tests
	for _, s := range Statuses() {
		if seen[s] == slices.Contains(others, s) {
			t.Errorf("%s: seen is %v", s, seen[s])
		}
	}
}

func statusOfError(_ []string, err error) Status {
	e, _ := err.(*net.DNSError)
	if e == nil {
		return ""
	}
	return Status(e.Err)
}

func manyRecords(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s 60 IN TXT %d\n", name, i)
	}
	return b.String()
}
