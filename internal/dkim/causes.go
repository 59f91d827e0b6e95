package dkim

import "strings"

// Cause is the reason why a signature or an ARC chain does not pass, a key record cannot be used, or a message cannot be signed. The log
// and JSON contain it. With spaces instead of underscores, it is an English phrase. The comment of each constant describes the Detail of
// that cause. If the comment does not mention Detail, Detail is empty.
type Cause string

// The causes of a verification. The signature field itself is well formed.
const (
	BodyHashMismatch        Cause = "body_hash_mismatch"         // the body was changed after signing
	SignatureMismatch       Cause = "signature_mismatch"         // signed header fields were changed, or the signature is from another key
	SignatureExpired        Cause = "signature_expired"          // Detail: x= (RFC 3339)
	SignatureInFuture       Cause = "signature_in_future"        // Detail: t= (RFC 3339); empty after the year 9999
	SignedLengthExceedsBody Cause = "signed_length_exceeds_body" // Detail: l=; the body is shorter
	BodyPartlySigned        Cause = "body_partly_signed"         // Detail: the number of bytes that l= leaves unsigned
	TooManySignatures       Cause = "too_many_signatures"        // Detail: the number of signatures; those over MaxSignatures are not verified
)

// The causes of the fields that carry signatures: DKIM-Signature, ARC-Message-Signature and ARC-Seal.
const (
	SignatureFieldTooLong     Cause = "signature_field_too_long" // Detail: the length of the field in bytes, which is over MaxSignatureField
	TagWithoutEqualsSign      Cause = "tag_without_equals_sign"
	MalformedTagName          Cause = "malformed_tag_name"
	DuplicateTag              Cause = "duplicate_tag"            // Detail: the tag, such as "d="
	InvalidCharacterInTag     Cause = "invalid_character_in_tag" // Detail: the tag
	EmptyTag                  Cause = "empty_tag"                // nothing between two semicolons; ARC only
	MissingTag                Cause = "missing_tag"              // Detail: the tag, which is missing or empty
	UnknownSignatureVersion   Cause = "unknown_signature_version"
	UnknownAlgorithm          Cause = "unknown_algorithm"
	ForbiddenAlgorithm        Cause = "forbidden_algorithm"      // Detail: the value of a=, which RFC 8301 forbids
	MissingCanonicalization   Cause = "missing_canonicalization" // c= has an empty part
	UnknownCanonicalization   Cause = "unknown_canonicalization"
	UnknownQueryMethod        Cause = "unknown_query_method"
	InvalidDomain             Cause = "invalid_domain"          // d=
	InvalidSelector           Cause = "invalid_selector"        // s=
	InvalidBodyHash           Cause = "invalid_body_hash"       // bh= is not the base64 of a SHA-256 hash
	InvalidSignatureValue     Cause = "invalid_signature_value" // b= is not base64
	InvalidFieldName          Cause = "invalid_field_name"      // in h=
	InvalidNumber             Cause = "invalid_number"          // Detail: the tag
	TooManySignedNames        Cause = "too_many_signed_names"   // Detail: the number of names in h=, over MaxSignedNames
	FromNotSigned             Cause = "from_not_signed"
	ExpirationNotAfterSigning Cause = "expiration_not_after_signing"  // x= is not after t=
	IdentityWithoutAtSign     Cause = "identity_without_at_sign"      // i=
	InvalidIdentityDomain     Cause = "invalid_identity_domain"       // i= does not end in a domain name
	IdentityOutsideDomain     Cause = "identity_outside_domain"       // i= is neither d= nor below it
	LowerCaseEscapeInIdentity Cause = "lower_case_escape_in_identity" // RFC 6376 section 2.11: =3D, not =3d
	BareEqualsSignInIdentity  Cause = "bare_equals_sign_in_identity"  // RFC 6376 section 2.11: =3D
)

// The causes of ARC sets. A Chain can also have the causes above. Its Field then names the field with the fault.
const (
	ForbiddenTag               Cause = "forbidden_tag"                       // Detail: the tag; h= in an ARC-Seal
	MessageSignatureCoversSeal Cause = "message_signature_covers_seal"       // RFC 8617 section 4.1.2
	InvalidChainValidation     Cause = "invalid_chain_validation"            // cv= is not none, pass or fail
	UnexpectedChainValidation  Cause = "unexpected_chain_validation"         // Detail: cv=, which must be none in the first seal and pass in all others
	SealerReportsBrokenChain   Cause = "sealer_reports_broken_chain"         // cv=fail
	TooManyARCSets             Cause = "too_many_arc_sets"                   // Detail: their number, over MaxSets
	IncompleteARCSets          Cause = "incomplete_arc_sets"                 // the three fields do not occur equally often
	MissingInstance            Cause = "missing_instance"                    // ARC-Authentication-Results does not begin with i=
	InvalidInstance            Cause = "invalid_instance"                    // i= is not a number from 1 to 50
	InstanceExceedsSets        Cause = "instance_exceeds_number_of_arc_sets" // Detail: the number of sets
	DuplicateInstance          Cause = "duplicate_instance"
)

// The causes of a key that was looked up.
const (
	KeyLookupFailed       Cause = "key_lookup_failed"   // temporary; Detail: the DNS status, if it is known
	KeyRecordMissing      Cause = "key_record_missing"  // no TXT record
	KeyRecordUnusable     Cause = "key_record_unusable" // the answer cannot be used; Detail: the DNS status
	KeyTypeMismatch       Cause = "key_type_mismatch"   // Detail: k= of the record, which does not match the key type in a=
	KeyForbidsSubIdentity Cause = "key_record_forbids_subdomain_identity"
)

// The causes of ParseKeyRecord, except typing errors.
const (
	KeyRecordTooLong        Cause = "key_record_too_long" // Detail: the length of the record in bytes, which is over MaxKeyRecord
	KeyRecordTagWithoutSign Cause = "key_record_has_tag_without_equals_sign"
	KeyRecordTagName        Cause = "key_record_has_malformed_tag_name"
	KeyRecordDuplicateTag   Cause = "key_record_has_duplicate_tag"            // Detail: the tag
	KeyRecordCharacter      Cause = "key_record_has_invalid_character_in_tag" // Detail: the tag
	KeyRecordVersion        Cause = "key_record_has_unknown_version"          // v= is not DKIM1
	KeyRecordVersionLate    Cause = "key_record_does_not_begin_with_version"  // v= is present, but not the first tag
	KeyRecordWithoutKey     Cause = "key_record_has_no_public_key"            // no p=
	KeyRevoked              Cause = "key_revoked"                             // p= is empty
	KeyRecordForbidsSHA256  Cause = "key_record_forbids_sha256"               // h=
	KeyRecordForbidsEmail   Cause = "key_record_forbids_email"                // s=
	KeyRecordUnknownType    Cause = "key_record_has_unknown_key_type"         // k=
	KeyRecordBase64         Cause = "key_record_has_invalid_base64"           // p=
	KeyRecordMalformedKey   Cause = "key_record_has_malformed_public_key"     // Detail: the type that the key should have, rsa or ed25519
	KeyTooShort             Cause = "key_too_short"                           // Detail: the size of the key in bits, which is under MinRSABits
	KeyTooLong              Cause = "key_too_long"                            // Detail: the size of the key in bits, which is over MaxRSABits
)

// The typing errors of key records: causes of ParseKeyRecord.
const (
	KeyRecordIsHostName      Cause = "key_record_is_host_name"       // it should be a CNAME
	KeyRecordBackslash       Cause = "key_record_has_backslash"      // before a semicolon
	KeyRecordQuotes          Cause = "key_record_has_quotes"         // the text of the record contains quotation marks
	KeyRecordLacksSemicolon  Cause = "key_record_lacks_semicolon"    // Detail: the tag after which the semicolon is missing
	KeyRecordMisspellsSHA256 Cause = "key_record_misspells_sha256"   // Detail: the item of h=, such as rsa-sha256 or SHA256
	KeyRecordMisspellsType   Cause = "key_record_misspells_key_type" // Detail: the value of k=, which must be in lower case
)

// The causes of messages that cannot be signed.
const (
	TooManyFieldsToSign Cause = "too_many_fields_to_sign" // Detail: the number of names in h=, over MaxSignedNames
	UnsupportedKeyType  Cause = "unsupported_key_type"    // Detail: the Go type of the public key
	SigningFailed       Cause = "signing_failed"          // Detail: the DNS name of the key
)

// Causes returns all causes.
func Causes() []Cause {
	return []Cause{
		BodyHashMismatch, SignatureMismatch, SignatureExpired, SignatureInFuture, SignedLengthExceedsBody, BodyPartlySigned, TooManySignatures,
		SignatureFieldTooLong, TagWithoutEqualsSign, MalformedTagName, DuplicateTag, InvalidCharacterInTag, EmptyTag, MissingTag,
		UnknownSignatureVersion, UnknownAlgorithm, ForbiddenAlgorithm, MissingCanonicalization, UnknownCanonicalization, UnknownQueryMethod,
		InvalidDomain, InvalidSelector, InvalidBodyHash, InvalidSignatureValue, InvalidFieldName, InvalidNumber, TooManySignedNames,
		FromNotSigned, ExpirationNotAfterSigning, IdentityWithoutAtSign, InvalidIdentityDomain, IdentityOutsideDomain,
		LowerCaseEscapeInIdentity, BareEqualsSignInIdentity,
		ForbiddenTag, MessageSignatureCoversSeal, InvalidChainValidation, UnexpectedChainValidation, SealerReportsBrokenChain,
		TooManyARCSets, IncompleteARCSets, MissingInstance, InvalidInstance, InstanceExceedsSets, DuplicateInstance,
		KeyLookupFailed, KeyRecordMissing, KeyRecordUnusable, KeyTypeMismatch, KeyForbidsSubIdentity, KeyRecordTooLong,
		KeyRecordTagWithoutSign, KeyRecordTagName, KeyRecordDuplicateTag, KeyRecordCharacter, KeyRecordVersion, KeyRecordVersionLate,
		KeyRecordWithoutKey, KeyRevoked, KeyRecordForbidsSHA256, KeyRecordForbidsEmail, KeyRecordUnknownType, KeyRecordBase64,
		KeyRecordMalformedKey, KeyTooShort, KeyTooLong,
		KeyRecordIsHostName, KeyRecordBackslash, KeyRecordQuotes, KeyRecordLacksSemicolon, KeyRecordMisspellsSHA256, KeyRecordMisspellsType,
		TooManyFieldsToSign, UnsupportedKeyType, SigningFailed,
	}
}

// Fault is an error with a cause.
type Fault struct {
	Cause  Cause
	Detail string // one value; the comment of the Cause describes it
}

// Error returns the cause as a phrase, and the detail.
func (f *Fault) Error() string {
	words := strings.ReplaceAll(string(f.Cause), "_", " ")
	if f.Detail == "" {
		return words
	}
	return words + ": " + f.Detail
}

// maxTagDetail is the maximum length in bytes of a tag name in a Detail. Longer names are cut. Registered tag names have one or two bytes.
const maxTagDetail = 32

// tagFault returns a fault whose detail is a tag.
func tagFault(c Cause, name string) *Fault {
	return &Fault{Cause: c, Detail: name[:min(len(name), maxTagDetail)] + "="}
}
