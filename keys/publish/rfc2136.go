package publish

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
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
	Algorithm string // "hmac-sha256", "hmac-sha384" or "hmac-sha512"
	Secret    string // base64
	Timeout   time.Duration
	Now       func() time.Time // nil: time.Now
}

// fudge is the allowed difference between the clocks of this host and the server, in seconds: RFC 8945 section 10.
const fudge = 300

// Publish sends a change in one message, so that the server replaces the old record atomically.
func (p Update) Publish(ctx context.Context, c keys.Change) error {
	// If the name is a CNAME, as in a delegated ring, the change is made in the zone of the CNAME's target.
	place, err := p.Authority.Find(ctx, c.Name)
	if err != nil {
		return fmt.Errorf("finding the zone of %s: %w", c.Name, err)
	}
	if foreign := p.foreign(ctx, place.Zone); foreign != nil {
		return foreign
	}
	m := new(dns.Msg).SetUpdate(place.Zone)
	rr := &dns.TXT{Hdr: dns.RR_Header{Name: place.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(c.TTL)}, Txt: c.Strings}
	switch c.Action {
	case keys.Add:
		m.RRsetNotUsed([]dns.RR{rr}) // do not overwrite an existing record
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
		return nil // an interrupted run has added the record
	}
	if err != nil {
		return fmt.Errorf("updating %s: %w", c.Name, err)
	}
	return nil
}

// foreign returns an error if the server states that it does not have a zone. If it does not answer, or does not know the TSIG key, foreign
// returns nil: the UPDATE then has the clearer error.
func (p Update) foreign(ctx context.Context, zone string) error {
	reply, err := p.ask(ctx, zone, dns.TypeSOA)
	switch {
	case err != nil:
		return nil
	case reply.Rcode == dns.RcodeRefused:
		// The server may have the zone, but exclude this host by allow-query. Only a server that does not have the zone answers NOTAUTH to
		// a zone transfer: RFC 5936 section 2.2.1. Knot DNS does not sign these answers. Someone on the network path can forge them, but
		// could suppress the UPDATE as well.
		if reply, _ = p.ask(ctx, zone, dns.TypeAXFR); reply == nil || reply.Rcode != dns.RcodeNotAuth {
			return nil
		}
	case reply.Rcode != dns.RcodeSuccess || reply.Authoritative || reply.IsTsig() == nil:
		return nil
	}
	return &keys.ForeignZone{Zone: strings.TrimSuffix(zone, "."), Server: p.Server}
}

// ask returns the first message of the server's answer to a signed query about a zone.
func (p Update) ask(ctx context.Context, zone string, qtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(zone, qtype)
	m.RecursionDesired = false
	key := dns.CanonicalName(p.TSIGName)
	m.SetTsig(key, dns.Fqdn(p.Algorithm), fudge, p.clock().Unix())
	return p.exchange(ctx, m, map[string]string{key: p.Secret})
}

func (p Update) clock() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

// send returns nil only if the server reports success in a signed answer: RFC 8945 section 5.4.
func (p Update) send(ctx context.Context, m *dns.Msg, zone, name string) error {
	now := p.clock()
	// The library looks up the secret by the key name in the answer, which is in lower case.
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

// has reports whether the primary has exactly this record.
func (p Update) has(ctx context.Context, want *dns.TXT) bool {
	reply, err := p.exchange(ctx, new(dns.Msg).SetQuestion(want.Hdr.Name, dns.TypeTXT), nil)
	if err != nil || len(reply.Answer) != 1 {
		return false
	}
	txt, ok := reply.Answer[0].(*dns.TXT)
	return ok && strings.Join(txt.Txt, "") == strings.Join(want.Txt, "")
}

// maxTSIGFile is the maximum size of a secret file in bytes: enough for several key clauses with comments.
const maxTSIGFile = 64 << 10

// ReadTSIGSecret reads a base64 secret from a file, which contains the secret alone or a key clause of tsig-keygen(8). It returns an
// error if all users can read the file, or if its key clauses are for another name or algorithm.
func ReadTSIGSecret(path, name, algorithm string) (string, error) {
	text, err := readTSIGFile(path)
	if err != nil {
		return "", err
	}
	clauses := tsigClauses(text)
	if len(clauses) == 0 {
		if secret := strings.TrimSpace(text); validSecret(secret) {
			return secret, nil
		}
		return "", fmt.Errorf("%s: neither a base64 secret nor a key clause of tsig-keygen", path)
	}
	var names []string
	for _, c := range clauses {
		names = append(names, strconv.Quote(c.name))
		if dns.CanonicalName(c.name) != dns.CanonicalName(name) {
			continue
		}
		if a := strings.TrimSuffix(strings.ToLower(c.algorithm), "."); a != algorithm {
			return "", fmt.Errorf("%s: key %q has algorithm %q, tsig_algorithm is %q", path, c.name, c.algorithm, algorithm)
		}
		if !validSecret(c.secret) {
			return "", fmt.Errorf("%s: the secret of key %q is not base64", path, c.name)
		}
		return c.secret, nil
	}
	return "", fmt.Errorf("%s: the file is for key %s; tsig_name is %q", path, strings.Join(names, ", "), name)
}

func validSecret(s string) bool {
	secret, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(secret) > 0
}

func readTSIGFile(path string) (string, error) {
	// Opening a named pipe would block until there is a writer.
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return "", fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		var reason *os.PathError
		if errors.As(err, &reason) {
			return "", fmt.Errorf("%s: %w", path, reason.Err)
		}
		return "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("%s: the file is accessible to all users (mode %04o): run chmod 0600, and replace the secret if other users can log in to this host", path, fi.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTSIGFile))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return string(data), nil
}

type tsigClause struct{ name, algorithm, secret string }

// tsigClauses returns the key clauses of a file in the syntax of named.conf. It ignores comments.
func tsigClauses(text string) []tsigClause {
	var lines []string
	for line := range strings.Lines(text) {
		// Only lines that begin with # or // are comments, because base64 may contain "//".
		if start := strings.TrimSpace(line); !strings.HasPrefix(start, "#") && !strings.HasPrefix(start, "//") {
			lines = append(lines, line)
		}
	}
	var (
		clause    = regexp.MustCompile(`\bkey\s+"?([^"\s{;]+)"?\s*\{([^}]*)\}`)
		algorithm = regexp.MustCompile(`\balgorithm\s+"?([^"\s;]+)"?\s*;`)
		secret    = regexp.MustCompile(`\bsecret\s+"?([^";]+)"?\s*;`)
	)
	var all []tsigClause
	for _, m := range clause.FindAllStringSubmatch(strings.Join(lines, ""), -1) {
		c := tsigClause{name: m[1]}
		if a := algorithm.FindStringSubmatch(m[2]); a != nil {
			c.algorithm = a[1]
		}
		if s := secret.FindStringSubmatch(m[2]); s != nil {
			c.secret = s[1]
		}
		all = append(all, c)
	}
	return all
}
