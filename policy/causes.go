package policy

import (
	"cmp"
	"fmt"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// This file has the English texts of the causes that the protocol engines return. A cause is a phrase in snake_case. Most causes are
// shown as that phrase. This file has texts only for the causes for which that phrase is not sufficient.

// LegacyCause is the cause of results in journal entries of version 1. Their detail is a sentence.
const LegacyCause = "legacy"

// phrase returns a cause with spaces instead of underscores.
func phrase(cause string) string {
	if cause == LegacyCause {
		return ""
	}
	return strings.ReplaceAll(cause, "_", " ")
}

// because joins two phrases. Either may be empty.
func because(what, detail string) string {
	if detail == "" || what == "" {
		return what + detail
	}
	return what + ": " + detail
}

// DKIMText returns why a signature does not pass, or "".
func DKIMText(s dkim.Result) string {
	switch s.Cause {
	case dkim.BodyHashMismatch:
		return "the body hash does not match: the body was changed after signing"
	case dkim.SignatureMismatch:
		return "the signature does not match: signed header fields were changed, or another key signed"
	case dkim.SignatureExpired:
		return "the signature expired at " + s.Detail
	case dkim.SignatureInFuture:
		return because("t= is in the future", s.Detail)
	case dkim.BodyPartlySigned:
		return "l= leaves " + s.Detail + " bytes of the body unsigned"
	case dkim.SignedLengthExceedsBody:
		return "l=" + s.Detail + " is more than the body has"
	case dkim.TooManySignatures:
		return fmt.Sprintf("not verified: the message has more than %d signatures", dkim.MaxSignatures)
	case dkim.FromNotSigned:
		return "h= does not cover From"
	case dkim.BareEqualsSignInIdentity:
		return "i= contains an equals sign; it must be written as =3D"
	case dkim.LowerCaseEscapeInIdentity:
		return "i= contains an escape in lower case, as in =3d; it must be written in capitals"
	case dkim.MissingTag:
		return s.Detail + " is missing or empty"
	case dkim.ForbiddenAlgorithm:
		return s.Detail + " must not be used (RFC 8301)"
	case dkim.KeyLookupFailed:
		return because("the key record at "+s.KeyName+" could not be looked up", phrase(s.Detail))
	case dkim.KeyRecordMissing:
		return "there is no key record at " + s.KeyName
	case dkim.KeyRecordUnusable:
		return because("the key record at "+s.KeyName+" cannot be used", phrase(s.Detail))
	case dkim.KeyTypeMismatch:
		return fmt.Sprintf("a=%s does not match k=%s of the key record", s.Algorithm, s.Detail)
	case dkim.KeyRevoked:
		return "the key was revoked (empty p=)"
	case dkim.KeyTooShort:
		return fmt.Sprintf("the key has %s bits, fewer than %d", s.Detail, dkim.MinRSABits)
	}
	if text := KeyRecordText(s.Cause, s.Detail); text != "" {
		return "key record: " + text
	}
	return because(phrase(string(s.Cause)), s.Detail)
}

// KeyRecordText returns why a key record is not valid. The text also shows how to correct the record. It returns "" for other causes.
func KeyRecordText(cause dkim.Cause, detail string) string {
	switch cause {
	case dkim.KeyRecordIsHostName:
		return "the TXT record contains a host name; it must be a CNAME record"
	case dkim.KeyRecordBackslash:
		return "there is a backslash before a semicolon"
	case dkim.KeyRecordQuotes:
		return "the text itself contains quotes"
	case dkim.KeyRecordLacksSemicolon:
		return "a semicolon is missing after the tag " + detail
	case dkim.KeyRecordMisspellsSHA256:
		return "h= must contain sha256, not " + detail
	case dkim.KeyRecordMisspellsType:
		return fmt.Sprintf("k= must be %s, not %s", strings.ToLower(detail), detail)
	case dkim.KeyRecordTooLong:
		return fmt.Sprintf("the record has %s bytes, more than %d", detail, dkim.MaxKeyRecord)
	case dkim.KeyRecordTagWithoutSign:
		return "a tag has no ="
	case dkim.KeyRecordTagName:
		return "a tag name is malformed"
	case dkim.KeyRecordDuplicateTag:
		return "the tag " + detail + " occurs twice"
	case dkim.KeyRecordCharacter:
		return "the tag " + detail + " contains an invalid character"
	case dkim.KeyRecordVersion:
		return "v= must be DKIM1"
	case dkim.KeyRecordVersionLate:
		return "v=DKIM1 must be the first tag"
	case dkim.KeyRecordWithoutKey:
		return "p= is missing"
	case dkim.KeyRevoked:
		return "the key is revoked (empty p=)"
	case dkim.KeyRecordForbidsSHA256:
		return "h= does not allow sha256"
	case dkim.KeyRecordForbidsEmail:
		return "s= does not allow email"
	case dkim.KeyRecordUnknownType:
		return "k= must be rsa or ed25519"
	case dkim.KeyRecordBase64:
		return "p= is not valid base64"
	case dkim.KeyRecordMalformedKey:
		return "p= does not contain a valid " + detail + " key"
	case dkim.KeyTooShort:
		return fmt.Sprintf("the key has %s bits, fewer than %d", detail, dkim.MinRSABits)
	case dkim.KeyTooLong:
		return fmt.Sprintf("the key has %s bits, more than %d", detail, dkim.MaxRSABits)
	}
	return ""
}

// ChainText returns why an ARC chain does not pass, or "".
func ChainText(c *dkim.Chain) string {
	s := dkim.Result{Cause: c.Cause, Detail: c.Detail, KeyName: c.Failed}
	switch {
	case c.Field != "" && c.Instance > 0:
		return fmt.Sprintf("%s of instance %d: %s", c.Field, c.Instance, DKIMText(s))
	case c.Field != "":
		return c.Field + ": " + DKIMText(s)
	}
	return DKIMText(s)
}

// SPFText returns the cause of an SPF result, or "".
func SPFText(s *spf.Result) string {
	at := ""
	if s.Term != "" && s.RecordDomain != "" {
		at = s.Term + " of " + s.RecordDomain
	}
	switch s.Cause {
	case spf.TermMatched:
		return at
	case spf.NoDomain:
		return "there is no domain to check"
	case spf.ClientUnknown:
		return "the address of the client is unknown"
	case spf.NoRecord:
		return "there is no SPF record"
	case spf.NoTermMatched:
		return "no term matched"
	case spf.LookupFailed, spf.LookupUnusable:
		return because("lookup of "+s.Failed+" failed", phrase(s.Detail))
	case spf.TooManyLookupTerms:
		return fmt.Sprintf("more than %d terms with DNS lookups", spf.MaxTerms)
	case spf.TooManyVoidLookups:
		return fmt.Sprintf("more than %d void lookups", spf.MaxVoids)
	case spf.SeveralRecords:
		return fmt.Sprintf("%s has %s SPF records", cmp.Or(s.RecordDomain, s.Domain), s.Detail)
	case spf.IncludeNoRecord, spf.RedirectNoRecord:
		return fmt.Sprintf("%s: %s has no SPF record", at, s.Detail)
	}
	text := because(phrase(string(s.Cause)), s.Detail)
	switch {
	case at != "" && text != "":
		return at + ": " + text
	case s.Term != "" && text != "":
		return s.Term + ": " + text
	}
	return text
}

// DMARCText returns the cause of a DMARC result, or "".
func DMARCText(d dmarc.Result) string {
	switch of := cmp.Or(d.IdentifierDomain, d.Domain); d.Cause {
	case dmarc.NoRecord:
		return "no DMARC record"
	case dmarc.NoAlignedIdentifierPassed:
		return "no aligned identifier passed"
	case dmarc.PolicyTagMissing, dmarc.PolicyTagInvalid:
		return FaultText(d.Cause, d.Detail) + ", and the record has no valid rua"
	case dmarc.PolicyLookupFailed, dmarc.PolicyLookupUnusable:
		return because("the DMARC policy of "+d.Domain+" could not be looked up", phrase(d.Detail))
	case dmarc.OrganizationLookupFailed:
		return because("the Organizational Domain of "+of+" could not be looked up", phrase(d.Detail))
	case dmarc.KeyLookupFailed:
		return "the DKIM key of " + of + " could not be looked up"
	case dmarc.SPFLookupFailed:
		return "the SPF record of " + of + " could not be looked up"
	}
	return because(phrase(string(d.Cause)), d.Detail)
}

// FaultText describes the error in p, sp or np of a DMARC record.
func FaultText(cause dmarc.Cause, detail string) string {
	switch cause {
	case dmarc.PolicyTagMissing:
		return "p is missing"
	case dmarc.PolicyTagInvalid:
		return detail + " is not a valid policy"
	}
	return because(phrase(string(cause)), detail)
}

// AuthorText returns why the author of a message is in doubt, or "".
func AuthorText(a dmarc.Author) string {
	switch a.Cause {
	case "":
		return ""
	case dmarc.FromMissing:
		return "there is no From field"
	case dmarc.FromSeveral:
		return "there are " + a.Detail + " From fields"
	case dmarc.FromTooManyDomains:
		return fmt.Sprintf("the From field names more than %d domains", dmarc.MaxAuthorDomains)
	case dmarc.FromHiddenField:
		return "a field hides another one behind a stray line end"
	case LegacyCause:
		return a.Detail
	}
	return "the From field is not readable: " + because(strings.TrimPrefix(phrase(string(a.Cause)), "from "), a.Detail)
}

// String returns a difference as a phrase.
func (d Difference) String() string {
	name := strings.TrimSpace(d.Method + " " + d.Name)
	missing := "no result"
	if d.Method == "dkim" {
		missing = "no such signature"
	}
	return fmt.Sprintf("%s: %s here, %s there", name, d.Ours.text(missing), d.Theirs.text("no result"))
}

func (s Side) text(missing string) string {
	if s.Result == "" {
		return missing
	}
	text := s.Result
	if s.Domain != "" {
		text += " for " + s.Domain
	}
	var why []string
	if because := because(phrase(s.Cause), s.Detail); because != "" {
		why = append(why, because)
	}
	if s.Aligned != "" {
		why = append(why, "aligned: "+s.Aligned)
	}
	if s.Org != "" {
		why = append(why, "Organizational Domain "+s.Org)
	}
	if len(why) == 0 {
		return text
	}
	return text + " (" + strings.Join(why, "; ") + ")"
}

// String returns a comparison as the log shows it, or "" if there was nothing to compare.
func (c Comparison) String() string {
	var all []string
	if len(c.Same) > 0 {
		all = append(all, "same: "+strings.Join(c.Same, " "))
	}
	if len(c.Missing) > 0 {
		all = append(all, "not reported there: "+strings.Join(c.Missing, " "))
	}
	for _, d := range c.Different {
		all = append(all, d.String())
	}
	return strings.Join(all, "; ")
}
