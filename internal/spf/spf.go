// Package spf checks whether a client may send mail in the name of a domain: RFC 7208. docs/decisions/spf.md states why Signpost
// has an evaluator of its own.
//
// [Check] returns the [Result] for a message, [Trace] also the steps that led to it. [ParseRecord] parses a [Record], and [Walk]
// visits the records that it includes without a message. A [Cause] is why a check does not pass. Lookups are made by a
// [Resolver], which the caller provides.
//
//	r := spf.Check(ctx, resolver, netip.MustParseAddr("192.0.2.1"), "mail.example.org", "ann@example.org")
//	if r.Status != spf.Pass {
//		fmt.Println(r.Status, r.Cause, r.Term) // fail term_matched -all
//	}
package spf

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"strings"

	"signpost/internal/domain"
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

// Identity is the kind of name that was checked.
type Identity string

// The identities. HELO is checked only for a null reverse-path, which means postmaster at the HELO name (RFC 7208 section 2.4). So a
// pass for HELO cannot be mistaken for one for MAIL FROM.
const (
	MailFrom Identity = "mailfrom"
	HELO     Identity = "helo"
)

// Result is the result of a check.
type Result struct {
	Status   Status   `json:"status"`
	Identity Identity `json:"identity"`
	Domain   string   `json:"domain,omitempty"` // lower-case A-labels; empty if the name is not a domain

	// Cause is why the Status is not pass. Term is the term that decided or is wrong, as written, and RecordDomain is the
	// domain whose record has it.
	Cause        Cause  `json:"cause,omitempty"`
	Detail       string `json:"detail,omitempty"` // the comment of Cause states which value
	Term         string `json:"term,omitempty"`
	RecordDomain string `json:"record_domain,omitempty"`

	Record string `json:"record,omitempty"` // the domain's own
	Failed string `json:"failed,omitempty"` // LookupFailed, LookupUnusable: the DNS name
}

// Resolver makes the lookups of a check. Errors are bare *net.DNSError: IsNotFound, IsTemporary, or neither.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupA(ctx context.Context, name string) ([]netip.Addr, error)
	LookupAAAA(ctx context.Context, name string) ([]netip.Addr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Check checks the identity of a message. sender is MAIL FROM without its brackets, empty for a bounce. helo is the client's
// HELO name as received.
func Check(ctx context.Context, r Resolver, client netip.Addr, helo, sender string) Result {
	return check(ctx, r, client, helo, sender, nil)
}

func check(ctx context.Context, r Resolver, client netip.Addr, helo, sender string, path *Path) Result {
	result := Result{Status: None, Identity: MailFrom}
	local, name := "", ""
	if sender == "" {
		result.Identity, local, name = HELO, "postmaster", strings.TrimSuffix(helo, ".")
	} else if at := strings.LastIndexByte(sender, '@'); at >= 0 {
		local, name = sender[:at], sender[at+1:]
	}
	domain, err := domain.Parse(name)
	if err != nil || !strings.Contains(domain, ".") {
		// RFC 7208 section 4.3: address literals, single labels and other strings that are not names.
		result.Cause = NoDomain
		return result
	}
	result.Domain = domain
	if !client.IsValid() {
		result.Cause = ClientUnknown
		return result
	}
	if local == "" {
		local = "postmaster"
	}
	e := &evaluation{resolver: r, client: client.Unmap().WithZone(""), helo: heloName(helo), local: local, sender: domain, path: path}
	status, why, err := e.host(ctx, domain)
	result.Status, result.Record = status, e.record
	switch f := faultOf(err); {
	case f != nil:
		result.Status, result.Cause, result.Detail, result.Term, result.RecordDomain = f.status(), f.Cause, f.Detail, f.Term, f.RecordDomain
		if result.Failed = f.Name; f.Cause == LookupFailed {
			result.Failed = cmp.Or(f.Name, domain)
		}
	case status != Pass:
		result.Cause, result.Term, result.RecordDomain = why.cause, why.term, why.domain
	}
	return result
}

// heloName returns the value of the macro %{h}: the HELO name, if it consists of labels.
func heloName(helo string) string {
	helo = strings.TrimSuffix(helo, ".")
	for label := range strings.SplitSeq(helo, ".") {
		if _, err := domain.Parse(label); err != nil {
			return "unknown"
		}
	}
	return strings.ToLower(helo)
}
