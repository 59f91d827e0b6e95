package dkim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// set is one ARC set: RFC 8617 section 4.2.
type set struct {
	instance int
	results  Field
	payload  string // results behind the instance
	message  *signature
	seal     *signature
	cv       string
}

// chain is the ARC sets of a message. If it has a fault, no signature is verified and no key is looked up.
type chain struct {
	sets  []*set // instance 1 first; nil where a message has none
	fault string // why the sets are no chain, or ""
	whole bool   // each set has its three fields, and they can be read
}

// verified returns the message signatures that are verified, the newest last.
func (c *chain) verified() []*signature {
	if c.fault != "" {
		return nil
	}
	var all []*signature
	for _, s := range c.sets[max(0, len(c.sets)-maxMessageSignatures):] {
		all = append(all, s.message)
	}
	return all
}

func (c *chain) seals() []*signature {
	if c.fault != "" {
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
	results := x.all("arc-authentication-results")
	messages := x.all("arc-message-signature")
	seals := x.all("arc-seal")
	n := len(seals)
	if n+len(messages)+len(results) == 0 {
		return chain{}
	}
	// Step 1. The limit is checked before any field is parsed.
	if max(n, len(messages), len(results)) > MaxSets {
		return chain{fault: fmt.Sprintf("there are more than %d ARC sets", MaxSets)}
	}
	// Step 3: each set has one of each field. As many of each as there are, each instance once, leave no gap.
	if n != len(messages) || n != len(results) {
		return chain{fault: "the ARC sets are not whole: there are not as many of each field"}
	}
	c := chain{sets: make([]*set, n)}
	for i := range c.sets {
		c.sets[i] = &set{instance: i + 1}
	}
	for _, kind := range []struct {
		name string
		at   []int
		put  func(at int, f Field) error
	}{{ARCResultsField, results, c.putResults}, {ARCSignatureField, messages, c.putMessage}, {ARCSealField, seals, c.putSeal}} {
		for _, i := range kind.at {
			if err := kind.put(i, fields[i]); err != nil {
				c.fault = fmt.Sprintf("%s: %v", kind.name, err)
				return c
			}
		}
	}
	c.whole = true
	c.fault = c.doubted()
	return c
}

// doubted returns what the sealers themselves state against the chain: RFC 8617 section 5.2 steps 2 and 3.
func (c *chain) doubted() string {
	for i := len(c.sets) - 1; i >= 0; i-- {
		s, want := c.sets[i], "pass"
		if i == 0 {
			want = "none"
		}
		switch {
		case s.cv == "fail":
			return fmt.Sprintf("the sealer of instance %d found the chain broken (cv=fail)", i+1)
		case s.cv != want:
			return fmt.Sprintf("instance %d has cv=%s, not %s", i+1, s.cv, want)
		}
	}
	return ""
}

// at returns the set of an instance, from 1 to the number of sets, unless it has the field already.
func (c *chain) at(text string, has func(*set) bool) (*set, error) {
	n, err := readInstance(text)
	switch {
	case err != nil:
		return nil, err
	case n > len(c.sets):
		return nil, fmt.Errorf("i=%d, where there are %d sets", n, len(c.sets))
	case has(c.sets[n-1]):
		return nil, fmt.Errorf("instance %d stands twice", n)
	}
	return c.sets[n-1], nil
}

// readInstance parses an instance: RFC 8617 section 4.2.1: one or two digits, from 1 to 50. 01 is 1.
func readInstance(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || len(s) > 2 || n < 1 || n > MaxSets {
		return 0, errors.New("i= is not a number from 1 to 50")
	}
	return int(n), nil
}

// putResults takes an ARC-Authentication-Results field: RFC 8617 section 4.1.1: "i=1;" and the syntax of RFC 8601.
func (c *chain) putResults(_ int, f Field) error {
	head, payload, ok := strings.Cut(f.Value, ";")
	name, value, hasValue := strings.Cut(head, "=")
	if !ok || !hasValue || strings.Trim(name, fws) != "i" {
		return errors.New("it does not begin with i=")
	}
	s, err := c.at(strings.Trim(value, fws), func(s *set) bool { return s.results.Name != "" })
	if err == nil {
		s.results, s.payload = f, payload
	}
	return err
}

// putMessage takes an ARC-Message-Signature: RFC 8617 section 4.1.2.
func (c *chain) putMessage(at int, f Field) error {
	sig, tags, err := readSetField(f)
	if err != nil {
		return err
	}
	s, err := c.at(tags["i"], func(s *set) bool { return s.message != nil })
	if err != nil {
		return err
	}
	s.message, sig.at = sig, at
	if sig.bodyHash, err = decodeBase64(tags["bh"]); err != nil || len(sig.bodyHash) != 32 {
		return errors.New("bh= is not the base64 of a SHA-256 hash")
	}
	h, ok := tags["h"]
	if !ok {
		return errors.New("h= is missing")
	}
	// The validation suite accepts empty items in h=, and an empty h=. Such an item signs nothing; Sealer.CoversFrom reports
	// whether a signature covers the author.
	if h = withoutEmpty(h); h != "" {
		if err := sig.readHeaders(h); err != nil {
			return err
		}
	}
	// Section 4.1.2 forbids to sign any ARC field. Seals come after the message signature, so that one that covers them cannot
	// verify; signing the other two is in use, and is accepted.
	if sig.covers("arc-seal") {
		return errors.New("h= covers ARC-Seal")
	}
	return sig.readNumbers(tags)
}

func withoutEmpty(list string) string {
	empty := func(item string) bool { return strings.Trim(item, fws) == "" }
	return strings.Join(slices.DeleteFunc(strings.Split(list, ":"), empty), ":")
}

// putSeal takes an ARC-Seal: RFC 8617 section 4.1.3.
func (c *chain) putSeal(_ int, f Field) error {
	sig, tags, err := readSetField(f)
	if err != nil {
		return err
	}
	s, err := c.at(tags["i"], func(s *set) bool { return s.seal != nil })
	if err != nil {
		return err
	}
	s.seal = sig
	// Section 4.1.3: what a seal covers is fixed; one with h= fails.
	if _, ok := tags["h"]; ok {
		return errors.New("it has h=")
	}
	switch s.cv = tags["cv"]; s.cv {
	case "none", "pass", "fail":
	default:
		return errors.New("cv= is not none, pass or fail")
	}
	for _, name := range []string{"l", "x"} { // not a seal's
		delete(tags, name)
	}
	return sig.readNumbers(tags)
}

// readSetField reads what message signatures and seals have in common with DKIM, and differ in: no v=, and i= is the
// instance (RFC 8617 section 4.1.2).
func readSetField(f Field) (*signature, map[string]string, error) {
	s := &signature{field: f, at: -1, limit: -1, time: -1, expiration: -1}
	if len(f.Value) > MaxSignatureField {
		return nil, nil, fmt.Errorf("it is longer than %d octets", MaxSignatureField)
	}
	// RFC 6376 section 3.2 allows one semicolon at the end, and no empty item.
	if list := strings.TrimRight(f.Value, fws); strings.Contains(stripFWS(list), ";;") || strings.HasPrefix(stripFWS(list), ";") {
		return nil, nil, errors.New("an empty place between semicolons")
	}
	tags, err := parseTags(f.Value)
	if err != nil {
		return nil, nil, err
	}
	instance := tags["i"]
	delete(tags, "i")
	if err := s.readNames(tags); err != nil {
		return nil, nil, err
	}
	for _, name := range []string{"a", "b", "d", "s"} {
		if tags[name] == "" {
			return nil, nil, fmt.Errorf("%s= is missing or empty", name)
		}
	}
	// Without c= the early drafts meant relaxed/relaxed; the validation suite and dkimpy still do, and it signs no less.
	if _, ok := tags["c"]; !ok {
		tags["c"] = "relaxed/relaxed"
	}
	if err := s.readAlgorithms(tags); err != nil {
		return nil, nil, err
	}
	if s.value, err = decodeBase64(tags["b"]); err != nil {
		return nil, nil, errors.New("b= is not base64")
	}
	tags["i"] = instance
	return s, tags, nil
}
