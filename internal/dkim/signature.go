package dkim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"signpost/internal/domain"
)

// signature is a DKIM-Signature field that was read and, unless result says otherwise, can be verified.
type signature struct {
	field  Field
	at     int // its position among the fields that it may cover; -1: it is none of them
	result Result

	keyType  string // "rsa" or "ed25519"
	header   canon
	body     canon
	limit    int64 // l=, or -1
	bodyHash []byte

	bodyChanged bool   // the message has another body than was signed
	headerGood  bool   // the signature verifies; the result may still not be pass, because of l=
	value       []byte // b=
	idDomain    string // the domain of i=
	key         string // what keyName gives, once it was asked
	time        int64  // t=, or -1
	expiration  int64  // x=, or -1
}

// readSignature reads one field by RFC 6376 section 3.5 and section 6.1.1. What is wrong with it stands in the result.
func readSignature(f Field) *signature {
	s := &signature{field: f, at: -1, limit: -1, time: -1, expiration: -1}
	s.result.Status = ""
	if err := s.read(f.Value); err != nil {
		s.result.Status, s.result.Reason = PermError, err.Error()
		var p policyError
		if errors.As(err, &p) {
			s.result.Status = Policy
		}
		s.readMangled()
	}
	return s
}

// policyError marks what is well formed but more than is done for a stranger.
type policyError string

func (e policyError) Error() string { return string(e) }

func (s *signature) read(value string) error {
	if len(value) > MaxSignatureField {
		return policyError(fmt.Sprintf("the signature field is longer than %d octets", MaxSignatureField))
	}
	tags, err := parseTags(value)
	if err != nil {
		return fmt.Errorf("malformed signature: %w", err)
	}
	if err := s.readNames(tags); err != nil {
		return err
	}
	for _, name := range []string{"v", "a", "b", "bh", "d", "h", "s"} {
		if tags[name] == "" {
			return fmt.Errorf("malformed signature: %s= is missing or empty", name)
		}
	}
	if tags["v"] != "1" {
		return errors.New("malformed signature: v= is not 1")
	}
	if err := s.readAlgorithms(tags); err != nil {
		return err
	}
	if s.bodyHash, err = decodeBase64(tags["bh"]); err != nil || len(s.bodyHash) != 32 {
		return errors.New("malformed signature: bh= is not the base64 of a SHA-256 hash")
	}
	if s.value, err = decodeBase64(s.result.Signature); err != nil {
		return errors.New("malformed signature: b= is not base64")
	}
	if err := s.readHeaders(tags["h"]); err != nil {
		return err
	}
	if !s.covers("from") {
		return errors.New("h= does not cover From (RFC 6376 section 5.4)")
	}
	return s.readNumbers(tags)
}

// keyName is where the key's record stands: RFC 6376 section 3.6.2.1.
func (s *signature) keyName() string {
	if s.key == "" {
		s.key = s.result.Selector + "._domainkey." + s.result.Domain
	}
	return s.key
}

// covers says whether h= lists a field; name is in lower case.
func (s *signature) covers(name string) bool { return slices.Contains(s.result.Headers, name) }

// readNames fills in who signed, before anything else can go wrong, so that a bad result still names its domain.
func (s *signature) readNames(tags map[string]string) error {
	var err error
	if d := tags["d"]; d != "" {
		if s.result.Domain, err = domain.Parse(d); err != nil {
			return errors.New("malformed signature: d= is not a domain name")
		}
	}
	if sel := tags["s"]; sel != "" {
		if s.result.Selector, err = domain.Parse(sel); err != nil {
			return errors.New("malformed signature: s= is not a selector")
		}
	}
	s.result.Signature = stripFWS(tags["b"])
	s.idDomain, s.result.Identity = s.result.Domain, "@"+s.result.Domain
	id, ok := tags["i"]
	if !ok {
		return nil
	}
	if id, err = decodeQP(id); err != nil {
		return fmt.Errorf("malformed signature: i= has %w", err)
	}
	at := strings.LastIndexByte(id, '@')
	if at < 0 {
		return errors.New("malformed signature: i= has no \"@\"")
	}
	// Section 3.5: the domain of i= is d= or below it. domain.Parse() makes that comparison blind to case.
	if s.idDomain, err = domain.Parse(id[at+1:]); err != nil {
		return errors.New("malformed signature: i= does not end in a domain name")
	}
	if !domain.Within(s.idDomain, s.result.Domain) {
		return errors.New("malformed signature: i= is not d= or below it")
	}
	s.result.Identity = id[:at+1] + s.idDomain
	return nil
}

func (s *signature) readAlgorithms(tags map[string]string) error {
	// Section 3.2 makes values case-sensitive, the ABNF of a=, c= and q= does not. Other case names the same algorithms,
	// and OpenDKIM and Mail::DKIM accept it.
	switch a := strings.ToLower(tags["a"]); a {
	case "rsa-sha256", "ed25519-sha256":
		s.result.Algorithm = a
		s.keyType = strings.TrimSuffix(a, "-sha256")
	case "rsa-sha1":
		s.result.Algorithm = a
		return errors.New("rsa-sha1 must not be used (RFC 8301)")
	default:
		return errors.New("unknown algorithm in a=")
	}
	// Section 3.5: "c=relaxed" means relaxed/simple, and no c= simple/simple; where c= stands, neither word is empty.
	c, ok := tags["c"]
	header, body, both := strings.Cut(strings.ToLower(c), "/")
	if ok && header == "" || both && body == "" {
		return errors.New("malformed signature: c= lacks an algorithm")
	}
	if s.header, ok = canonByName(header); !ok {
		return errors.New("unknown canonicalisation in c=")
	}
	if s.body, ok = canonByName(body); !ok {
		return errors.New("unknown canonicalisation in c=")
	}
	if q, ok := tags["q"]; ok && !listHas(strings.ToLower(q), "dns/txt") {
		return errors.New("unknown query method in q=")
	}
	return nil
}

func canonByName(s string) (canon, bool) {
	switch s {
	case "", "simple":
		return simple, true
	case "relaxed":
		return relaxed, true
	}
	return 0, false
}

func (s *signature) readHeaders(h string) error {
	if strings.Count(h, ":")+1 > MaxSignedNames {
		return policyError(fmt.Sprintf("h= lists more than %d names", MaxSignedNames))
	}
	s.result.Headers = make([]string, 0, strings.Count(h, ":")+1)
	for name := range strings.SplitSeq(strings.ToLower(h), ":") {
		name = trimFWS(name)
		if !validFieldName(name) {
			return errors.New("malformed signature: h= lists something that is no field name")
		}
		s.result.Headers = append(s.result.Headers, name)
	}
	return nil
}

// validFieldName is RFC 5322's ftext.
func validFieldName(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

func (s *signature) readNumbers(tags map[string]string) error {
	for _, n := range []struct {
		tag string
		to  *int64
	}{{"l", &s.limit}, {"t", &s.time}, {"x", &s.expiration}} {
		v, ok := tags[n.tag]
		if !ok {
			continue
		}
		number, err := strconv.ParseUint(v, 10, 63)
		if err != nil {
			return fmt.Errorf("malformed signature: %s= is not a number", n.tag)
		}
		*n.to = int64(number)
	}
	// Section 3.5: x= must be greater than t=.
	if s.expiration >= 0 && s.time >= 0 && s.expiration <= s.time {
		return errors.New("malformed signature: x= is not after t=")
	}
	return nil
}

// withoutValue is the field as it was hashed: the value of b= is gone with the white space around it, and every other
// octet stands (section 3.7).
func (s *signature) withoutValue() Field {
	v, start := s.field.Value, 0
	for {
		end := strings.IndexByte(v[start:], ';')
		if end < 0 {
			end = len(v)
		} else {
			end += start
		}
		if eq := strings.IndexByte(v[start:end], '='); eq >= 0 && trimFWS(v[start:start+eq]) == "b" {
			return Field{Name: s.field.Name, Value: v[:start+eq+1] + v[end:]}
		}
		if end == len(v) {
			return s.field
		}
		start = end + 1
	}
}
