// Package dmarc finds the Author Domain of a message and the policy of its Domain Owner. It reports whether the message satisfies that
// policy: RFC 9989.
//
// [ReadAuthor] parses the From fields. [Discover] finds the policy of one Author Domain by the DNS Tree Walk, and its
// [Discovery] compares the identifiers that DKIM and SPF authenticated. The [Result] has the status and its [Cause]. [Explain]
// returns each step of the walk. Lookups are made by a [Resolver], which the caller provides.
//
//	author := dmarc.ReadAuthor([]string{" Ann <ann@example.org>"})
//	for _, domain := range author.Domains {
//		r := dmarc.Discover(ctx, resolver, domain).Evaluate(ctx, resolver, []dmarc.Identifier{
//			{Method: dmarc.SPF, Domain: "bounces.example.org"},
//		})
//		fmt.Println(r.Domain, r.Status, r.Policy) // example.org pass reject
//	}
package dmarc

import (
	"slices"
	"strconv"
	"strings"
)

// MaxAuthorDomains is the maximum number of domains in a From field. RFC 9989 section 11.5 requires a limit, because each domain causes
// lookups. Honest mail has one.
const MaxAuthorDomains = 4

// MaxAddresses is the maximum number of addresses of an Author that are kept.
const MaxAddresses = 10

// Author is the author of a message according to its From fields: RFC 9989 section 5.3.1.
type Author struct {
	Domains []string `json:"header_from,omitempty"` // domains as lower-case A-labels, without repetitions, in the order of the field
	// Addresses are the addresses in the order of the field, with local parts as in the field. At most MaxAddresses are kept.
	Addresses []string `json:"from_addresses,omitempty"`
	Cause     Cause    `json:"from_cause,omitempty"`  // why the author is not certain: one of AuthorCauses
	Detail    string   `json:"from_detail,omitempty"` // described at the Cause
}

// ReadAuthor parses the values of all From fields of a message. If two programs could read different domains, the Author has a Cause and
// no Domains. This is the case if the message does not have exactly one From field. It is also the case if the syntax is outside RFC 5322
// section 3.4 and could hide or change the address.
func ReadAuthor(values []string) Author {
	switch len(values) {
	case 0:
		return Author{Cause: FromMissing}
	case 1:
	default:
		return Author{Cause: FromSeveral, Detail: strconv.Itoa(len(values))}
	}
	addresses, err := ReadAddresses(values[0])
	if err != nil {
		return Author{Cause: causeOf(err)}
	}
	var domains, kept []string
	for i, a := range addresses {
		if i < MaxAddresses {
			kept = append(kept, a.Local+"@"+a.Domain)
		}
		if !slices.Contains(domains, a.Domain) {
			domains = append(domains, a.Domain)
		}
	}
	if len(domains) > MaxAuthorDomains {
		return Author{Cause: FromTooManyDomains, Detail: strconv.Itoa(len(domains))}
	}
	return Author{Domains: domains, Addresses: kept}
}

// Address is a mailbox in a From or Sender field, without its display name.
type Address struct {
	Local  string // as in the field: a quoted string keeps its quotes
	Domain string // in lower-case A-labels
}

// ReadAddresses parses the value of a From or Sender field. It returns at least one address, or a *Fault if two programs could read
// different domains.
func ReadAddresses(value string) ([]Address, error) {
	text, err := unfold(value)
	if err != nil {
		return nil, err
	}
	if hidesAddress(text) {
		return nil, &Fault{Cause: FromNameHidesAddress}
	}
	p := &parser{s: text}
	if strings.Contains(text, escape) {
		err = &Fault{Cause: FromControlCharacter}
	} else {
		err = p.list(false)
	}
	if err != nil {
		if a, ok := loose(text); ok {
			return []Address{a}, nil
		}
		return nil, err
	}
	if len(p.addresses) == 0 {
		return nil, &Fault{Cause: FromWithoutAddress}
	}
	return p.addresses, nil
}

// unfold removes the line ends of folds. It returns an error for every other control character except escape.
func unfold(s string) (string, error) {
	if strings.Contains(s, "\n") {
		s = strings.NewReplacer("\r\n ", " ", "\r\n\t", "\t", "\n ", " ", "\n\t", "\t").Replace(s)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == 0x7f || c < ' ' && c != '\t' && c != escape[0] {
			return "", &Fault{Cause: FromControlCharacter}
		}
	}
	return s, nil
}
