package dkim

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"iter"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/domain"
)

// Verifier verifies all signatures of one message: call NewVerifier with the header, Write for the body, and Results at the end.
type Verifier struct {
	fields []Field
	index  index
	sigs   []*signature  // in the order of their fields
	chain  chain         // the ARC sets
	bodies [canons]*body // nil if no signature needs it
	ended  bool          // the bodies are closed
	buf    []byte        // for the canonical header
	next   []int         // used by headerSum: the next field of each name, from the bottom up
}

// NewVerifier parses the signatures among a message's header fields (top to bottom). At most MaxSignatures are verified. Signatures that
// could align with one of the authors' domains have priority, then those of the domain in List-Id, then the topmost ones. This choice
// needs no DNS.
func NewVerifier(fields []Field, authors []string) *Verifier {
	v := &Verifier{fields: fields, index: newIndex(fields)}
	at := v.index.all("dkim-signature")
	v.sigs = make([]*signature, len(at))
	for i, at := range at {
		v.sigs[i] = readSignature(fields[at])
		v.sigs[i].at = at
	}
	v.capSignatures(authors)
	v.chain = readChain(fields, &v.index)
	var limits [canons][]int64
	for s := range v.verified() {
		if v.bodies[s.body] == nil {
			v.bodies[s.body] = &body{canon: s.body}
		}
		if s.limit >= 0 {
			limits[s.body] = append(limits[s.body], s.limit)
		}
	}
	for c, b := range v.bodies {
		if b != nil {
			b.sink = newSink(limits[c])
		}
	}
	return v
}

// verified returns the signatures that need a body hash.
func (v *Verifier) verified() iter.Seq[*signature] {
	return func(yield func(*signature) bool) {
		for _, s := range v.sigs {
			if s.result.Status == "" && !yield(s) {
				return
			}
		}
		for _, s := range v.chain.verified() {
			if !yield(s) {
				return
			}
		}
	}
}

func (v *Verifier) capSignatures(authors []string) {
	if len(v.sigs) <= MaxSignatures {
		return
	}
	var open []*signature // no result yet
	for _, s := range v.sigs {
		if s.result.Status == "" {
			open = append(open, s)
		}
	}
	if len(open) <= MaxSignatures {
		return
	}
	list := v.listDomain()
	rank := func(s *signature) int {
		for _, a := range authors {
			if domain.Within(a, s.result.Domain) || domain.Within(s.result.Domain, a) {
				return 0
			}
		}
		if list != "" && (domain.Within(list, s.result.Domain) || domain.Within(s.result.Domain, list)) {
			return 1
		}
		return 2
	}
	slices.SortStableFunc(open, func(a, b *signature) int { return rank(a) - rank(b) })
	for _, s := range open[MaxSignatures:] {
		s.result.set(Policy, &Fault{TooManySignatures, strconv.Itoa(len(v.sigs))})
	}
}

// listDomain returns the identifier of the topmost List-Id (RFC 2919), or "".
func (v *Verifier) listDomain() string {
	at := v.index.all("list-id")
	if len(at) == 0 {
		return ""
	}
	_, id, _ := strings.Cut(v.fields[at[0]].Value, "<")
	id, _, _ = strings.Cut(id, ">")
	d, err := domain.Parse(id)
	if err != nil {
		return ""
	}
	return d
}

// KeyNames returns the DNS names whose TXT records Results and Chain look up. Each name is in the list only once.
func (v *Verifier) KeyNames() []string {
	var names []string
	add := func(s *signature) {
		if name := s.keyName(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for s := range v.verified() {
		add(s)
	}
	for _, s := range v.chain.seals() {
		add(s)
	}
	return names
}

// Write adds the next part of the body. It never fails.
func (v *Verifier) Write(p []byte) (int, error) {
	for _, b := range v.bodies {
		if b != nil {
			b.Write(p)
		}
	}
	return len(p), nil
}

// Results ends the message and returns one Result for each DKIM-Signature field, top to bottom. key returns the TXT records of a name,
// each with its strings joined. If there are no records, key returns a *net.DNSError with IsNotFound. If the answer cannot be used, key
// returns a *net.DNSError that is not temporary. Any other error means that the lookup failed.
func (v *Verifier) Results(now time.Time, key func(name string) ([]string, error)) []Result {
	v.end()
	results := make([]Result, len(v.sigs))
	for i, s := range v.sigs {
		if s.result.Status == "" {
			s.result.set(v.verify(s, now, key))
		}
		results[i] = s.result
	}
	return results
}

// Passing ends the message and verifies signatures. It skips a signature if among returns false for its domain. It returns the domains
// whose signature passes. Results verifies the skipped signatures. key is as for Results.
func (v *Verifier) Passing(now time.Time, among func(domain string) bool, key func(name string) ([]string, error)) (domains []string) {
	v.end()
	for _, s := range v.sigs {
		if s.result.Status == "" && among(s.result.Domain) {
			s.result.set(v.verify(s, now, key))
		}
		if s.result.Status == Pass {
			domains = append(domains, s.result.Domain)
		}
	}
	return domains
}

// end closes the bodies, once.
func (v *Verifier) end() {
	if v.ended {
		return
	}
	v.ended = true
	for _, b := range v.bodies {
		if b != nil {
			b.close()
		}
	}
}

// verify returns the result of a signature. It first does the checks that need no key. If the message was changed, the result is fail even
// if DNS does not answer. So an unreachable name server cannot turn a forgery into a temperror.
func (v *Verifier) verify(s *signature, now time.Time, key func(string) ([]string, error)) (Status, *Fault) {
	if fault := s.untimely(now); fault != nil {
		return PermError, fault
	}
	sink := &v.bodies[s.body].sink
	sum := sink.total
	if s.limit >= 0 {
		if s.limit > sink.length {
			return PermError, &Fault{SignedLengthExceedsBody, strconv.FormatInt(s.limit, 10)}
		}
		sum = sink.sums[s.limit]
	}
	if subtle.ConstantTimeCompare(sum, s.bodyHash) != 1 {
		s.bodyChanged = true
		return Fail, &Fault{Cause: BodyHashMismatch}
	}
	status, fault := s.tryKeys(key, func() [sha256.Size]byte { return v.headerSum(s) })
	s.headerGood = status == Pass
	if status == Pass && s.limit >= 0 && s.limit < sink.length {
		// In the attacks of May 2024, anyone could append text to a message that was signed with l=, and the signature still verified.
		return Policy, &Fault{BodyPartlySigned, strconv.FormatInt(sink.length-s.limit, 10)}
	}
	return status, fault
}

// untimely returns a fault if the signature is expired or not yet valid, otherwise nil.
func (s *signature) untimely(now time.Time) *Fault {
	if s.expiration >= 0 && now.Add(-clockSkew).Unix() > s.expiration {
		return &Fault{SignatureExpired, formatTime(s.expiration)}
	}
	if s.time >= 0 && now.Add(clockSkew).Unix() < s.time {
		return &Fault{SignatureInFuture, formatTime(s.time)}
	}
	return nil
}

// formatTime returns a time in the form of RFC 3339, or "" if its year has more than four digits.
func formatTime(unix int64) string {
	const end = 253402300800 // 10000-01-01T00:00:00Z
	if unix >= end {
		return ""
	}
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}

// tryKeys verifies a signature with each key record in DNS. header returns the hash of the signed header; it is called only if there is a
// record.
func (s *signature) tryKeys(key func(string) ([]string, error), header func() [sha256.Size]byte) (Status, *Fault) {
	s.result.KeyName = s.keyName()
	records, err := key(s.result.KeyName)
	if err != nil {
		var dns *net.DNSError
		switch known := errors.As(err, &dns); {
		case known && dns.IsNotFound:
			return PermError, &Fault{Cause: KeyRecordMissing}
		case known && !dns.Temporary():
			return PermError, &Fault{KeyRecordUnusable, dns.Err}
		case known:
			return TempError, &Fault{KeyLookupFailed, dns.Err}
		}
		return TempError, &Fault{Cause: KeyLookupFailed}
	}
	if len(records) == 0 {
		return PermError, &Fault{Cause: KeyRecordMissing}
	}
	sum := header()
	// Section 3.6.2.2 does not define the result for several records. Each record is tried, so that the result does not depend on their
	// order. The result keeps the record that the cause is about.
	status, fault := PermError, (*Fault)(nil)
	for _, txt := range records[:min(len(records), maxKeyRecords)] {
		k, st, f := s.tryKey(txt, sum)
		if st == PermError && fault != nil {
			continue
		}
		status, fault = st, f
		s.result.KeyRecord, s.result.KeyBits, s.result.Testing = txt, k.Bits, k.Testing
		if st == Pass {
			break
		}
	}
	return status, fault
}

// tryKey verifies with one record. It returns an empty KeyRecord if the record cannot be used.
func (s *signature) tryKey(txt string, sum [sha256.Size]byte) (*KeyRecord, Status, *Fault) {
	k, fault := parseKeyRecord(txt, "email")
	if fault != nil {
		if fault.Cause == KeyRecordForbidsEmail {
			s.verifyTLSReport(txt, sum)
		}
		return &KeyRecord{}, PermError, fault
	}
	switch {
	case k.Type != s.keyType:
		return k, PermError, &Fault{KeyTypeMismatch, k.Type}
	case k.Strict && s.idDomain != s.result.Domain:
		return k, PermError, &Fault{Cause: KeyForbidsSubIdentity}
	case !k.verify(sum, s.value):
		return k, Fail, &Fault{Cause: SignatureMismatch}
	}
	s.result.ForTLSReports = s.limit < 0
	return k, Pass, nil
}

// verifyTLSReport verifies with a record that allows only TLS reports: s=tlsrpt, RFC 8460 section 3.
func (s *signature) verifyTLSReport(txt string, sum [sha256.Size]byte) {
	k, fault := parseKeyRecord(txt, "tlsrpt")
	if fault == nil && k.Type == s.keyType && (!k.Strict || s.idDomain == s.result.Domain) && s.limit < 0 && k.verify(sum, s.value) {
		s.result.ForTLSReports = true
	}
}

// headerBuffer is the initial size in bytes of a buffer for the signed header, enough for most messages.
const headerBuffer = 2 << 10

// headerSum hashes the signed header fields and the signature field itself: section 3.7.
func (v *Verifier) headerSum(s *signature) [sha256.Size]byte {
	if v.buf == nil {
		v.buf = make([]byte, 0, headerBuffer)
	}
	buf := v.buf[:0]
	// Section 5.4.2: a name that h= lists n times means the n lowest fields of that name, from the bottom up. A name beyond
	// the number of fields means an empty string.
	v.next = append(v.next[:0], v.index.last...)
	for _, name := range s.result.Headers {
		id, ok := v.index.ids[name]
		if !ok {
			continue
		}
		at := v.next[id]
		if at >= 0 && at == s.at {
			// Section 3.5: h= never includes the field that is being verified.
			at = v.index.above[at]
		}
		if at >= 0 {
			buf = s.header.appendField(buf, v.fields[at])
			at = v.index.above[at]
		}
		v.next[id] = at
	}
	buf = s.header.appendField(buf, s.withoutValue())
	v.buf = buf
	return sha256.Sum256(buf[:len(buf)-2]) // without its CRLF
}
