package testdkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
)

// Sealer puts ARC sets (RFC 8617 section 5.1) on messages, for tests alone: Signpost seals nothing. It has its own
// canonicalisation, so that one mistake is not made twice.
type Sealer struct {
	Domain, Selector string
	Signer           crypto.Signer // RSA or Ed25519
	Results          string        // what stands behind "i=N;" in ARC-Authentication-Results
	Headers          string        // h=; empty: From:To:Subject:Date
	CV               string        // empty: none for the first set, pass for the others
	Instance         string        // empty: one more than there are seals
	MessageTags      string        // further tags of ARC-Message-Signature, each with its semicolon
	SealTags         string        // further tags of ARC-Seal
}

// Seal gives a message with CRLF line ends and a set on top of it.
func (s Sealer) Seal(msg []byte) ([]byte, error) {
	header, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	fields := regexp.MustCompile(`\r\n([^ \t])`).Split(string(header), -1)
	starts := regexp.MustCompile(`\r\n([^ \t])`).FindAllStringSubmatch(string(header), -1)
	for i := range starts {
		fields[i+1] = starts[i][1] + fields[i+1]
	}
	sets := 0
	for _, f := range fields {
		if fieldName(f) == "arc-seal" {
			sets++
		}
	}
	i, cv := fmt.Sprint(sets+1), "pass"
	if sets == 0 {
		cv = "none"
	}
	if s.Instance != "" {
		i = s.Instance
	}
	if s.CV != "" {
		cv = s.CV
	}
	h := s.Headers
	if h == "" {
		h = "From:To:Subject:Date"
	}
	algorithm, hash := "rsa-sha256", crypto.SHA256
	if _, ok := s.Signer.(ed25519.PrivateKey); ok {
		algorithm, hash = "ed25519-sha256", 0
	}
	sign := func(data string) (string, error) {
		sum := sha256.Sum256([]byte(strings.TrimSuffix(data, "\r\n")))
		value, err := s.Signer.Sign(rand.Reader, sum[:], hash)
		return base64.StdEncoding.EncodeToString(value), err
	}
	tags := fmt.Sprintf(" i=%s; a=%s; d=%s; s=%s; t=1700000000;", i, algorithm, s.Domain, s.Selector)

	results := fmt.Sprintf("ARC-Authentication-Results: i=%s; %s", i, s.Results)
	sum := sha256.Sum256(relaxedBody(body))
	message := "ARC-Message-Signature:" + tags + " c=relaxed/relaxed; h=" + h + "; bh=" + base64.StdEncoding.EncodeToString(sum[:]) + ";" + s.MessageTags + " b="
	b, err := sign(signedFields(fields, h) + relaxedField(message))
	if err != nil {
		return nil, err
	}
	message += b

	seal := "ARC-Seal:" + tags + " cv=" + cv + ";" + s.SealTags + " b="
	var covered strings.Builder
	for n := 1; n <= sets; n++ {
		for _, name := range []string{"arc-authentication-results", "arc-message-signature", "arc-seal"} {
			for _, f := range fields {
				if fieldName(f) == name && strings.HasPrefix(f[len(name):], fmt.Sprintf(": i=%d;", n)) {
					covered.WriteString(relaxedField(f))
				}
			}
		}
	}
	b, err = sign(covered.String() + relaxedField(results) + relaxedField(message) + relaxedField(seal))
	if err != nil {
		return nil, err
	}
	return append([]byte(seal+b+"\r\n"+message+"\r\n"+results+"\r\n"), msg...), nil
}

func fieldName(field string) string {
	name, _, _ := strings.Cut(field, ":")
	return strings.ToLower(strings.TrimRight(name, " \t"))
}

// signedFields takes the fields of h=, of several with one name the lowest first: RFC 6376 section 5.4.2.
func signedFields(fields []string, h string) string {
	var b strings.Builder
	taken := map[string]int{}
	for name := range strings.SplitSeq(strings.ToLower(h), ":") {
		var all []string
		for _, f := range fields {
			if fieldName(f) == name {
				all = append(all, f)
			}
		}
		if at := len(all) - 1 - taken[name]; at >= 0 {
			b.WriteString(relaxedField(all[at]))
		}
		taken[name]++
	}
	return b.String()
}

// relaxedField is RFC 6376 section 3.4.2.
func relaxedField(field string) string {
	_, value, _ := strings.Cut(field, ":")
	words := strings.FieldsFunc(strings.ReplaceAll(value, "\r\n", ""), func(r rune) bool { return r == ' ' || r == '\t' })
	return fieldName(field) + ":" + strings.Join(words, " ") + "\r\n"
}

// relaxedBody is RFC 6376 section 3.4.4.
func relaxedBody(body []byte) []byte {
	body = regexp.MustCompile(`[ \t]+`).ReplaceAll(body, []byte(" "))
	body = bytes.ReplaceAll(body, []byte(" \r\n"), []byte("\r\n"))
	body = regexp.MustCompile(` ?(\r\n)*$`).ReplaceAll(body, nil)
	if len(body) == 0 {
		return nil
	}
	return append(body, "\r\n"...)
}
