package dmarc

import (
	"fmt"
	"strings"
)

// sentence returns Doubt for the typed fields. It is deleted with Doubt.
func (a Author) sentence() string {
	switch a.Cause {
	case "":
		return ""
	case FromMissing:
		return "there is no From field"
	case FromSeveral:
		return "there are " + a.Detail + " From fields"
	case FromTooManyDomains:
		return fmt.Sprintf("the From field names more than %d domains", MaxAuthorDomains)
	case FromHiddenField:
		return "a field hides another one behind a stray line end"
	}
	return "the From field is not readable: " + map[Cause]string{
		FromGroupUnclosed:          "a colon outside quotes begins a group that does not end",
		FromTextAfterAddress:       "text follows an address",
		FromUnquotedColon:          "a colon outside quotes",
		FromUnquotedComma:          "a comma outside quotes",
		FromUnquotedAngleBracket:   "a closing angle bracket outside quotes",
		FromUnquotedSemicolon:      "a semicolon outside quotes",
		FromNameWithoutAddress:     "a name without an address",
		FromSourceRoute:            "it holds a source route",
		FromBracketsWithoutAddress: "angle brackets without an address",
		FromAngleBracketUnclosed:   "an angle bracket does not close",
		FromTwoAddresses:           "two addresses where one belongs",
		FromMalformedLocalPart:     "a local part is malformed",
		FromDeceptiveLocalPart:     "a local part is not what a reader is shown",
		FromAddressLiteral:         "an address literal stands in place of a domain",
		FromInvalidDomain:          "what follows an @ is not a domain name",
		FromCommentInAddress:       "a comment inside an address contains more than words",
		FromUnquotedParenthesis:    "a closing parenthesis outside quotes",
		FromUnquotedBackslash:      "a backslash outside quotes",
		FromQuotedStringUnclosed:   "a quoted string does not end",
		FromCommentsTooDeep:        "comments nest too deep",
		FromCommentUnclosed:        "a comment does not end",
		FromNameHidesAddress:       "an encoded name hides the address",
		FromControlCharacter:       "it contains a control character",
		FromWithoutAddress:         "it contains no address",
	}[a.Cause]
}

// sentence returns Reason for the typed fields.
func (r Result) sentence() string {
	switch r.Why {
	case NoRecord:
		return "no DMARC record"
	case NoAlignedIdentifierPassed:
		return "no aligned identifier passed"
	case PolicyTagMissing, PolicyTagInvalid:
		return (&Fault{r.Why, r.Detail}).sentence() + ", and the record has no valid rua"
	case PolicyLookupFailed, PolicyLookupUnusable:
		return fmt.Sprintf("the DMARC policy of %s could not be looked up: lookup %s.: %s", r.Domain, r.Failed, r.Detail)
	case OrganizationLookupFailed:
		if r.IdentifierDomain == "" {
			return fmt.Sprintf("the Organizational Domain could not be looked up: lookup %s.: %s", r.Failed, r.Detail)
		}
		return fmt.Sprintf("the Organizational Domain of %s could not be looked up: lookup %s.: %s", r.IdentifierDomain, r.Failed, r.Detail)
	case KeyLookupFailed, SPFLookupFailed:
		return "the " + r.FailedMethod().record() + " of " + r.IdentifierDomain + " could not be looked up"
	}
	return ""
}

// sentence returns the fault of a record.
func (f *Fault) sentence() string {
	if f.Cause == PolicyTagMissing {
		return "p is missing"
	}
	tag, value, _ := strings.Cut(f.Detail, "=")
	if value != "" {
		value = " (" + value + ")"
	}
	return tag + " has no valid policy" + value
}

// record returns what is looked up for a method, in words.
func (m Method) record() string {
	if m == DKIM {
		return "DKIM key"
	}
	return "SPF record"
}

// sentence returns the old Outcome for the typed fields.
func (s Step) sentence() string {
	switch s.Ends {
	case LookupFailed:
		return "not known: lookup " + s.Name + ".: " + s.Detail
	case NameExists:
		return "the name exists: np does not apply"
	case NameMissing:
		return "the name does not exist: np applies"
	case RecordNone:
		switch s.Cause {
		case SeveralRecords:
			return s.Detail + " records, which count as none"
		case VersionMissing:
			return "no DMARC record among its TXT records: v=DMARC1 has to come first, in these letters"
		case SemicolonMissing:
			return "no DMARC record: v=DMARC1 is followed by " + s.Detail + " instead of a semicolon"
		}
		return "no record"
	case RecordWithoutEffect:
		return "a record without effect: " + (&Fault{s.Cause, s.Detail}).sentence() + ", and the record has no valid rua"
	}
	switch {
	case s.PSD == "y":
		return "a record of a public suffix (psd=y): the walk ends"
	case s.PSD == "n":
		return "a record of an Organizational Domain (psd=n): the walk ends"
	case s.Cause != "":
		return "a record: " + (&Fault{s.Cause, s.Detail}).sentence() + "; with rua that counts as none"
	}
	return "a record"
}
