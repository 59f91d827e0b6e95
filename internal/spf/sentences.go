package spf

import (
	"fmt"
	"strings"
)

// sentence returns Reason for the typed fields. It is deleted with Reason.
func (r Result) sentence() string {
	switch r.Cause {
	case "":
		return ""
	case NoDomain:
		return "there is no domain to check"
	case ClientUnknown:
		return "the client's address is not known"
	case NoRecord:
		return "there is no SPF record"
	case TermMatched:
		return fmt.Sprintf("%s of %s", r.Term, r.RecordDomain)
	case NoTermMatched:
		return "no term matched"
	}
	return (&Fault{Cause: r.Cause, Detail: r.Detail, Term: r.Term, RecordDomain: r.RecordDomain, Name: r.Failed}).sentence()
}

func (f *Fault) sentence() string {
	switch f.Cause {
	case LookupFailed, LookupUnusable:
		return fmt.Sprintf("looking up %s.: %s", f.Name, f.Detail)
	case TooManyLookupTerms:
		return fmt.Sprintf("more than %d terms that ask DNS", MaxTerms)
	case TooManyVoidLookups:
		return fmt.Sprintf("more than %d look-ups that find nothing", MaxVoids)
	case TooManyMX:
		return fmt.Sprintf("%s has more than %d mail exchanges", f.Detail, MaxHosts)
	case SeveralRecords:
		return fmt.Sprintf("%s has %s SPF records", f.RecordDomain, f.Detail)
	case NoRecord:
		return "0 SPF records"
	case IncludeNoRecord, RedirectNoRecord:
		return fmt.Sprintf("%s of %s leads to no SPF record", f.Term, f.RecordDomain)
	case RecordLoop:
		return "it leads in circles"
	case TreeTooLarge:
		return "the tree goes on"
	}
	s := f.grammar()
	if f.Term != "" && f.Cause != RepeatedModifier {
		s = fmt.Sprintf("the term %q: %s", f.Term, s)
	}
	if f.RecordDomain != "" {
		s = fmt.Sprintf("the record of %s is not valid: %s", f.RecordDomain, s)
	}
	return s
}

func (f *Fault) grammar() string {
	switch f.Cause {
	case VersionMissing:
		return "it does not begin with v=spf1"
	case RepeatedModifier:
		return f.Detail + " stands twice"
	case UnknownMechanism:
		return "there is no such mechanism"
	case TextAfterAll:
		return "nothing may follow all"
	case DomainMissing:
		return "a colon and a domain name have to follow"
	case AddressMissing:
		return "a colon and an address have to follow"
	case InvalidAddress:
		return fmt.Sprintf("%q is no address of %.3s", f.Detail, strings.TrimLeft(f.Term, "+-~?"))
	case InvalidPrefixLength:
		most := 32
		if strings.Contains(f.Term, "//") || strings.Contains(strings.ToLower(f.Term), "ip6") {
			most = 128
		}
		return fmt.Sprintf("the prefix length %q is none from 0 to %d", f.Detail, most)
	case InvalidDomainName:
		return fmt.Sprintf("%q is no domain name with a top-level domain", f.Detail)
	case InvalidCharacter:
		return "only printable ASCII is allowed"
	case InvalidMacro:
		return fmt.Sprintf("%q is no macro that is allowed here", f.Detail)
	}
	return "a % has to begin a macro"
}

// sentence returns the old Outcome for the typed fields.
func (s Step) sentence(err error) string {
	switch s.Ends {
	case RecordFound:
		return s.Record
	case RecordNone:
		return "no SPF record"
	case Match:
		return "match"
	case NoMatch:
		return "no match"
	case Redirected:
		return string(s.Status)
	case EndedBelow:
		return "the check ends below"
	}
	return "the check ends: " + err.Error()
}
