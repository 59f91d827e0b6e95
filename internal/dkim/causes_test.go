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

// Each result of the cases that is not a pass has a cause and keeps its sentence, and each cause occurs.
func TestEachCauseOccurs(t *testing.T) {
	keys := newCaseKeys(t)
	var seen []Cause
	check := func(file string, passes bool, cause Cause, reason string) {
		if passes != (cause == "") || passes != (reason == "") {
			t.Errorf("%s: pass is %v, the cause is %q, the reason %q", file, passes, cause, reason)
		}
		seen = append(seen, cause)
	}
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		parts := readCase(t, file)
		msg := keys.signAndAlter(t, []byte(unescape(string(crlf(parts["message"])))), parts["sign"], parts["alter"])
		for _, r := range verifyIn(t, msg, 1<<20, testTime(), keys.zone(t, parts["dns"])) {
			check(file, r.Status == Pass, r.Cause, r.Reason)
		}
	}
	files, _ = filepath.Glob("testdata/arc/*.txtar")
	for _, file := range files {
		parts := readCase(t, file)
		msg := []byte(unescape(string(crlf(parts["message"]))))
		for line := range strings.Lines(parts["seal"]) {
			msg = keys.sealLine(t, msg, strings.TrimSuffix(line, "\n"))
		}
		c := chainOf(t, msg, keys.zone(t, parts["dns"]))
		check(file, c.Status == Pass || c.Status == None, c.Cause, c.Reason)
	}
	for _, err := range unsignable(t) {
		var fault *Fault
		if errors.As(err, &fault) {
			seen = append(seen, fault.Cause)
		}
	}
	for _, fault := range keyRecordFaults() {
		seen = append(seen, fault.Cause)
	}
	for _, c := range Causes() {
		if !slices.Contains(seen, c) {
			t.Errorf("no case has the cause %s", c)
		}
		if !regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`).MatchString(string(c)) {
			t.Errorf("%q is not in snake case", c)
		}
	}
	for _, c := range seen {
		if c != "" && !slices.Contains(Causes(), c) {
			t.Errorf("Causes does not return %s", c)
		}
	}
	if all := slices.Sorted(slices.Values(Causes())); len(slices.Compact(all)) != len(Causes()) {
		t.Error("a cause is twice in Causes")
	}
}

// keyRecordFaults are key records that cannot be used, and why.
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

// failing is a key whose device is broken.
type failing struct{ crypto.Signer }

func (failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the device is broken")
}

// unsignable returns the errors of signing.
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

// A caller finds the cause and the detail of an error of signing, and the text names the key and what its device reports.
func TestSigningFaults(t *testing.T) {
	want := []struct {
		fault Fault
		text  string
	}{
		{Fault{TooManyFieldsToSign, "209"}, ErrTooManyFields.Error()},
		{Fault{UnsupportedKeyType, "*ecdsa.PublicKey"}, "s._domainkey.example.org: unsupported key type: *ecdsa.PublicKey"},
		{Fault{UnsupportedKeyType, "*ecdsa.PublicKey"}, "unsupported key type: *ecdsa.PublicKey"},
		{Fault{SigningFailed, "s._domainkey.example.org"}, "signing failed: s._domainkey.example.org: the device is broken"},
	}
	for i, err := range unsignable(t) {
		var fault *Fault
		if !errors.As(err, &fault) || *fault != want[i].fault || err.Error() != want[i].text {
			t.Errorf("%v (%+v), want %q (%+v)", err, fault, want[i].text, want[i].fault)
		}
	}
}
