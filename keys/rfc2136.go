package keys

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/miekg/dns"

	signpostdns "signpost/internal/dns"
)

// Update publishes by DNS UPDATE (RFC 2136) with TSIG, over TCP, to a zone's primary.
type Update struct {
	Server    string // host:port
	Authority *signpostdns.Authority
	TSIGName  string
	Algorithm string // "hmac-sha256" and up
	Secret    string // base64
	Timeout   time.Duration
}

// ReadTSIGSecret reads a secret from a file: base64 alone, or a key clause as tsig-keygen writes it.
func ReadTSIGSecret(path string) (string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("publish.tsig_secret_file: %w", err)
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("publish.tsig_secret_file: %s is open to everybody (mode %04o); chmod 0600 it", path, fi.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("publish.tsig_secret_file: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	if m := regexp.MustCompile(`secret\s+"([^"]+)"`).FindStringSubmatch(secret); m != nil {
		secret = m[1]
	}
	if _, err := base64.StdEncoding.DecodeString(secret); err != nil || secret == "" {
		return "", fmt.Errorf("publish.tsig_secret_file: %s holds neither a base64 secret nor a key clause of tsig-keygen", path)
	}
	return secret, nil
}

// Publish makes one change in one message: what was there goes and what is new comes in one step.
func (p Update) Publish(ctx context.Context, c Change) error {
	// An alias at the name leads into the zone where the record is kept, for rings that are delegated.
	place, err := p.Authority.Find(ctx, c.Name)
	if err != nil {
		return fmt.Errorf("finding the zone of %s: %w", c.Name, err)
	}
	m := new(dns.Msg).SetUpdate(place.Zone)
	rr := &dns.TXT{Hdr: dns.RR_Header{Name: place.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(c.TTL)}, Txt: c.Strings}
	switch c.Action {
	case Add:
		m.RRsetNotUsed([]dns.RR{rr}) // nobody's record is overwritten
		m.Insert([]dns.RR{rr})
	case Replace:
		m.RemoveRRset([]dns.RR{rr})
		m.Insert([]dns.RR{rr})
	case Remove:
		m.RemoveRRset([]dns.RR{rr})
	}
	err = p.send(ctx, m)
	var refused *refusedError
	if c.Action == Add && errors.As(err, &refused) && refused.rcode == dns.RcodeYXRrset {
		if p.has(ctx, rr) {
			return nil // done before, by a run that did not live to say so
		}
		return fmt.Errorf("%s has another TXT record already at %s; remove it, or name another selector", c.Name, p.Server)
	}
	if err != nil {
		return fmt.Errorf("updating %s at %s: %w", c.Name, p.Server, err)
	}
	return nil
}

type refusedError struct{ rcode int }

func (e *refusedError) Error() string {
	switch e.rcode {
	case dns.RcodeNotAuth:
		return "the server answers NOTAUTH: it does not know the TSIG key, or not the zone, or the clocks differ"
	case dns.RcodeRefused:
		return "the server answers REFUSED: its configuration does not allow this key to update this name"
	case dns.RcodeNotZone:
		return "the server answers NOTZONE: the name is in another zone there"
	}
	return "the server answers " + dns.RcodeToString[e.rcode]
}

func (p Update) send(ctx context.Context, m *dns.Msg) error {
	name := dns.Fqdn(p.TSIGName)
	m.SetTsig(name, dns.Fqdn(p.Algorithm), 300, time.Now().Unix())
	reply, err := p.exchange(ctx, m, map[string]string{name: p.Secret})
	if reply != nil && reply.Rcode != dns.RcodeSuccess {
		return &refusedError{reply.Rcode}
	}
	return err
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

// has asks the primary itself.
func (p Update) has(ctx context.Context, want *dns.TXT) bool {
	reply, err := p.exchange(ctx, new(dns.Msg).SetQuestion(want.Hdr.Name, dns.TypeTXT), nil)
	if err != nil || len(reply.Answer) != 1 {
		return false
	}
	txt, ok := reply.Answer[0].(*dns.TXT)
	return ok && strings.Join(txt.Txt, "") == strings.Join(want.Txt, "")
}
