package dkim

import (
	"slices"
	"strconv"
	"strings"
)

// set is one ARC set: RFC 8617 section 4.2.
type set struct {
	instance int
	results  Field
	payload  string // ARC-Authentication-Results after the instance
	message  *signature
	seal     *signature
	cv       string
}

// chain contains the ARC sets of a message. If it has a fault, no signature is verified and no key is looked up.
type chain struct {
	sets  []*set    // instance 1 first; nil for a missing instance
	fault *setFault // a fault that is found before any signature is verified, or nil
	whole bool      // each set has its three fields, and they can be parsed
}

// setFault is a fault of one field of a set, or of the sets as a whole.
type setFault struct {
	Fault
	field    string // in lower case; "": of no single field
	instance int    // 0: unknown
}

// verified returns the message signatures that are verified, the newest last.
func (c *chain) verified() []*signature {
	if c.fault != nil {
		return nil
	}
	var all []*signature
	for _, s := range c.sets[max(0, len(c.sets)-maxMessageSignatures):] {
		all = append(all, s.message)
	}
	return all
}

func (c *chain) seals() []*signature {
	if c.fault != nil {
		return nil
	}
	var all []*signature
	for _, s := range c.sets {
		all = append(all, s.seal)
	}
	return all
}

// readChain collects the sets and checks their structure: RFC 8617 section 5.2 steps 1 to 3.
func readChain(fields []Field, x *index) chain {
	results, messages, seals := x.all(arcResults), x.all(arcSignature), x.all(arcSeal)
	n := len(seals)
	if n+len(messages)+len(results) == 0 {
		return chain{}
	}
	// Step 1. The limit is checked before any field is parsed.
	if most := max(n, len(messages), len(results)); most > MaxSets {
		return chain{fault: &setFault{Fault: Fault{TooManyARCSets, strconv.Itoa(most)}}}
	}
	// Step 3: each set has exactly one field of each of the three types. If the three fields occur equally often and no instance is
	// repeated, none is missing.
	if n != len(messages) || n != len(results) {
		return chain{fault: &setFault{Fault: Fault{Cause: IncompleteARCSets}}}
	}
	c := chain{sets: make([]*set, n)}
	for i := range c.sets {
		c.sets[i] = &set{instance: i + 1}
	}
	for _, kind := range []struct {
		name string
		at   []int
		put  func(at int, f Field) (instance int, fault *Fault)
	}{{arcResults, results, c.putResults}, {arcSignature, messages, c.putMessage}, {arcSeal, seals, c.putSeal}} {
		for _, i := range kind.at {
			if instance, fault := kind.put(i, fields[i]); fault != nil {
				c.fault = &setFault{*fault, kind.name, instance}
				return c
			}
		}
	}
	c.whole = true
	c.fault = c.checkCV()
	return c
}

// checkCV returns a fault if a seal has a wrong cv=. If there are several, it returns the fault of the newest seal: RFC 8617 section 5.2
// steps 2 and 3. The first seal needs cv=none, the others cv=pass.
func (c *chain) checkCV() *setFault {
	for i := len(c.sets) - 1; i >= 0; i-- {
		s, want := c.sets[i], "pass"
		if i == 0 {
			want = "none"
		}
		switch {
		case s.cv == "fail":
			return &setFault{Fault{Cause: SealerReportsBrokenChain}, arcSeal, i + 1}
		case s.cv != want:
			return &setFault{Fault{UnexpectedChainValidation, s.cv}, arcSeal, i + 1}
		}
	}
	return nil
}

// at returns the set of instance n. The function has reports whether a set already has the field; if it does, at returns a fault. n is 0 if
// the instance cannot be parsed.
func (c *chain) at(n int, has func(*set) bool) (*set, *Fault) {
	switch {
	case n == 0:
		return nil, &Fault{Cause: InvalidInstance}
	case n > len(c.sets):
		return nil, &Fault{InstanceExceedsSets, strconv.Itoa(len(c.sets))}
	case has(c.sets[n-1]):
		return nil, &Fault{Cause: DuplicateInstance}
	}
	return c.sets[n-1], nil
}

// readInstance parses an instance: one or two digits, from 1 to 50 (RFC 8617 section 4.2.1). 01 is 1. It returns 0 for other text.
func readInstance(s string) int {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || len(s) > 2 || n > MaxSets {
		return 0
	}
	return int(n)
}

// putResults adds an ARC-Authentication-Results field: "i=1;" followed by the syntax of RFC 8601 (RFC 8617 section 4.1.1).
func (c *chain) putResults(_ int, f Field) (int, *Fault) {
	head, payload, ok := strings.Cut(f.Value, ";")
	name, value, hasValue := strings.Cut(head, "=")
	if !ok || !hasValue || strings.Trim(name, fws) != "i" {
		return 0, &Fault{Cause: MissingInstance}
	}
	n := readInstance(strings.Trim(value, fws))
	s, fault := c.at(n, func(s *set) bool { return s.results.Name != "" })
	if fault == nil {
		s.results, s.payload = f, payload
	}
	return n, fault
}

// putMessage adds an ARC-Message-Signature: RFC 8617 section 4.1.2.
func (c *chain) putMessage(at int, f Field) (int, *Fault) {
	sig, tags, fault := readSetField(f)
	n := readInstance(tags["i"])
	if fault != nil {
		return n, fault
	}
	s, fault := c.at(n, func(s *set) bool { return s.message != nil })
	if fault != nil {
		return n, fault
	}
	s.message, sig.at = sig, at
	return n, sig.readMessage(tags)
}

func (s *signature) readMessage(tags map[string]string) *Fault {
	var err error
	if s.bodyHash, err = decodeBase64(tags["bh"]); err != nil || len(s.bodyHash) != 32 {
		return &Fault{Cause: InvalidBodyHash}
	}
	h, ok := tags["h"]
	if !ok {
		return tagFault(MissingTag, "h")
	}
	// The validation suite accepts empty items in h=, and an empty h=. An empty item signs nothing. To check that a signature covers the
	// author, use Sealer.CoversFrom.
	if h = withoutEmpty(h); h != "" {
		if fault := s.readHeaders(h); fault != nil {
			return fault
		}
	}
	// Section 4.1.2 forbids signing any ARC field. Seals are added after the message signature, so a signature that covers them cannot
	// verify. Some signers sign the other two ARC fields. This package accepts their signatures.
	if s.covers(arcSeal) {
		return &Fault{Cause: MessageSignatureCoversSeal}
	}
	return s.readNumbers(tags)
}

func withoutEmpty(list string) string {
	empty := func(item string) bool { return strings.Trim(item, fws) == "" }
	return strings.Join(slices.DeleteFunc(strings.Split(list, ":"), empty), ":")
}

// putSeal adds an ARC-Seal: RFC 8617 section 4.1.3.
func (c *chain) putSeal(_ int, f Field) (int, *Fault) {
	sig, tags, fault := readSetField(f)
	n := readInstance(tags["i"])
	if fault != nil {
		return n, fault
	}
	s, fault := c.at(n, func(s *set) bool { return s.seal != nil })
	if fault != nil {
		return n, fault
	}
	s.seal = sig
	// Section 4.1.3: the fields that a seal covers are fixed. A seal with h= fails.
	if _, ok := tags["h"]; ok {
		return n, tagFault(ForbiddenTag, "h")
	}
	switch s.cv = tags["cv"]; s.cv {
	case "none", "pass", "fail":
	default:
		return n, &Fault{Cause: InvalidChainValidation}
	}
	for _, name := range []string{"l", "x"} { // not tags of a seal
		delete(tags, name)
	}
	return n, sig.readNumbers(tags)
}

// readSetField parses a message signature or a seal. Unlike DKIM-Signature, these fields have no v=, and i= is the instance (RFC 8617
// section 4.1.2). If the tags can be parsed, it returns them even with a fault.
func readSetField(f Field) (*signature, map[string]string, *Fault) {
	s := &signature{field: f, at: -1, limit: -1, time: -1, expiration: -1}
	if len(f.Value) > MaxSignatureField {
		return nil, nil, &Fault{SignatureFieldTooLong, strconv.Itoa(len(f.Value))}
	}
	// RFC 6376 section 3.2 allows one semicolon at the end, and no empty item.
	if list := strings.TrimRight(f.Value, fws); strings.Contains(stripFWS(list), ";;") || strings.HasPrefix(stripFWS(list), ";") {
		return nil, nil, &Fault{Cause: EmptyTag}
	}
	tags, fault := parseTags(f.Value)
	if fault != nil {
		return nil, nil, fault
	}
	instance := tags["i"]
	delete(tags, "i")
	fault = s.readCommon(tags)
	tags["i"] = instance
	return s, tags, fault
}

// readCommon reads the tags of DKIM that both fields have, except i=.
func (s *signature) readCommon(tags map[string]string) *Fault {
	if fault := s.readNames(tags); fault != nil {
		return fault
	}
	for _, name := range []string{"a", "b", "d", "s"} {
		if tags[name] == "" {
			return tagFault(MissingTag, name)
		}
	}
	// In early drafts, a missing c= meant relaxed/relaxed. The validation suite and dkimpy still read it that way.
	if _, ok := tags["c"]; !ok {
		tags["c"] = "relaxed/relaxed"
	}
	if fault := s.readAlgorithms(tags); fault != nil {
		return fault
	}
	var err error
	if s.value, err = decodeBase64(tags["b"]); err != nil {
		return &Fault{Cause: InvalidSignatureValue}
	}
	return nil
}
