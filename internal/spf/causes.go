package spf

import (
	"errors"
	"strconv"
	"strings"
)

// Cause is the reason why a Result is not a pass, or the error in a record. With spaces instead of underscores, it is an English phrase.
type Cause string

// The causes of a Result. Unless stated otherwise, Detail is empty.
const (
	NoDomain            Cause = "no_domain"               // MAIL FROM or HELO contains no domain that could have a record
	ClientUnknown       Cause = "client_unknown"          // the client has no IP address, because the mail is from sendmail(1)
	NoRecord            Cause = "no_record"               // the domain has no SPF record
	TermMatched         Cause = "term_matched"            // Term matched; its qualifier is the Status
	NoTermMatched       Cause = "no_term_matched"         // the record of RecordDomain has neither all nor redirect=
	LookupFailed        Cause = "lookup_failed"           // temperror. Detail: the DNS status
	LookupUnusable      Cause = "lookup_unusable"         // a DNS answer that would be the same at a retry. Detail: the DNS status
	TooManyLookupTerms  Cause = "too_many_lookup_terms"   // Term is the first term that exceeds MaxTerms
	TooManyVoidLookups  Cause = "too_many_void_lookups"   // Term is the first term that exceeds MaxVoids
	TooManyMX           Cause = "too_many_mx"             // more than MaxHosts mail exchanges. Detail: the domain with these mail exchanges
	SeveralRecords      Cause = "several_records"         // Detail: how many SPF records RecordDomain has
	IncludeNoRecord     Cause = "include_without_record"  // Detail: the domain that has no SPF record
	RedirectNoRecord    Cause = "redirect_without_record" // Detail: the domain that has no SPF record
	VersionMissing      Cause = "version_missing"         // the record does not begin with v=spf1
	RepeatedModifier    Cause = "repeated_modifier"       // Detail: "redirect=" or "exp="
	UnknownMechanism    Cause = "unknown_mechanism"       // Detail: its name, as written
	TextAfterAll        Cause = "text_after_all"          // Detail: the text
	DomainMissing       Cause = "domain_missing"          // a mechanism lacks the colon and the domain that it needs
	AddressMissing      Cause = "address_missing"         // ip4 or ip6 lacks the colon and the address
	InvalidAddress      Cause = "invalid_address"         // Detail: the text that is not an address of this family
	InvalidPrefixLength Cause = "invalid_prefix_length"   // Detail: the length
	InvalidDomainName   Cause = "invalid_domain_name"     // Detail: the name
	InvalidCharacter    Cause = "invalid_character"       // not printable ASCII
	InvalidMacro        Cause = "invalid_macro"           // a macro that is malformed or not allowed at its place. Detail: the text that begins with the %
	StrayPercent        Cause = "stray_percent"           // a % that does not begin a macro. Detail: the text that begins with the %
)

// The causes of a Node. A Result never has one of them.
const (
	RecordLoop   Cause = "record_loop"           // a loop: an include or redirect leads back to a record that contains it
	TreeTooLarge Cause = "record_tree_too_large" // the walk ends at maxWalk terms
)

// Causes returns all causes.
func Causes() []Cause {
	return []Cause{
		NoDomain, ClientUnknown, NoRecord, TermMatched, NoTermMatched, LookupFailed, LookupUnusable, TooManyLookupTerms,
		TooManyVoidLookups, TooManyMX, SeveralRecords, IncludeNoRecord, RedirectNoRecord, VersionMissing, RepeatedModifier,
		UnknownMechanism, TextAfterAll, DomainMissing, AddressMissing, InvalidAddress, InvalidPrefixLength, InvalidDomainName,
		InvalidCharacter, InvalidMacro, StrayPercent, RecordLoop, TreeTooLarge,
	}
}

// Fault is the error that ends a check: an error in a record, or a lookup that failed.
type Fault struct {
	Cause        Cause
	Detail       string // see Cause
	Term         string // the term that is wrong or was evaluated, as written; empty: none
	RecordDomain string // the domain whose record has Term; empty: not known
	Name         string // LookupFailed, LookupUnusable: the DNS name, without a final dot

	err error // LookupFailed, LookupUnusable: the error of the Resolver
}

// Error returns the cause as a phrase, the detail, and in parentheses the term and its domain.
func (f *Fault) Error() string {
	s, detail := strings.ReplaceAll(string(f.Cause), "_", " "), f.Detail
	if f.Name != "" {
		s += " for " + plain(f.Name)
		detail = strings.ReplaceAll(detail, "_", " ") // a DNS status
	}
	if detail != "" {
		s += ": " + plain(detail)
	}
	switch {
	case f.Term == "" && f.RecordDomain == "":
		return s
	case f.Term == "":
		return s + " (" + plain(f.RecordDomain) + ")"
	case f.RecordDomain == "":
		return s + " (" + plain(f.Term) + ")"
	}
	return s + " (" + plain(f.Term) + " of " + plain(f.RecordDomain) + ")"
}

// Unwrap returns the error of the lookup that failed, or nil if none failed.
func (f *Fault) Unwrap() error { return f.err }

// plain returns a text unchanged if a terminal would show it unchanged. Otherwise it returns the text in quotes.
func plain(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` {
		return q
	}
	return s
}

// CauseOf returns the Cause of the Fault in an error, or "" if there is none.
func CauseOf(err error) Cause {
	if f := faultOf(err); f != nil {
		return f.Cause
	}
	return ""
}

// faultOf returns the Fault in an error, or nil if there is none.
func faultOf(err error) *Fault {
	if err == nil {
		return nil
	}
	var f *Fault
	errors.As(err, &f)
	return f
}

// status returns the result of a check that ends with this Fault.
func (f *Fault) status() Status {
	if f.Cause == LookupFailed {
		return TempError
	}
	return PermError
}

// located adds a term and its domain to a Fault that has none. A Fault of an included record already has both.
func located(err error, term, domain string) error {
	if f := faultOf(err); f != nil && f.RecordDomain == "" {
		f.Term, f.RecordDomain = term, domain
	}
	return err
}
