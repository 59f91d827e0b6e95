package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"

	signpostdns "signpost/internal/dns"
	"signpost/keys"
)

// Update publishes by DNS UPDATE (RFC 2136) with TSIG, over TCP, to a zone's primary.
type Update struct {
	Server    string // host:port
	Authority *signpostdns.Authority
	TSIGName  string
	Algorithm string // "hmac-sha256" and up
	Secret    string // base64
	Timeout   time.Duration
	Now       func() time.Time // nil: time.Now
}

// fudge is how far the clocks of this host and the server may differ, in seconds: RFC 8945 section 10.
const fudge = 300

// Publish makes a change by one message, so that the server removes the old record and adds the new one in one step.
func (p Update) Publish(ctx context.Context, c keys.Change) error {
	// An alias at the name leads into the zone where the record is kept, for rings that are delegated.
	place, err := p.Authority.Find(ctx, c.Name)
	if err != nil {
		return fmt.Errorf("finding the zone of %s: %w", c.Name, err)
	}
	m := new(dns.Msg).SetUpdate(place.Zone)
	rr := &dns.TXT{Hdr: dns.RR_Header{Name: place.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(c.TTL)}, Txt: c.Strings}
	switch c.Action {
	case keys.Add:
		m.RRsetNotUsed([]dns.RR{rr}) // no existing record is overwritten
		m.Insert([]dns.RR{rr})
	case keys.Replace:
		m.RemoveRRset([]dns.RR{rr})
		m.Insert([]dns.RR{rr})
	case keys.Remove:
		m.RemoveRRset([]dns.RR{rr})
	}
	err = p.send(ctx, m, place.Zone, place.Name)
	var refused *updateError
	if c.Action == keys.Add && errors.As(err, &refused) && refused.rcode == dns.RcodeYXRrset && refused.signed && p.has(ctx, rr) {
		return nil // a run that was interrupted has added it
	}
	if err != nil {
		return fmt.Errorf("updating %s: %w", c.Name, err)
	}
	return nil
}

// send returns nil only for a success that the server has signed: RFC 8945 section 5.4.
func (p Update) send(ctx context.Context, m *dns.Msg, zone, name string) error {
	now := time.Now()
	if p.Now != nil {
		now = p.Now()
	}
	// In lower case, as in answers: the library finds the secret by this name.
	key := dns.CanonicalName(p.TSIGName)
	m.SetTsig(key, dns.Fqdn(p.Algorithm), fudge, now.Unix())
	reply, err := p.exchange(ctx, m, map[string]string{key: p.Secret})
	if reply == nil {
		return p.networkError(zone, err)
	}
	signed := err == nil && reply.IsTsig() != nil
	if reply.Rcode != dns.RcodeSuccess {
		return newUpdateError(p, zone, name, now, reply, signed)
	}
	if !signed {
		return fmt.Errorf("server %s, zone %s: the answer is not signed with TSIG key %q, so it may be forged", p.Server, strings.TrimSuffix(zone, "."), p.TSIGName)
	}
	return nil
}

func (p Update) exchange(ctx context.Context, m *dns.Msg, secrets map[string]string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.Server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	end, _ := ctx.Deadline()
	if err := c.SetDeadline(end); err != nil {
		return nil, err
	}
	client := &dns.Client{Net: "tcp", TsigSecret: secrets, Timeout: p.Timeout}
	reply, _, err := client.ExchangeWithConn(m, &dns.Conn{Conn: c, TsigSecret: secrets})
	return reply, err
}

// has reports whether the primary itself has exactly this record.
func (p Update) has(ctx context.Context, want *dns.TXT) bool {
	reply, err := p.exchange(ctx, new(dns.Msg).SetQuestion(want.Hdr.Name, dns.TypeTXT), nil)
	if err != nil || len(reply.Answer) != 1 {
		return false
	}
	txt, ok := reply.Answer[0].(*dns.TXT)
	return ok && strings.Join(txt.Txt, "") == strings.Join(want.Txt, "")
}
