package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"signpost/internal/domain"
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
		return nil, fmt.Errorf("malformed key record: %w", mistyped(txt, nil, err))
	}
	// v= is optional. If present, it is the first tag and its value is DKIM1.
	if v, ok := tags["v"]; ok {
		first, _, _ := strings.Cut(txt, "=")
		if v != "DKIM1" || strings.Trim(first, fws) != "v" {
			return nil, fmt.Errorf("malformed key record: %w", mistyped(txt, tags, errors.New("it does not begin with v=DKIM1")))
		}
	}
	p, ok := tags["p"]
	if !ok {
		return nil, fmt.Errorf("malformed key record: %w", mistyped(txt, tags, errors.New("p= is missing")))
	}
	if p == "" {
		return nil, errors.New("the key was revoked (empty p=)")
	}
	if h, ok := tags["h"]; ok && !listHas(h, "sha256") {
		return nil, mistyped(txt, tags, wrongHash(h))
	}
	if s, ok := tags["s"]; ok && !listHas(s, "*", "email") {
		return nil, mistyped(txt, tags, errors.New("the key record's s= does not allow email"))
	}
	k := &KeyRecord{Type: "rsa", Testing: listHas(tags["t"], "y"), Strict: listHas(tags["t"], "s")}
	if t, ok := tags["k"]; ok {
		// Values are case-sensitive (section 3.2), and other verifiers refuse k=RSA too.
		if k.Type = t; t != "rsa" && t != "ed25519" {
			return nil, mistyped(txt, tags, unknownType(t))
		}
	}
	data, err := decodeBase64(p)
	if err != nil {
		return nil, fmt.Errorf("malformed key record: %w", mistyped(txt, tags, errors.New("p= is not base64")))
	}
	return k, k.setPublic(data)
}

func unknownType(k string) error {
	if lower := strings.ToLower(k); lower == "rsa" || lower == "ed25519" {
		return fmt.Errorf("the key record's k= must be %s in lower case (RFC 6376 section 3.2)", lower)
	}
	return errors.New("the key record's k= names an unknown key type")
}

// wrongHash names what owners write into h= instead of sha256: the algorithm of a signature, or other case.
func wrongHash(h string) error {
	for item := range strings.SplitSeq(h, ":") {
		if item = trimFWS(item); strings.TrimPrefix(strings.ToLower(item), "rsa-") == "sha256" {
			return fmt.Errorf("the key record's h= must contain sha256, not %s", item)
		}
	}
	return errors.New("the key record's h= does not allow sha256")
}

// mistyped returns the typing error that the record shows and that caused fault. Otherwise it returns fault. tags is nil
// where the record is not a list of tags.
func mistyped(txt string, tags map[string]string, fault error) error {
	host := strings.TrimSuffix(trimFWS(txt), ".")
	if _, err := domain.Parse(host); err == nil && strings.Contains(host, ".") {
		return errors.New("it is a host name; to refer to a record elsewhere, publish a CNAME instead of TXT")
	}
	if strings.Contains(txt, `\;`) {
		return errors.New("it has a backslash before a semicolon")
	}
	if quoted(txt) || strings.Contains(tags["p"], `"`) {
		return errors.New("the text contains quotes of its own")
	}
	if rest, ok := strings.CutPrefix(tags["v"], "DKIM1"); ok && rest != "" {
		return errors.New("v=DKIM1 must be followed by a semicolon")
	}
	for _, name := range []string{"h", "k", "s", "t"} {
		if words := strings.Fields(tags[name]); len(words) > 1 && len(words[1]) > 1 && words[1][1] == '=' {
			return fmt.Errorf("a semicolon is missing after %s=", name)
		}
	}
	return fault
}

func quoted(txt string) bool {
	txt = trimFWS(txt)
	return strings.HasPrefix(txt, `"`) || strings.HasSuffix(txt, `"`)
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
	default:
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
}

// parseRSA parses the forms that are in use: SubjectPublicKeyInfo, and the bare RSAPublicKey of section 3.6.1 (erratum
// 3017). RFC 3279 section 2.3.1 requires NULL parameters in the former; some key generators omit them, which changes
// nothing about the key, and OpenSSL accepts it.
func parseRSA(data []byte) (*rsa.PublicKey, error) {
	if key, err := x509.ParsePKIXPublicKey(data); err == nil {
		if r, ok := key.(*rsa.PublicKey); ok {
			return r, nil
		}
		return nil, errors.New("not an RSA key")
	}
	if key, err := x509.ParsePKCS1PublicKey(data); err == nil {
		return key, nil
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	rest, err := asn1.Unmarshal(data, &info)
	rsaEncryption := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	if err != nil || len(rest) > 0 || !info.Algorithm.Algorithm.Equal(rsaEncryption) || len(info.Algorithm.Parameters.FullBytes) > 0 || info.Key.BitLength%8 != 0 {
		return nil, errors.New("not an RSA key")
	}
	return x509.ParsePKCS1PublicKey(info.Key.Bytes)
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
