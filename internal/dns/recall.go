package dns

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Recall returns the View of a message that got these answers, to repeat its checks. It sends no queries. Any other lookup is a
// temporary error, and Missed reports it.
func Recall(all []Lookup) *View {
	v := newResolver(nil, 0, time.Now, slog.New(slog.DiscardHandler)).View(netip.Addr{})
	for _, l := range all {
		name, err := canonical(l.Name)
		if err != nil || l.Cut() {
			continue
		}
		q := question{name, dns.StringToType[l.Type]}
		v.shared.asked = append(v.shared.asked, asked{question: q, name: l.Name, answer: recall(q, l.Answer), cached: l.Cached, took: l.Took})
	}
	return v.Known()
}

// recall parses the text of answer.String.
func recall(q question, text string) *answer {
	a := &answer{}
	switch q.qtype {
	case dns.TypeTXT:
		for rest := text; rest != ""; rest = strings.TrimPrefix(rest, ", ") {
			if len(a.text) > 0 && strings.HasPrefix(rest, "(") {
				break // the note of shortened: the records that are left out have no version tag
			}
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return recallFailure(q, text)
			}
			rest = rest[len(quoted):]
			record, _ := strconv.Unquote(quoted) // QuotedPrefix has looked at it
			a.text = append(a.text, record)
		}
		return a
	}
	for piece := range strings.SplitSeq(text, ", ") {
		if !a.take(q.qtype, piece) {
			return recallFailure(q, text)
		}
	}
	return a
}

// take parses one record that is not a text. Names end in a dot; no error does.
func (a *answer) take(qtype uint16, piece string) bool {
	switch qtype {
	case dns.TypeA, dns.TypeAAAA:
		addr, err := netip.ParseAddr(piece)
		a.addrs = append(a.addrs, addr)
		return err == nil
	case dns.TypeMX:
		mx := &net.MX{}
		_, err := fmt.Sscanf(piece, "%d %s", &mx.Pref, &mx.Host)
		a.mx = append(a.mx, mx)
		return err == nil
	}
	a.names = append(a.names, piece)
	return strings.HasSuffix(piece, ".")
}

func recallFailure(q question, text string) *answer {
	if text == noName || text == noRecord {
		return &answer{err: &net.DNSError{Err: text, Name: q.name, IsNotFound: true}, absent: text == noName}
	}
	useless := strings.HasPrefix(text, tooMuch) && !strings.HasSuffix(text, " aliases")
	return failed(q, text, !useless)
}

// Failed reports whether the lookup failed: the answer is neither records nor that there are none.
func (l Lookup) Failed() bool {
	a := recall(question{l.Name, dns.StringToType[l.Type]}, l.Answer)
	return a.err != nil && !a.err.IsNotFound
}
