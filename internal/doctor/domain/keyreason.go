package domain

import (
	"errors"
	"fmt"
	"strings"

	"signpost/internal/dkim"
)

// keyReason returns why a key record is not valid, for the error that dkim.ParseKeyRecord returned. The text also states how to correct
// the record.
func keyReason(err error) string {
	var f *dkim.Fault
	if !errors.As(err, &f) {
		return err.Error()
	}
	switch f.Cause {
	case dkim.KeyRecordIsHostName:
		return "the TXT record contains a host name; it must be a CNAME record"
	case dkim.KeyRecordBackslash:
		return "there is a backslash before a semicolon"
	case dkim.KeyRecordQuotes:
		return "the text itself contains quotes"
	case dkim.KeyRecordLacksSemicolon:
		return "a semicolon is missing after " + f.Detail
	case dkim.KeyRecordMisspellsSHA256:
		return "h= must contain sha256, not " + f.Detail
	case dkim.KeyRecordMisspellsType:
		return fmt.Sprintf("k= must be %s, not %s", strings.ToLower(f.Detail), f.Detail)
	case dkim.KeyRecordTooLong:
		return fmt.Sprintf("the record has %s bytes, more than %d", f.Detail, dkim.MaxKeyRecord)
	case dkim.KeyRecordTagWithoutSign:
		return "a tag has no ="
	case dkim.KeyRecordTagName:
		return "a tag name is malformed"
	case dkim.KeyRecordDuplicateTag:
		return "the tag " + f.Detail + " occurs twice"
	case dkim.KeyRecordCharacter:
		return "the tag " + f.Detail + " contains an invalid character"
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
		return "p= does not contain a valid " + f.Detail + " key"
	case dkim.KeyTooShort:
		return fmt.Sprintf("the key has %s bits, fewer than %d", f.Detail, dkim.MinRSABits)
	case dkim.KeyTooLong:
		return fmt.Sprintf("the key has %s bits, more than %d", f.Detail, dkim.MaxRSABits)
	}
	return err.Error()
}
