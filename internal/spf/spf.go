// Package spf says whether a client may send in a domain's name: RFC 7208. The records are evaluated by
// blitiri.com.ar/go/spf; here its inputs are made safe, since all of them come from a stranger.
package spf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"

	"signpost/internal/dkim"
)

// Status is the outcome, in the words of RFC 8601 section 2.7.2.
type Status string

// The words that a Result can carry.
const (
	None      Status = "none"
	Neutral   Status = "neutral"
	Pass      Status = "pass"
	Fail      Status = "fail"
	SoftFail  Status = "softfail"
	TempError Status = "temperror"
	PermError Status = "permerror"
)

// Identity says which name was checked.
type Identity string

// The identities. A null reverse-path stands for postmaster at the HELO name (RFC 7208 section 2.4); only then is HELO
// checked, so that a pass of it cannot be taken for one of MAIL FROM.
const (
	MailFrom Identity = "mailfrom"
	HELO     Identity = "helo"
)

// Result is what a check found.
type Result struct {
	Status   Status   `json:"status"`
	Identity Identity `json:"identity"`
	Domain   string   `json:"domain,omitempty"` // lower-case A-labels; empty where the name is no domain
	Reason   string   `json:"reason,omitempty"`
	Record   string   `json:"record,omitempty"` // the domain's own
}

// Resolver is what a check asks. Errors are bare *net.DNSError: IsNotFound, IsTemporary, or neither.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupA(ctx context.Context, name string) ([]netip.Addr, error)
	LookupAAAA(ctx context.Context, name string) ([]netip.Addr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Check checks the identity of a message: sender is MAIL FROM without its brackets, empty for a bounce, helo as the
// client said it.
func Check(ctx context.Context, r Resolver, client netip.Addr, helo, sender string) Result {
	result := Result{Status: None, Identity: MailFrom}
	heloDomain, heloErr := dkim.Domain(strings.TrimSuffix(helo, "."))
	if heloErr != nil {
		heloDomain = "unknown" // for the macro %{h}
	}
	local, name := "", ""
	if sender == "" {
		result.Identity, local, name = HELO, "postmaster", strings.TrimSuffix(helo, ".")
	} else if at := strings.LastIndexByte(sender, '@'); at >= 0 {
		local, name = sender[:at], sender[at+1:]
	}
	domain, err := dkim.Domain(name)
	if err != nil || !strings.Contains(domain, ".") {
		// RFC 7208 section 4.3: address literals, single labels and names that are none.
		result.Reason = "there is no domain to check"
		return result
	}
	result.Domain = domain
	if !client.IsValid() {
		result.Reason = "the client's address is not known"
		return result
	}
	if local == "" {
		local = "postmaster"
	}
	// The library cuts an address at its first @. What a quoted local part hides behind one cannot be looked up anyway:
	// asker answers for such a name.
	local = strings.ReplaceAll(local, "@", "\ufffd")
	client = client.Unmap()
	a := &asker{Resolver: r, client: client}
	status, why := spf.CheckHostWithSender(client.AsSlice(), heloDomain, local+"@"+domain,
		spf.WithContext(ctx), spf.WithResolver(a))
	result.Status, result.Record = Status(status), a.record
	result.Reason = reason(result.Status, why)
	return result
}

func reason(s Status, err error) string {
	var dns *net.DNSError
	switch {
	case s == Pass:
		return ""
	case s == None:
		return "there is no SPF record"
	case errors.As(err, &dns):
		return fmt.Sprintf("looking up %s: %s", dns.Name, dns.Err)
	case err != nil:
		return err.Error()
	case s == Neutral:
		return "no term matched"
	}
	return ""
}

// asker asks for the library: a client's own address family only, and nothing for names that cannot be.
type asker struct {
	Resolver
	client netip.Addr
	asked  bool
	record string
}

func notFound(name string) error {
	return &net.DNSError{Err: "not a name that can be looked up", Name: name, IsNotFound: true}
}

// askable: RFC 8616 section 4: a local part with other than ASCII never matches.
func askable(name string) bool {
	for i := range len(name) {
		if name[i] >= 0x80 {
			return false
		}
	}
	return true
}

func (a *asker) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if !askable(name) {
		return nil, notFound(name)
	}
	all, err := a.Resolver.LookupTXT(ctx, name)
	if !a.asked {
		a.asked = true
		for _, txt := range all {
			if strings.HasPrefix(strings.ToLower(txt), "v=spf1") {
				a.record = txt
			}
		}
	}
	return all, err
}

func (a *asker) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if !askable(name) {
		return nil, notFound(name)
	}
	return a.Resolver.LookupMX(ctx, name)
}

func (a *asker) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return a.Resolver.LookupAddr(ctx, addr)
}

// LookupIPAddr asks for A records alone where the client came by IPv4. Where it came by IPv6 it asks for both: the
// mechanism "exists" looks at A whatever the client (RFC 7208 section 5.7), and the library does not say who asks.
func (a *asker) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	if !askable(host) {
		return nil, notFound(host)
	}
	addrs, err := a.Resolver.LookupA(ctx, host)
	if a.client.Is6() && (err == nil || isNotFound(err)) {
		six, sixErr := a.Resolver.LookupAAAA(ctx, host)
		addrs = append(append([]netip.Addr(nil), addrs...), six...)
		if sixErr == nil || !isNotFound(sixErr) {
			err = sixErr
		}
	}
	if err != nil {
		return nil, err
	}
	ips := make([]net.IPAddr, len(addrs))
	for i, addr := range addrs {
		ips[i].IP = addr.AsSlice()
	}
	return ips, nil
}

func isNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
