package dkim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each cause is in snake case, and occurs in a test case or in a test of this file.
func TestCauses(t *testing.T) {
	seen := map[Cause]bool{}
	for _, dir := range []string{"testdata", "testdata/arc"} {
		files, err := filepath.Glob(dir + "/*.txtar")
		if err != nil || len(files) == 0 {
			t.Fatal("no cases", err)
		}
		for _, file := range files {
			for line := range strings.Lines(readCase(t, file)["want"]) {
				if _, words, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
					cause, _, _ := strings.Cut(words, " ")
					seen[Cause(cause)] = true
				}
			}
		}
	}
	for _, fault := range keyRecordFaults() {
		seen[fault.Cause] = true
	}
	for _, fault := range signingFaults() {
		seen[fault.Fault.Cause] = true
	}
	word := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	for _, c := range Causes() {
		if !seen[c] {
			t.Errorf("%s is twice in Causes, or in no case", c)
		}
		if delete(seen, c); !word.MatchString(string(c)) {
			t.Errorf("%q is not in snake case", c)
		}
	}
	for c := range seen {
		t.Errorf("Causes does not return %s", c)
	}
}

// keyRecordFaults returns key records that cannot be used, and their faults.
func keyRecordFaults() map[string]Fault {
	return map[string]Fault{
		"v=DKIM1; k=rsa; hello":                {KeyRecordTagWithoutSign, ""},
		"v=DKIM1; 1k=rsa; p=AAAA":              {KeyRecordTagName, ""},
		"v=DKIM1; p=AAAA; p=AAAA":              {KeyRecordDuplicateTag, "p="},
		"v=DKIM1; n=\x01; p=AAAA":              {KeyRecordCharacter, "n="},
		"v=DKIM2; p=AAAA":                      {KeyRecordVersion, ""},
		"k=rsa; v=DKIM1; p=AAAA":               {KeyRecordVersionLate, ""},
		"v=DKIM1; k=rsa":                       {KeyRecordWithoutKey, ""},
		"v=DKIM1; p=":                          {KeyRevoked, ""},
		"v=DKIM1; h=sha1; p=AAAA":              {KeyRecordForbidsSHA256, ""},
		"v=DKIM1; h=sha1 : RSA-SHA256; p=AAAA": {KeyRecordMisspellsSHA256, "RSA-SHA256"},
		"v=DKIM1; s=tlsrpt; p=AAAA":            {KeyRecordForbidsEmail, ""},
		"v=DKIM1; k=dsa; p=AAAA":               {KeyRecordUnknownType, ""},
		"v=DKIM1; k=RSA; p=AAAA":               {KeyRecordMisspellsType, "RSA"},
		"v=DKIM1; p=?":                         {KeyRecordBase64, ""},
		"v=DKIM1; p=AAAA":                      {KeyRecordMalformedKey, "rsa"},
		"v=DKIM1; k=ed25519; p=AAAA":           {KeyRecordMalformedKey, "ed25519"},
		"s1.domainkey.provider.example.":       {KeyRecordIsHostName, ""},
		`v=DKIM1\; p=AAAA`:                     {KeyRecordBackslash, ""},
		`"v=DKIM1; p=AAAA"`:                    {KeyRecordQuotes, ""},
		"v=DKIM1 k=rsa; p=AAAA":                {KeyRecordLacksSemicolon, "v="},
		"v=DKIM1; k=rsa p=AAAA":                {KeyRecordLacksSemicolon, "k="},
		"v=DKIM1; p=AAAA; " + strings.Repeat("x", 40) + "=; " + strings.Repeat("x", 40) + "=": {KeyRecordDuplicateTag, strings.Repeat("x", 32) + "="},
	}
}

func TestKeyRecordFaults(t *testing.T) {
	for txt, want := range keyRecordFaults() {
		_, err := ParseKeyRecord(txt)
		var fault *Fault
		if !errors.As(err, &fault) || *fault != want {
			t.Errorf("%s: %v, want %+v", txt, err, want)
		}
	}
	_, err := ParseKeyRecord("v=DKIM1; k=rsa p=AAAA")
	if want := "key record lacks semicolon: k="; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

// failing is a key that cannot sign.
type failing struct{ crypto.Signer }

func (failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the device is broken")
}

// unsignable returns the errors that signing can return.
func unsignable(t *testing.T) []error {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from := Field{"From", " a@example.org"}
	_, many := NewSigner(slices.Repeat([]Field{from}, MaxSignedNames+1), nil, testTime(), 0)
	_, unsupported := NewSigner([]Field{from}, []Key{{"example.org", "s", ec}}, testTime(), 0)
	_, record := FormatKeyRecord(ec.Public())
	s, err := NewSigner([]Field{from}, []Key{{"example.org", "s", failing{newKeys(t).ed}}}, testTime(), 0)
	if err != nil {
		t.Fatal(err)
	}
	_, broken := s.Sign()
	return []error{many, unsupported, record, broken}
}

type signingFault struct {
	Fault
	text string
}

// signingFaults are those of unsignable.
func signingFaults() []signingFault {
	return []signingFault{
		{Fault{TooManyFieldsToSign, "209"}, "too many fields to sign: 209"},
		{Fault{UnsupportedKeyType, "*ecdsa.PublicKey"}, "s._domainkey.example.org: unsupported key type: *ecdsa.PublicKey"},
		{Fault{UnsupportedKeyType, "*ecdsa.PublicKey"}, "unsupported key type: *ecdsa.PublicKey"},
		{Fault{SigningFailed, "s._domainkey.example.org"}, "signing failed: s._domainkey.example.org: the device is broken"},
	}
}

// A signing error has a cause and a detail. Its text names the key and contains the error of the key's device.
func TestSigningFaults(t *testing.T) {
	for i, want := range signingFaults() {
		err := unsignable(t)[i]
		var fault *Fault
		if !errors.As(err, &fault) || *fault != want.Fault || err.Error() != want.text {
			t.Errorf("%v (%+v), want %q (%+v)", err, fault, want.text, want.Fault)
		}
	}
}
