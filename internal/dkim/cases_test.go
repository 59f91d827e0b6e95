package dkim

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"signpost/internal/conformance"
)

// splitMessage splits a message with CRLF line ends into fields and body.
func splitMessage(t testing.TB, msg []byte) ([]Field, []byte) {
	t.Helper()
	header, body, ok := bytes.Cut(msg, []byte("\r\n\r\n"))
	if !ok {
		t.Fatal("the message has no empty line")
	}
	var fields []Field
	for line := range strings.SplitSeq(string(header), "\r\n") {
		if line[0] == ' ' || line[0] == '\t' {
			fields[len(fields)-1].Value += "\r\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, Field{name, value})
	}
	return fields, body
}

func crlf(s string) []byte { return []byte(CRLF(s)) }

func notFound(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// zone answers lookups from a map, as Results expects.
func zone(records map[string]string) func(string) ([]string, error) {
	return func(name string) ([]string, error) {
		if txt, ok := records[name]; ok {
			return []string{txt}, nil
		}
		return nil, notFound(name)
	}
}

// verifyIn verifies a message whose body is written in parts of n bytes.
func verifyIn(t testing.TB, msg []byte, n int, now time.Time, key func(string) ([]string, error)) []Result {
	t.Helper()
	fields, body := splitMessage(t, msg)
	v := NewVerifier(fields, nil)
	for len(body) > 0 {
		k := min(n, len(body))
		v.Write(body[:k])
		body = body[k:]
	}
	return v.Results(now, key)
}

// Each file of testdata has a message, its signatures and later changes, the key records in DNS, and a line for the result of each
// signature. testdata/README.md describes the format. A new case needs no Go code.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	conformance.Add(t, "cases-dkim", "DKIM: %d cases of signatures, key records and canonicalization (internal/dkim/testdata).", len(files))
	keys := newCaseKeys(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			parts := readCase(t, file)
			msg := keys.signAndAlter(t, []byte(unescape(string(crlf(parts["message"])))), parts["sign"], parts["alter"])
			for _, n := range []int{1, 7, 1 << 20} {
				var got strings.Builder
				for _, r := range verifyIn(t, msg, n, testTime(), keys.zone(t, parts["dns"])) {
					got.WriteString(resultLine(r))
				}
				if got.String() != parts["want"] {
					t.Fatalf("in pieces of %d:\ngot:\n%swant:\n%s", n, got.String(), parts["want"])
				}
			}
		})
	}
}

// readCase returns the parts of a case by name.
func readCase(t *testing.T, file string) map[string]string {
	t.Helper()
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(ar.Comment)) == 0 {
		t.Error("the case does not state its purpose")
	}
	parts := map[string]string{"message": letter}
	for _, f := range ar.Files {
		parts[f.Name] = string(f.Data)
	}
	return parts
}

// resultLine returns a result in the form of the want part, with "-" for an empty value.
func resultLine(r Result) string {
	words := []string{string(r.Status), r.Domain, r.Selector, r.Algorithm, strconv.Itoa(r.KeyBits)}
	for i, w := range words {
		if w == "" {
			words[i] = "-"
		}
	}
	line := strings.Join(words, " ")
	if r.Testing {
		line += " testing"
	}
	if r.Cause != "" {
		line += ": " + causeWords(r.Cause, r.Detail)
	}
	return line + "\n"
}

// causeWords returns a cause and its detail as in the want parts.
func causeWords(c Cause, detail string) string {
	return strings.TrimSuffix(string(c)+" "+detail, " ")
}

// caseKeys are the keys that the cases sign with, and another RSA key that does not sign. The key short has 1024 bits.
type caseKeys struct {
	testKeys
	other, short *rsa.PrivateKey
}

func newCaseKeys(t *testing.T) caseKeys {
	short, err := rsa.GenerateKey(rand.Reader, MinRSABits)
	if err != nil {
		t.Fatal(err)
	}
	return caseKeys{newKeys(t), newKeys(t).rsa, short}
}

// signAndAlter adds a signature on top for each line of sign. The signature of the first line is the topmost. Then it makes the
// replacements of alter, each at the first match.
func (k caseKeys) signAndAlter(t *testing.T, msg []byte, sign, alter string) []byte {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(sign, "\n"), "\n")
	plain := msg
	for i := len(lines) - 1; i >= 0; i-- {
		if lines[i] == "" {
			continue
		}
		var signer crypto.Signer = k.rsa
		if strings.Contains(lines[i], "ed25519") {
			signer = k.ed
		}
		signed := forge(t, plain, signer, unescape(lines[i]))
		msg = append(signed[:len(signed)-len(plain):len(signed)-len(plain)], msg...)
	}
	for line := range strings.Lines(alter) {
		msg = replaceFirst(t, msg, strings.TrimSuffix(line, "\n"))
	}
	return msg
}

// replaceFirst makes one replacement, written OLD ==> NEW, at the first OLD.
func replaceFirst(t *testing.T, msg []byte, line string) []byte {
	t.Helper()
	from, to, ok := strings.Cut(line, " ==> ")
	from, to = unescape(from), unescape(to)
	if !ok || !bytes.Contains(msg, []byte(from)) {
		t.Fatalf("%q does not match the message", line)
	}
	return bytes.Replace(msg, []byte(from), []byte(to), 1)
}

// zone parses the dns part: a line is a name and the text of one record, or a failure.
func (k caseKeys) zone(t *testing.T, text string) func(string) ([]string, error) {
	t.Helper()
	records, failures := map[string][]string{}, map[string]error{}
	for line := range strings.Lines(text) {
		name, txt, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch txt {
		case "!temporary":
			failures[name] = &net.DNSError{Err: "timeout", Name: name, IsTemporary: true}
		case "!useless":
			failures[name] = &net.DNSError{Err: "too_much_text", Name: name}
		default:
			records[name] = append(records[name], k.fill(t, unescape(txt)))
		}
	}
	return func(name string) ([]string, error) {
		if err := failures[name]; err != nil {
			return nil, err
		}
		if all, ok := records[name]; ok {
			return all, nil
		}
		return nil, notFound(name)
	}
}

// fill replaces $RSA, $RSA-BARE, $RSA-NO-NULL, $ED, $ED-UNPADDED, $OTHER and $SHORT with public keys. It replaces $RSA-512 and the like
// with public keys that have no private key.
func (k caseKeys) fill(t *testing.T, txt string) string {
	t.Helper()
	txt = regexp.MustCompile(`\$RSA-(\d+)`).ReplaceAllStringFunc(txt, func(s string) string {
		bits, _ := strconv.Atoi(s[len("$RSA-"):])
		n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
		return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: n, E: 65537}))
	})
	public := func(signer crypto.Signer) string {
		_, p, _ := strings.Cut(record(t, signer), "p=")
		return p
	}
	bare := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey))
	return strings.NewReplacer("$RSA-BARE", bare, "$RSA-NO-NULL", withoutNull(t, &k.rsa.PublicKey), "$RSA", public(k.rsa),
		"$ED-UNPADDED", strings.TrimRight(public(k.ed), "="), "$ED", public(k.ed), "$OTHER", public(k.other), "$SHORT", public(k.short)).Replace(txt)
}

// withoutNull encodes an RSA key as SubjectPublicKeyInfo whose algorithm has no parameters.
func withoutNull(t *testing.T, key *rsa.PublicKey) string {
	t.Helper()
	bare := x509.MarshalPKCS1PublicKey(key)
	der, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}}, asn1.BitString{Bytes: bare, BitLength: 8 * len(bare)}})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// unescape replaces escapes: {x00} is a byte, {nl} a CRLF, {3*ab} is ababab, and {cut} removes the line end that follows it.
func unescape(s string) string {
	s = strings.NewReplacer("{nl}", "{x0D}{x0A}", "{cut}\r\n", "").Replace(s)
	s = regexp.MustCompile(`\{(\d+)\*([^*}]*(?:\{[^}]*\}[^*}]*)*)\}`).ReplaceAllStringFunc(s, func(m string) string {
		n, text, _ := strings.Cut(m[1:len(m)-1], "*")
		times, _ := strconv.Atoi(n)
		return strings.Repeat(text, times)
	})
	return regexp.MustCompile(`\{x[0-9A-F]{2}\}`).ReplaceAllStringFunc(s, func(m string) string {
		var c byte
		_, _ = fmt.Sscanf(m, "{x%02X}", &c)
		return string([]byte{c})
	})
}
