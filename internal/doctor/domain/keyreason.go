package domain

import (
	"errors"

	"signpost/internal/dkim"
	"signpost/policy"
)

// keyReason returns why a key record is not valid, for the error that dkim.ParseKeyRecord returned.
func keyReason(err error) string {
	if f, ok := errors.AsType[*dkim.Fault](err); ok {
		if text := policy.KeyRecordText(f.Cause, f.Detail); text != "" {
			return text
		}
	}
	return err.Error()
}
