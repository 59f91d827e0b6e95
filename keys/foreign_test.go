package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
)

// An Ed25519 key of rspamd is base64 of the seed, which may be followed by the public key. Other keys may be base64 of DER. A public key that
// does not belong to the seed, and base64 that is no key, are errors without a byte of the key.
func TestForeignBase64(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw   []byte
		valid bool
	}{
		"seed":                     {private.Seed(), true},
		"seed and public key":      {private, true},
		"DER":                      {der, true},
		"another public key":       {append(private.Seed(), make([]byte, 32)...), false},
		"neither Ed25519 nor DER":  {make([]byte, 48), false},
		"the public key by itself": {append([]byte{0}, public...), false},
	} {
		text := base64.StdEncoding.EncodeToString(c.raw)
		signer, err := Foreign{Source: "here", Text: text + "\r\n"}.Private()
		if (err == nil) != c.valid || c.valid && !public.Equal(signer.Public()) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), "here: ") || strings.Contains(err.Error(), text[:8])) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
