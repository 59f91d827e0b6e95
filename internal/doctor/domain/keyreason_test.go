package domain

import (
	"testing"

	"signpost/internal/dkim"
)

// For common typing errors in key records, the text states the correction.
func TestKeyReason(t *testing.T) {
	for text, want := range map[string]string{
		`v=DKIM1\; k=rsa\; p=AAAA`:       "there is a backslash before a semicolon",
		"v=DKIM1 k=rsa; p=AAAA":          "a semicolon is missing after the tag v=",
		`"v=DKIM1; k=rsa; p=AAAA"`:       "the text itself contains quotes",
		"k2.dkim.mailer.example":         "the TXT record contains a host name; it must be a CNAME record",
		"v=DKIM1; h=rsa-sha256; p=AAAA":  "h= must contain sha256, not rsa-sha256",
		"v=DKIM1; k=RSA; p=AAAA":         "k= must be rsa, not RSA",
		"v=DKIM1; k=dsa; p=AAAA":         "k= must be rsa or ed25519",
		"v=DKIM1; k=rsa; p=!":            "p= is not valid base64",
		"v=DKIM1; k=rsa; p=AAAA":         "p= does not contain a valid rsa key",
		"v=DKIM1; k=rsa; k=rsa; p=AAAA":  "the tag k= occurs twice",
		"v=DKIM2; p=AAAA":                "v= must be DKIM1",
		"k=rsa; v=DKIM1; p=AAAA":         "v=DKIM1 must be the first tag",
		"v=DKIM1; k=rsa":                 "p= is missing",
		"v=DKIM1; p=":                    "the key is revoked (empty p=)",
		"v=DKIM1; s=other; h=*; p=AAAA":  "h= does not allow sha256",
		"v=DKIM1; s=other; p=AAAA":       "s= does not allow email",
		"v=DKIM1; nothing; k=rsa; p=AAA": "a tag has no =",
	} {
		if _, err := dkim.ParseKeyRecord(text); err == nil || keyReason(err) != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
