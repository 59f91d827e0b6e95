// Package spf checks whether a client may send mail for a domain: RFC 7208. docs/decisions/spf.md states why Signpost has its own
// evaluator.
//
// [Check] returns the [Result] for a message. [Trace] also returns the steps that led to it. [ParseRecord] parses a [Record]. [Walk]
// returns the terms of a record and of the records that it includes. It needs no message. A [Cause] states why a check does not pass. The
// caller provides a [Resolver] for the lookups.
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

// Status is the outcome, as in RFC 8601 section 2.7.2.
type Status string

// The values of Status in a Result.
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

// The identities. HELO is checked only for a null reverse-path, which means postmaster at the HELO name (RFC 7208 section 2.4). So a pass
// for HELO cannot be mistaken for a pass for MAIL FROM.
const (
	MailFrom Identity = "mailfrom"
	HELO     Identity = "helo"
)

// Result is the result of a check.
type Result struct {
	Status   Status   `json:"status"`
	Identity Identity `json:"identity"`
	Domain   string   `json:"domain,omitempty"` // lower-case A-labels; empty if the name is not a domain

	// Cause states why the Status is not pass. Term is the term that decided the result or has the error, as written in the record.
	// RecordDomain is the domain whose record contains Term.
	Cause        Cause  `json:"cause,omitempty"`
	Detail       string `json:"detail,omitempty"` // described at the Cause
	Term         string `json:"term,omitempty"`
	RecordDomain string `json:"record_domain,omitempty"`

	Record string `json:"record,omitempty"` // the record of Domain
	Failed string `json:"failed,omitempty"` // LookupFailed, LookupUnusable: the DNS name
}

// Resolver does the lookups of a check. Errors are *net.DNSError, not wrapped: IsNotFound, IsTemporary, or neither.
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
		// RFC 7208 section 4.3: the string is an address literal, a single label or something else that is not a domain name.
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
