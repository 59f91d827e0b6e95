package dkim

import (
	"slices"
	"strconv"
	"strings"

	"signpost/internal/domain"
)

// signature is a parsed signature field. If its result already has a Status, it cannot be verified.
type signature struct {
	field  Field
	at     int // the index of this field in the list of fields that the signature may cover, or -1 if it is not in that list
	result Result

	keyType  string // "rsa" or "ed25519"
	header   canon
	body     canon
	limit    int64 // l=, or -1
	bodyHash []byte

	bodyChanged bool   // the body hash does not match
	headerGood  bool   // the signature verifies; the result may still not be pass, because of l=
	value       []byte // b=
	idDomain    string // the domain of i=
	key         string // cache of keyName
	time        int64  // t=, or -1
	expiration  int64  // x=, or -1
}

// readSignature parses one field: RFC 6376 section 3.5 and section 6.1.1. If it is not valid, the result has the cause.
func readSignature(f Field) *signature {
	s := &signature{field: f, at: -1, limit: -1, time: -1, expiration: -1}
	s.result.Status = ""
	if fault := s.read(f.Value); fault != nil {
		status := PermError
		if fault.Cause == SignatureFieldTooLong || fault.Cause == TooManySignedNames {
			status = Policy // well formed, but over a limit of this package
		}
		s.result.set(status, fault)
		s.readMangled()
	}
	return s
}

func (s *signature) read(value string) *Fault {
	if len(value) > MaxSignatureField {
		return &Fault{SignatureFieldTooLong, strconv.Itoa(len(value))}
	}
	tags, fault := parseTags(value)
	if fault != nil {
		return fault
	}
	if fault := s.readNames(tags); fault != nil {
		return fault
	}
	for _, name := range []string{"v", "a", "b", "bh", "d", "h", "s"} {
		if tags[name] == "" {
			return tagFault(MissingTag, name)
		}
	}
	if tags["v"] != "1" {
		return &Fault{Cause: UnknownSignatureVersion}
	}
	if fault := s.readAlgorithms(tags); fault != nil {
		return fault
	}
	var err error
	if s.bodyHash, err = decodeBase64(tags["bh"]); err != nil || len(s.bodyHash) != 32 {
		return &Fault{Cause: InvalidBodyHash}
	}
	if s.value, err = decodeBase64(s.result.Signature); err != nil {
		return &Fault{Cause: InvalidSignatureValue}
	}
	if fault := s.readHeaders(tags["h"]); fault != nil {
		return fault
	}
	if !s.covers("from") {
		return &Fault{Cause: FromNotSigned} // RFC 6376 section 5.4
	}
	return s.readNumbers(tags)
}

// keyName returns the DNS name of the key record: RFC 6376 section 3.6.2.1.
func (s *signature) keyName() string {
	if s.key == "" {
		s.key = s.result.Selector + "._domainkey." + s.result.Domain
	}
	return s.key
}

// covers reports whether h= lists a field. name is in lower case.
func (s *signature) covers(name string) bool { return slices.Contains(s.result.Headers, name) }

// readNames reads d=, s=, b= and i=. It is called first, so that even the result of a malformed signature names its domain.
func (s *signature) readNames(tags map[string]string) *Fault {
	var err error
	if d := tags["d"]; d != "" {
		if s.result.Domain, err = domain.Parse(d); err != nil {
			return &Fault{Cause: InvalidDomain}
		}
	}
	if sel := tags["s"]; sel != "" {
		if s.result.Selector, err = domain.Parse(sel); err != nil {
			return &Fault{Cause: InvalidSelector}
		}
	}
	s.result.Signature = stripFWS(tags["b"])
	s.idDomain, s.result.Identity = s.result.Domain, "@"+s.result.Domain
	id, ok := tags["i"]
	if !ok {
		return nil
	}
	id, fault := decodeQP(id)
	if fault != nil {
		return fault
	}
	at := strings.LastIndexByte(id, '@')
	if at < 0 {
		return &Fault{Cause: IdentityWithoutAtSign}
	}
	// Section 3.5: the domain of i= is d= or below it. domain.Parse makes that comparison case-insensitive.
	if s.idDomain, err = domain.Parse(id[at+1:]); err != nil {
		return &Fault{Cause: InvalidIdentityDomain}
	}
	if !domain.Within(s.idDomain, s.result.Domain) {
		return &Fault{Cause: IdentityOutsideDomain}
	}
	s.result.Identity = id[:at+1] + s.idDomain
	return nil
}

func (s *signature) readAlgorithms(tags map[string]string) *Fault {
	// Section 3.2 makes values case-sensitive, but the ABNF of a=, c= and q= is not case-sensitive. OpenDKIM and Mail::DKIM ignore case.
	switch a := strings.ToLower(tags["a"]); a {
	case "rsa-sha256", "ed25519-sha256":
		s.result.Algorithm = a
		s.keyType = strings.TrimSuffix(a, "-sha256")
	case "rsa-sha1":
		s.result.Algorithm = a
		return &Fault{ForbiddenAlgorithm, a} // RFC 8301 section 3.1
	default:
		return &Fault{Cause: UnknownAlgorithm}
	}
	// Section 3.5: "c=relaxed" means relaxed/simple, and a missing c= means simple/simple. If c= is present, neither part may be empty.
	c, ok := tags["c"]
	header, body, both := strings.Cut(strings.ToLower(c), "/")
	if ok && header == "" || both && body == "" {
		return &Fault{Cause: MissingCanonicalization}
	}
	if s.header, ok = canonByName(header); !ok {
		return &Fault{Cause: UnknownCanonicalization}
	}
	if s.body, ok = canonByName(body); !ok {
		return &Fault{Cause: UnknownCanonicalization}
	}
	if q, ok := tags["q"]; ok && !listHas(strings.ToLower(q), "dns/txt") {
		return &Fault{Cause: UnknownQueryMethod}
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

func (s *signature) readHeaders(h string) *Fault {
	n := strings.Count(h, ":") + 1
	if n > MaxSignedNames {
		return &Fault{TooManySignedNames, strconv.Itoa(n)}
	}
	s.result.Headers = make([]string, 0, n)
	for name := range strings.SplitSeq(strings.ToLower(h), ":") {
		name = trimFWS(name)
		if !validFieldName(name) {
			return &Fault{Cause: InvalidFieldName}
		}
		s.result.Headers = append(s.result.Headers, name)
	}
	return nil
}

// validFieldName reports whether s is a field name: ftext of RFC 5322 section 2.2.
func validFieldName(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

func (s *signature) readNumbers(tags map[string]string) *Fault {
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
			return tagFault(InvalidNumber, n.tag)
		}
		*n.to = int64(number)
	}
	// Section 3.5: x= must be greater than t=.
	if s.expiration >= 0 && s.time >= 0 && s.expiration <= s.time {
		return &Fault{Cause: ExpirationNotAfterSigning}
	}
	return nil
}

// withoutValue returns the field as it is hashed: without the value of b= and the white space around it (section 3.7).
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
