package dkim

import (
	"errors"
	"fmt"
	"strings"
)

// ErrTooManyFields is the error of NewSigner with the cause TooManyFieldsToSign.
var ErrTooManyFields = errors.New("the message has more header fields to sign than fit into a signature")

// tooManyFields has the text of ErrTooManyFields, which the journal contains.
type tooManyFields struct{ fault *Fault }

func (t tooManyFields) Error() string   { return ErrTooManyFields.Error() }
func (t tooManyFields) Unwrap() []error { return []error{ErrTooManyFields, t.fault} }

// sentence returns Reason, the sentence that Cause and Detail replace.
func (r *Result) sentence(f *Fault) string {
	switch f.Cause {
	case TagWithoutEqualsSign, MalformedTagName, DuplicateTag, InvalidCharacterInTag, MissingTag, UnknownSignatureVersion, InvalidBodyHash, InvalidSignatureValue:
		return "malformed signature: " + sentence(f, r.KeyName, r.Algorithm)
	case SignatureFieldTooLong:
		return fmt.Sprintf("the signature field is longer than %d octets", MaxSignatureField)
	}
	return sentence(f, r.KeyName, r.Algorithm)
}

func (c *Chain) sentence(f *setFault, algorithm string) string {
	text := sentence(&f.Fault, c.KeyName, algorithm)
	if f.Cause == MissingTag && f.Detail == "h=" {
		text = "h= is missing"
	}
	name := map[string]string{arcResults: ARCResultsField, arcSignature: ARCSignatureField, arcSeal: ARCSealField}[f.field]
	switch {
	case f.field == "":
		return text
	case f.Cause == SealerReportsBrokenChain:
		return fmt.Sprintf("the sealer of instance %d found the chain broken (cv=fail)", f.instance)
	case f.Cause == UnexpectedChainValidation:
		want := "pass"
		if f.instance == 1 {
			want = "none"
		}
		return fmt.Sprintf("instance %d has cv=%s, not %s", f.instance, f.Detail, want)
	case f.Cause == InstanceExceedsSets:
		return fmt.Sprintf("%s: i=%d, where there are %s sets", name, f.instance, f.Detail)
	case f.Cause == DuplicateInstance:
		return fmt.Sprintf("%s: instance %d stands twice", name, f.instance)
	case f.judged:
		return fmt.Sprintf("%s of instance %d: %s", name, f.instance, text)
	}
	return name + ": " + text
}

func sentence(f *Fault, key, algorithm string) string {
	text := map[Cause]string{
		BodyHashMismatch:           "the body hash does not match: the body was changed after signing",
		SignatureMismatch:          "the signature does not match: signed header fields were changed, or it was made with another key",
		SignatureExpired:           "the signature expired at DETAIL",
		SignatureInFuture:          "the signature's t= lies in the future",
		SignedLengthExceedsBody:    "l=DETAIL is more than the body's octets",
		BodyPartlySigned:           "l= leaves DETAIL octets of the body unsigned",
		TooManySignatures:          "not verified: the message has more than 8 signatures",
		SignatureFieldTooLong:      "it is longer than 32768 octets",
		TagWithoutEqualsSign:       `a tag without "="`,
		MalformedTagName:           "a malformed tag name",
		DuplicateTag:               "DETAIL stands twice",
		InvalidCharacterInTag:      "DETAIL holds a character that is not allowed",
		EmptyTag:                   "an empty place between semicolons",
		MissingTag:                 "DETAIL is missing or empty",
		UnknownSignatureVersion:    "v= is not 1",
		UnknownAlgorithm:           "unknown algorithm in a=",
		ForbiddenAlgorithm:         "rsa-sha1 must not be used (RFC 8301)",
		MissingCanonicalization:    "malformed signature: c= lacks an algorithm",
		UnknownCanonicalization:    "unknown canonicalisation in c=",
		UnknownQueryMethod:         "unknown query method in q=",
		InvalidDomain:              "malformed signature: d= is not a domain name",
		InvalidSelector:            "malformed signature: s= is not a selector",
		InvalidBodyHash:            "bh= is not the base64 of a SHA-256 hash",
		InvalidSignatureValue:      "b= is not base64",
		InvalidFieldName:           "malformed signature: h= lists something that is no field name",
		InvalidNumber:              "malformed signature: DETAIL is not a number",
		TooManySignedNames:         "h= lists more than 200 names",
		FromNotSigned:              "h= does not cover From (RFC 6376 section 5.4)",
		ExpirationNotAfterSigning:  "malformed signature: x= is not after t=",
		IdentityWithoutAtSign:      `malformed signature: i= has no "@"`,
		InvalidIdentityDomain:      "malformed signature: i= does not end in a domain name",
		IdentityOutsideDomain:      "malformed signature: i= is not d= or below it",
		LowerCaseEscapeInIdentity:  "malformed signature: i= has an =XX in lower case",
		BareEqualsSignInIdentity:   `malformed signature: i= has a bare "=", which must be written as =3D`,
		ForbiddenTag:               "it has h=",
		MessageSignatureCoversSeal: "h= covers ARC-Seal",
		InvalidChainValidation:     "cv= is not none, pass or fail",
		TooManyARCSets:             "there are more than 50 ARC sets",
		IncompleteARCSets:          "the ARC sets are not whole: there are not as many of each field",
		MissingInstance:            "it does not begin with i=",
		InvalidInstance:            "i= is not a number from 1 to 50",
		KeyLookupFailed:            "the key record at KEY could not be looked up: DETAIL",
		KeyRecordMissing:           "there is no key record at KEY",
		KeyRecordUnusable:          "the key record at KEY is no use: DETAIL",
		KeyTypeMismatch:            "a=ALGORITHM does not fit the key record's k=DETAIL",
		KeyForbidsSubIdentity:      "the key record's t=s does not allow an i= below d=",
		KeyRecordTooLong:           "the key record is longer than 16384 octets",
		KeyRecordTagWithoutSign:    `malformed key record: a tag without "="`,
		KeyRecordTagName:           "malformed key record: a malformed tag name",
		KeyRecordDuplicateTag:      "malformed key record: DETAIL stands twice",
		KeyRecordCharacter:         "malformed key record: DETAIL holds a character that is not allowed",
		KeyRecordVersion:           "malformed key record: it does not begin with v=DKIM1",
		KeyRecordVersionLate:       "malformed key record: it does not begin with v=DKIM1",
		KeyRecordWithoutKey:        "malformed key record: p= is missing",
		KeyRevoked:                 "the key was revoked (empty p=)",
		KeyRecordForbidsSHA256:     "the key record's h= does not allow sha256",
		KeyRecordForbidsEmail:      "the key record's s= does not allow email",
		KeyRecordUnknownType:       "the key record's k= names an unknown key type",
		KeyRecordBase64:            "malformed key record: p= is not base64",
		KeyTooShort:                "the RSA key has DETAIL bits; less than 1024 must not be used (RFC 8301)",
		KeyTooLong:                 "the RSA key has DETAIL bits, more than the 8192 that are accepted",
		KeyRecordIsHostName:        "malformed key record: it is a host name; to refer to a record elsewhere, publish a CNAME instead of TXT",
		KeyRecordBackslash:         "malformed key record: it has a backslash before a semicolon",
		KeyRecordQuotes:            "malformed key record: the text contains quotes of its own",
		KeyRecordLacksSemicolon:    "malformed key record: a semicolon is missing after DETAIL",
		KeyRecordMisspellsSHA256:   "the key record's h= must contain sha256, not DETAIL",
		KeyRecordMisspellsType:     "the key record's k= must be LOWER in lower case (RFC 6376 section 3.2)",
	}[f.Cause]
	switch {
	case f.Cause == KeyRecordMalformedKey && f.Detail == "rsa":
		return "malformed key record: p= is not an RSA key"
	case f.Cause == KeyRecordMalformedKey:
		return "malformed key record: p= is not an Ed25519 key of 32 octets"
	case f.Cause == KeyRecordLacksSemicolon && f.Detail == "v=":
		return "malformed key record: v=DKIM1 must be followed by a semicolon"
	case f.Cause == KeyLookupFailed && f.Detail == "":
		text = strings.TrimSuffix(text, ": DETAIL")
	}
	return strings.NewReplacer("KEY", key, "ALGORITHM", algorithm, "LOWER", strings.ToLower(f.Detail), "DETAIL", f.Detail).Replace(text)
}
