package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// KeyRecord is a public key as DNS gives it: RFC 6376 section 3.6.1.
type KeyRecord struct {
	Type    string // k=: "rsa" or "ed25519"
	Bits    int
	Testing bool // t=y
	Strict  bool // t=s: the domain of i= must be d= itself
	public  crypto.PublicKey
}

// ParseKeyRecord reads a TXT record, its strings joined. The error says what is wrong in words for the domain's owner.
func ParseKeyRecord(txt string) (*KeyRecord, error) {
	if len(txt) > MaxKeyRecord {
		return nil, fmt.Errorf("the key record is longer than %d octets", MaxKeyRecord)
	}
	tags, err := parseTags(txt)
	if err != nil {
		return nil, fmt.Errorf("malformed key record: %w", err)
	}
	// v= is optional; where it stands, it stands first and says DKIM1.
	if v, ok := tags["v"]; ok {
		first, _, _ := strings.Cut(txt, "=")
		if v != "DKIM1" || strings.Trim(first, fws) != "v" {
			return nil, errors.New("malformed key record: it does not begin with v=DKIM1")
		}
	}
	p, ok := tags["p"]
	if !ok {
		return nil, errors.New("malformed key record: p= is missing")
	}
	if p == "" {
		return nil, errors.New("the key was revoked (empty p=)")
	}
	if h, ok := tags["h"]; ok && !listHas(h, "sha256") {
		return nil, errors.New("the key record's h= does not allow sha256")
	}
	if s, ok := tags["s"]; ok && !listHas(s, "*", "email") {
		return nil, errors.New("the key record's s= does not allow email")
	}
	k := &KeyRecord{Type: "rsa", Testing: listHas(tags["t"], "y"), Strict: listHas(tags["t"], "s")}
	if t, ok := tags["k"]; ok {
		k.Type = strings.ToLower(t)
	}
	data, err := decodeBase64(p)
	if err != nil {
		return nil, errors.New("malformed key record: p= is not base64")
	}
	return k, k.setPublic(data)
}

func (k *KeyRecord) setPublic(data []byte) error {
	switch k.Type {
	case "ed25519":
		// RFC 8463 section 4.2: the 32 octets themselves, not wrapped in ASN.1.
		if len(data) != ed25519.PublicKeySize {
			return errors.New("malformed key record: p= is not an Ed25519 key of 32 octets")
		}
		k.public, k.Bits = ed25519.PublicKey(data), 256
		return nil
	case "rsa":
		key, err := parseRSA(data)
		if err != nil {
			return errors.New("malformed key record: p= is not an RSA key")
		}
		k.public, k.Bits = key, key.N.BitLen()
		if k.Bits < MinRSABits {
			return fmt.Errorf("the RSA key has %d bits; less than %d must not be used (RFC 8301)", k.Bits, MinRSABits)
		}
		if k.Bits > MaxRSABits {
			return fmt.Errorf("the RSA key has %d bits, more than the %d that are accepted", k.Bits, MaxRSABits)
		}
		return nil
	}
	return errors.New("the key record's k= names an unknown key type")
}

// parseRSA takes both forms that are in use: SubjectPublicKeyInfo, and the RSAPublicKey that section 3.6.1 speaks of
// (erratum 3017).
func parseRSA(data []byte) (*rsa.PublicKey, error) {
	if key, err := x509.ParsePKIXPublicKey(data); err == nil {
		if r, ok := key.(*rsa.PublicKey); ok {
			return r, nil
		}
		return nil, errors.New("not an RSA key")
	}
	return x509.ParsePKCS1PublicKey(data)
}

// verify checks a signature over the SHA-256 sum of the canonical header.
func (k *KeyRecord) verify(sum [sha256.Size]byte, sig []byte) bool {
	switch key := k.public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig) == nil
	case ed25519.PublicKey:
		// RFC 8463 section 3: PureEdDSA over the hash.
		return ed25519.Verify(key, sum[:], sig)
	}
	return false
}

// FormatKeyRecord is the TXT record for a public key, *rsa.PublicKey or ed25519.PublicKey.
func FormatKeyRecord(public crypto.PublicKey) (string, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return "", fmt.Errorf("encoding an RSA public key: %w", err)
		}
		return "v=DKIM1; k=rsa; h=sha256; p=" + base64.StdEncoding.EncodeToString(der), nil
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; h=sha256; p=" + base64.StdEncoding.EncodeToString(key), nil
	}
	return "", fmt.Errorf("a %T is no DKIM key", public)
}

// Equal says whether two records are of the same key.
func (k *KeyRecord) Equal(other *KeyRecord) bool {
	type comparer interface{ Equal(crypto.PublicKey) bool }
	p, ok := k.public.(comparer)
	return ok && p.Equal(other.public)
}
