package dmarc

import (
	"errors"
	"net"
	"strings"
)

// Cause is the reason why a Result is not a pass, a record is faulty, or a From field has no Author Domain. With spaces instead of
// underscores, it is an English phrase.
type Cause string

// The causes of a Result. Unless stated otherwise, Detail is empty.
const (
	NoRecord                  Cause = "no_record"                    // no DMARC record applies to the domain
	NoAlignedIdentifierPassed Cause = "no_aligned_identifier_passed" // the message fails
	PolicyTagMissing          Cause = "policy_tag_missing"           // the record has no p; in a Result, the record also has no valid rua
	PolicyTagInvalid          Cause = "policy_tag_invalid"           // the value of p, sp or np is not a valid policy; in a Result, there is also no valid rua. Detail: see Fault
	PolicyLookupFailed        Cause = "policy_lookup_failed"         // temperror. Detail: the DNS status
	PolicyLookupUnusable      Cause = "policy_lookup_unusable"       // a DNS answer cannot be used, and a retry would not change it. Detail: the DNS status
	OrganizationLookupFailed  Cause = "organization_lookup_failed"   // the lookup failed for the Organizational Domain of IdentifierDomain or, if IdentifierDomain is empty, of Domain. Detail: the DNS status
	KeyLookupFailed           Cause = "key_lookup_failed"            // the DKIM key of IdentifierDomain
	SPFLookupFailed           Cause = "spf_lookup_failed"            // the SPF check of IdentifierDomain
)

// The causes of a Step without a valid record. A Result never has one of them.
const (
	SeveralRecords   Cause = "several_records"   // they count as no record. Detail: their number
	VersionMissing   Cause = "version_missing"   // no TXT record begins with v=DMARC1 in exactly this case
	SemicolonMissing Cause = "semicolon_missing" // Detail: the text after v=DMARC1
)

// Causes returns the causes of results, records and steps. AuthorCauses returns the causes of From fields.
func Causes() []Cause {
	return []Cause{
		NoRecord, NoAlignedIdentifierPassed, PolicyTagMissing, PolicyTagInvalid, PolicyLookupFailed, PolicyLookupUnusable,
		OrganizationLookupFailed, KeyLookupFailed, SPFLookupFailed, SeveralRecords, VersionMissing, SemicolonMissing,
	}
}

// The causes of an Author without domains. Unless stated otherwise, Detail is empty.
const (
	FromMissing                Cause = "from_missing"                  // there is no From field
	FromSeveral                Cause = "from_several"                  // Detail: the number of From fields
	FromTooManyDomains         Cause = "from_too_many_domains"         // more than MaxAuthorDomains. Detail: their number
	FromHiddenField            Cause = "from_hidden_field"             // a stray line end in a header field hides another field
	FromWithoutAddress         Cause = "from_without_address"          // no address at all
	FromNameWithoutAddress     Cause = "from_name_without_address"     // a display name without an address
	FromBracketsWithoutAddress Cause = "from_brackets_without_address" // angle brackets without an address
	FromControlCharacter       Cause = "from_control_character"
	FromNameHidesAddress       Cause = "from_name_hides_address" // encoded words that decode to a NUL, or to a line end and an address
	FromUnquotedColon          Cause = "from_unquoted_colon"
	FromUnquotedComma          Cause = "from_unquoted_comma"
	FromUnquotedSemicolon      Cause = "from_unquoted_semicolon"
	FromUnquotedBackslash      Cause = "from_unquoted_backslash"
	FromUnquotedAngleBracket   Cause = "from_unquoted_angle_bracket" // >
	FromUnquotedParenthesis    Cause = "from_unquoted_parenthesis"   // )
	FromGroupUnclosed          Cause = "from_group_unclosed"         // an unquoted colon begins a group that does not end
	FromAngleBracketUnclosed   Cause = "from_angle_bracket_unclosed"
	FromQuotedStringUnclosed   Cause = "from_quoted_string_unclosed"
	FromCommentUnclosed        Cause = "from_comment_unclosed"
	FromCommentsTooDeep        Cause = "from_comments_too_deep"  // more than maxComment levels
	FromCommentInAddress       Cause = "from_comment_in_address" // a comment contains more than words
	FromTextAfterAddress       Cause = "from_text_after_address"
	FromTwoAddresses           Cause = "from_two_addresses" // two addresses instead of one
	FromSourceRoute            Cause = "from_source_route"
	FromAddressLiteral         Cause = "from_address_literal" // an address literal instead of a domain
	FromInvalidDomain          Cause = "from_invalid_domain"
	FromMalformedLocalPart     Cause = "from_malformed_local_part"
	FromDeceptiveLocalPart     Cause = "from_deceptive_local_part" // mail programs may display another local part
)

// AuthorCauses returns the causes of an Author.
func AuthorCauses() []Cause {
	return []Cause{
		FromMissing, FromSeveral, FromTooManyDomains, FromHiddenField, FromWithoutAddress, FromNameWithoutAddress,
		FromBracketsWithoutAddress, FromControlCharacter, FromNameHidesAddress, FromUnquotedColon, FromUnquotedComma,
		FromUnquotedSemicolon, FromUnquotedBackslash, FromUnquotedAngleBracket, FromUnquotedParenthesis, FromGroupUnclosed,
		FromAngleBracketUnclosed, FromQuotedStringUnclosed, FromCommentUnclosed, FromCommentsTooDeep, FromCommentInAddress,
		FromTextAfterAddress, FromTwoAddresses, FromSourceRoute, FromAddressLiteral, FromInvalidDomain, FromMalformedLocalPart,
		FromDeceptiveLocalPart,
	}
}

// Fault is an error in a record or a From field. In a record, Detail of PolicyTagInvalid is the tag as written, such as "p=rejct". It is
// only "p=" if the value is long or contains unusual characters.
type Fault struct {
	Cause  Cause  `json:"cause"`
	Detail string `json:"detail,omitempty"`
}

func (f *Fault) Error() string {
	s := strings.ReplaceAll(string(f.Cause), "_", " ")
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// causeOf returns the Cause of a *Fault, or "" for other errors.
func causeOf(err error) Cause {
	var f *Fault
	if errors.As(err, &f) {
		return f.Cause
	}
	return ""
}

// dnsStatus returns the DNS status of a lookup's error, or "" if it has none.
func dnsStatus(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.Err
	}
	return ""
}
