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
	"strconv"
	"strings"

	"signpost/internal/domain"
)

// KeyRecord is a parsed key record: RFC 6376 section 3.6.1.
type KeyRecord struct {
	Type    string // k=: "rsa" or "ed25519"
	Bits    int
	Testing bool // t=y
	Strict  bool // t=s: the domain of i= must be equal to d=
	public  crypto.PublicKey
}

// ParseKeyRecord parses a TXT record whose strings are joined. The error is a *Fault.
func ParseKeyRecord(txt string) (*KeyRecord, error) {
	k, fault := parseKeyRecord(txt, "email")
	if fault != nil {
		return nil, fault
	}
	return k, nil
}

// parseKeyRecord parses the record of a key that is used for a service (s=).
func parseKeyRecord(txt, service string) (*KeyRecord, *Fault) {
	if len(txt) > MaxKeyRecord {
		return nil, &Fault{KeyRecordTooLong, strconv.Itoa(len(txt))}
	}
	tags, fault := parseTags(txt)
	if fault != nil {
		return nil, mistyped(txt, nil, ofKeyRecord(fault))
	}
	// v= is optional. If present, it is the first tag and its value is DKIM1.
	if v, ok := tags["v"]; ok {
		first, _, _ := strings.Cut(txt, "=")
		switch {
		case v != "DKIM1":
			return nil, mistyped(txt, tags, &Fault{Cause: KeyRecordVersion})
		case strings.Trim(first, fws) != "v":
			return nil, mistyped(txt, tags, &Fault{Cause: KeyRecordVersionLate})
		}
	}
	p, ok := tags["p"]
	if !ok {
		return nil, mistyped(txt, tags, &Fault{Cause: KeyRecordWithoutKey})
	}
	if p == "" {
		return nil, &Fault{Cause: KeyRevoked}
	}
	if h, ok := tags["h"]; ok && !listHas(h, "sha256") {
		return nil, mistyped(txt, tags, wrongHash(h))
	}
	if s, ok := tags["s"]; ok && !listHas(s, "*", service) {
		return nil, mistyped(txt, tags, &Fault{Cause: KeyRecordForbidsEmail})
	}
	k := &KeyRecord{Type: "rsa", Testing: listHas(tags["t"], "y"), Strict: listHas(tags["t"], "s")}
	if t, ok := tags["k"]; ok {
		// Values are case-sensitive (section 3.2), and other verifiers reject k=RSA too.
		if k.Type = t; t != "rsa" && t != "ed25519" {
			return nil, mistyped(txt, tags, unknownType(t))
		}
	}
	data, err := decodeBase64(p)
	if err != nil {
		return nil, mistyped(txt, tags, &Fault{Cause: KeyRecordBase64})
	}
	if fault := k.setPublic(data); fault != nil {
		return nil, fault
	}
	return k, nil
}

// ofKeyRecord converts a fault of parseTags to the corresponding fault of a key record.
func ofKeyRecord(f *Fault) *Fault {
	cause := KeyRecordTagName
	switch f.Cause {
	case TagWithoutEqualsSign:
		cause = KeyRecordTagWithoutSign
	case DuplicateTag:
		cause = KeyRecordDuplicateTag
	case InvalidCharacterInTag:
		cause = KeyRecordCharacter
	}
	return &Fault{cause, f.Detail}
}

func unknownType(k string) *Fault {
	if lower := strings.ToLower(k); lower == "rsa" || lower == "ed25519" {
		return &Fault{KeyRecordMisspellsType, k}
	}
	return &Fault{Cause: KeyRecordUnknownType}
}

// wrongHash returns the fault of an h= without sha256. Some owners write a signature algorithm, such as rsa-sha256, or use capitals.
func wrongHash(h string) *Fault {
	for item := range strings.SplitSeq(h, ":") {
		if item = trimFWS(item); strings.TrimPrefix(strings.ToLower(item), "rsa-") == "sha256" {
			return &Fault{KeyRecordMisspellsSHA256, item}
		}
	}
	return &Fault{Cause: KeyRecordForbidsSHA256}
}

// mistyped returns the typing error in the record that caused fault. If it finds no typing error, it returns fault. tags is nil if the
// record is not a list of tags.
func mistyped(txt string, tags map[string]string, fault *Fault) *Fault {
	host := strings.TrimSuffix(trimFWS(txt), ".")
	if _, err := domain.Parse(host); err == nil && strings.Contains(host, ".") {
		return &Fault{Cause: KeyRecordIsHostName}
	}
	if strings.Contains(txt, `\;`) {
		return &Fault{Cause: KeyRecordBackslash}
	}
	if quoted(txt) || strings.Contains(tags["p"], `"`) {
		return &Fault{Cause: KeyRecordQuotes}
	}
	if rest, ok := strings.CutPrefix(tags["v"], "DKIM1"); ok && rest != "" {
		return tagFault(KeyRecordLacksSemicolon, "v")
	}
	for _, name := range []string{"h", "k", "s", "t"} {
		if words := strings.Fields(tags[name]); len(words) > 1 && len(words[1]) > 1 && words[1][1] == '=' {
			return tagFault(KeyRecordLacksSemicolon, name)
		}
	}
	return fault
}

func quoted(txt string) bool {
	txt = trimFWS(txt)
	return strings.HasPrefix(txt, `"`) || strings.HasSuffix(txt, `"`)
}

func (k *KeyRecord) setPublic(data []byte) *Fault {
	switch k.Type {
	case "ed25519":
		// RFC 8463 section 4.2: the 32 bytes of the key, without ASN.1.
		if len(data) != ed25519.PublicKeySize {
			return &Fault{KeyRecordMalformedKey, k.Type}
		}
		k.public, k.Bits = ed25519.PublicKey(data), 256
		return nil
	default:
		key, err := parseRSA(data)
		if err != nil {
			return &Fault{KeyRecordMalformedKey, k.Type}
		}
		k.public, k.Bits = key, key.N.BitLen()
		if k.Bits < MinRSABits {
			return &Fault{KeyTooShort, strconv.Itoa(k.Bits)}
		}
		if k.Bits > MaxRSABits {
			return &Fault{KeyTooLong, strconv.Itoa(k.Bits)}
		}
		return nil
	}
}

// parseRSA parses the two forms in use: SubjectPublicKeyInfo, and the bare RSAPublicKey of section 3.6.1 (erratum 3017). RFC 3279 section
// 2.3.1 requires NULL parameters in SubjectPublicKeyInfo. Some key generators omit them. Such a record is accepted, because the key is
// the same and OpenSSL accepts it.
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

// FormatKeyRecord returns the TXT record of a public key, *rsa.PublicKey or ed25519.PublicKey.
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
	return "", &Fault{UnsupportedKeyType, fmt.Sprintf("%T", public)}
}

// Equal reports whether two records have the same public key.
func (k *KeyRecord) Equal(other *KeyRecord) bool {
	type comparer interface{ Equal(crypto.PublicKey) bool }
	p, ok := k.public.(comparer)
	return ok && p.Equal(other.public)
}
