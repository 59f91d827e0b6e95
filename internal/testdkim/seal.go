package testdkim

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Sealer adds ordinary ARC sets (RFC 8617 section 5.1) to messages. Only tests use it: Signpost does not seal. The package has its own
// canonicalization, independent of internal/dkim. A mistake in one of the two is therefore detected.
type Sealer struct {
	Domain, Selector string
	Signer           crypto.Signer // RSA or Ed25519
	Results          string        // ARC-Authentication-Results after its i=
	Headers          string        // h=; empty: From:To:Subject:Date
}

// Seal returns msg with one more ARC set on top. msg must have CRLF line ends.
func (s Sealer) Seal(msg []byte) ([]byte, error) {
	fields, _ := splitFields(msg)
	i, cv := 1, "none"
	for _, f := range fields {
		if fieldName(f) == "arc-seal" {
			i, cv = i+1, "pass"
		}
	}
	algorithm := "rsa-sha256"
	if _, ok := s.Signer.(ed25519.PrivateKey); ok {
		algorithm = "ed25519-sha256"
	}
	tags := fmt.Sprintf("i=%d; a=%s; d=%s; s=%s; t=1700000000;", i, algorithm, s.Domain, s.Selector)
	for _, field := range []string{
		fmt.Sprintf("ARC-Authentication-Results: i=%d; %s", i, s.Results),
		fmt.Sprintf("ARC-Message-Signature: %s c=relaxed/relaxed; h=%s; bh=$BH; b=$SIG", tags, cmp.Or(s.Headers, "From:To:Subject:Date")),
		fmt.Sprintf("ARC-Seal: %s cv=%s; b=$SIG", tags, cv),
	} {
		var err error
		if msg, err = AddARCField(msg, field, s.Signer); err != nil {
			return nil, err
		}
	}
	return msg, nil
}

// AddARCField returns msg with one field of an ARC set, or a DKIM-Signature, on top. msg must have CRLF line ends. In field, $BH is
// replaced by the hash of the body and $SIG by the signature. Both are computed according to the tags of the field. The field may violate
// any other rule.
func AddARCField(msg []byte, field string, signer crypto.Signer) ([]byte, error) {
	fields, body := splitFields(msg)
	tags := tagList(field)
	header, bodyCanon, _ := strings.Cut(cmp.Or(tags["c"], "relaxed/relaxed"), "/")
	canonical := simpleBody(body)
	if bodyCanon == "relaxed" {
		canonical = relaxedBody(body)
	}
	if n, err := strconv.Atoi(tags["l"]); err == nil && n >= 0 && n <= len(canonical) {
		canonical = canonical[:n]
	}
	hash := sha256.Sum256(canonical)
	field = strings.ReplaceAll(field, "$BH", base64.StdEncoding.EncodeToString(hash[:]))
	if !strings.Contains(field, "$SIG") {
		return append([]byte(field+"\r\n"), msg...), nil
	}

	canon, covered := relaxedField, sealedFields(fields, instance(field))
	if fieldName(field) != "arc-seal" {
		covered = signedFields(fields, tags["h"])
		if header == "simple" {
			canon = func(field string) string { return field + "\r\n" }
		}
	}
	var data strings.Builder
	for _, f := range covered {
		data.WriteString(canon(f))
	}
	// By RFC 6376 section 3.7, the value of b=, the white space around it and the last CRLF are not signed.
	data.WriteString(strings.TrimSuffix(canon(regexp.MustCompile(`\s*\$SIG\s*`).ReplaceAllString(field, "")), "\r\n"))
	sum, opts := sha256.Sum256([]byte(data.String())), crypto.SHA256
	if _, ok := signer.(ed25519.PrivateKey); ok {
		opts = 0 // RFC 8463 section 3: PureEdDSA over the hash
	}
	value, err := signer.Sign(rand.Reader, sum[:], opts)
	if err != nil {
		return nil, err
	}
	return append([]byte(strings.Replace(field, "$SIG", base64.StdEncoding.EncodeToString(value), 1)+"\r\n"), msg...), nil
}

// splitFields returns the header fields of a message, each without its last CRLF, and the body.
func splitFields(msg []byte) (fields []string, body []byte) {
	header, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	for line := range strings.SplitSeq(strings.TrimSuffix(string(header), "\r\n"), "\r\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[len(fields)-1] += "\r\n" + line
			continue
		}
		fields = append(fields, line)
	}
	return fields, body
}

func fieldName(field string) string {
	name, _, _ := strings.Cut(field, ":")
	return strings.ToLower(strings.TrimRight(name, " \t"))
}

// tagList returns the tags of a field. If a tag is repeated, the last one counts.
func tagList(field string) map[string]string {
	_, value, _ := strings.Cut(field, ":")
	tags := map[string]string{}
	for tag := range strings.SplitSeq(value, ";") {
		name, value, _ := strings.Cut(tag, "=")
		tags[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return tags
}

// instance returns i= of a field of an ARC set, or 0 if it is not a number.
func instance(field string) int {
	n, _ := strconv.Atoi(tagList(field)["i"])
	return n
}

// sealedFields returns the fields that the seal of instance n covers, without the seal itself. These are the ARC sets up to n, in the order
// of RFC 8617 section 5.1.1.
func sealedFields(fields []string, n int) []string {
	order := []string{"arc-authentication-results", "arc-message-signature", "arc-seal"}
	covered := slices.DeleteFunc(slices.Clone(fields), func(f string) bool {
		return !slices.Contains(order, fieldName(f)) || instance(f) > n
	})
	slices.SortStableFunc(covered, func(a, b string) int {
		return cmp.Or(instance(a)-instance(b), slices.Index(order, fieldName(a))-slices.Index(order, fieldName(b)))
	})
	return covered
}

// signedFields returns the fields that are listed in h=. If several fields have the same name, the lowest is first (RFC 6376 section
// 5.4.2).
func signedFields(fields []string, h string) []string {
	var signed []string
	taken := map[string]int{}
	for name := range strings.SplitSeq(strings.ToLower(h), ":") {
		name = strings.TrimSpace(name)
		all := slices.DeleteFunc(slices.Clone(fields), func(f string) bool { return fieldName(f) != name })
		if at := len(all) - 1 - taken[name]; at >= 0 {
			signed = append(signed, all[at])
		}
		taken[name]++
	}
	return signed
}

// relaxedField returns a field in relaxed canonicalization: RFC 6376 section 3.4.2.
func relaxedField(field string) string {
	_, value, _ := strings.Cut(field, ":")
	words := strings.FieldsFunc(strings.ReplaceAll(value, "\r\n", ""), func(r rune) bool { return r == ' ' || r == '\t' })
	return fieldName(field) + ":" + strings.Join(words, " ") + "\r\n"
}

// simpleBody returns a body in simple canonicalization: RFC 6376 section 3.4.3.
func simpleBody(body []byte) []byte {
	return append(regexp.MustCompile(`(\r\n)*$`).ReplaceAll(body, nil), "\r\n"...)
}

// relaxedBody returns a body in relaxed canonicalization: RFC 6376 section 3.4.4.
func relaxedBody(body []byte) []byte {
	body = regexp.MustCompile(`[ \t]+`).ReplaceAll(body, []byte(" "))
	body = bytes.ReplaceAll(body, []byte(" \r\n"), []byte("\r\n"))
	body = regexp.MustCompile(` ?(\r\n)*$`).ReplaceAll(body, nil)
	if len(body) == 0 {
		return nil
	}
	return append(body, "\r\n"...)
}
