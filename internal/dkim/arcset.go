package dkim

import (
	"errors"
	"fmt"
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

// chain is the ARC sets of a message. Where it has a fault nothing is computed and nothing is looked up.
type chain struct {
	sets  []*set // instance 1 first; nil where a message has none
	fault string // why the sets are no chain, or ""
	whole bool   // each set has its three fields, and they can be read
}

// verified are the message signatures that are verified, the newest last.
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

// readChain gathers the sets and looks at their structure: RFC 8617 section 5.2 steps 1 to 3.
func readChain(fields []Field, x *index) chain {
	results := x.all("arc-authentication-results")
	messages := x.all("arc-message-signature")
	seals := x.all("arc-seal")
	n := len(seals)
	if n+len(messages)+len(results) == 0 {
		return chain{}
	}
	// Step 1. The bound comes before anything is read.
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

// doubted says what the sealers themselves say against the chain: RFC 8617 section 5.2 steps 2 and 3.
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

// at finds the set of an instance. Instances are from 1 to the number of sets.
func (c *chain) at(text string) (*set, error) {
	n, err := readInstance(text)
	if err != nil {
		return nil, err
	}
	if n > len(c.sets) {
		return nil, fmt.Errorf("i=%d, where there are %d sets", n, len(c.sets))
	}
	return c.sets[n-1], nil
}

// readInstance reads a position: RFC 8617 section 4.2.1: one or two digits, from 1 to 50. So 01 is 1.
func readInstance(s string) (int, error) {
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' || len(s) > 2 {
			return 0, errors.New("i= is not a number from 1 to 50")
		}
		n = 10*n + int(s[i]-'0')
	}
	if n < 1 || n > MaxSets {
		return 0, errors.New("i= is not a number from 1 to 50")
	}
	return n, nil
}

func twice(instance int) error { return fmt.Errorf("instance %d stands twice", instance) }

// putResults takes an ARC-Authentication-Results field: RFC 8617 section 4.1.1: "i=1;" and what RFC 8601 says.
func (c *chain) putResults(_ int, f Field) error {
	head, payload, ok := strings.Cut(f.Value, ";")
	name, value, hasValue := strings.Cut(head, "=")
	if !ok || !hasValue || strings.Trim(name, fws) != "i" {
		return errors.New("it does not begin with i=")
	}
	s, err := c.at(strings.Trim(value, fws))
	switch {
	case err != nil:
		return err
	case s.results.Name != "":
		return twice(s.instance)
	}
	s.results, s.payload = f, payload
	return nil
}

// putMessage takes an ARC-Message-Signature: RFC 8617 section 4.1.2.
func (c *chain) putMessage(at int, f Field) error {
	sig, tags, err := readSetField(f)
	if err != nil {
		return err
	}
	s, err := c.at(tags["i"])
	switch {
	case err != nil:
		return err
	case s.message != nil:
		return twice(s.instance)
	}
	s.message, sig.at = sig, at
	if sig.bodyHash, err = decodeBase64(tags["bh"]); err != nil || len(sig.bodyHash) != 32 {
		return errors.New("bh= is not the base64 of a SHA-256 hash")
	}
	h, ok := tags["h"]
	if !ok {
		return errors.New("h= is missing")
	}
	// Empty places in h=, and an h= that is empty altogether, are in the validation suite as good. Such a place signs
	// nothing; Sealer.CoversFrom tells whose signature says nothing about the author.
	if h = withoutEmpty(h); h != "" {
		if err := sig.readHeaders(h); err != nil {
			return err
		}
	}
	// Section 4.1.2 has signers leave out every ARC field. Seals come after the message signature, so that one which
	// covers them is no use to anybody; the other two are in use, and do no harm.
	if sig.covers("arc-seal") {
		return errors.New("h= covers ARC-Seal")
	}
	return sig.readNumbers(tags)
}

func withoutEmpty(list string) string {
	var items []string
	for item := range strings.SplitSeq(list, ":") {
		if strings.Trim(item, fws) != "" {
			items = append(items, item)
		}
	}
	return strings.Join(items, ":")
}

// putSeal takes an ARC-Seal: RFC 8617 section 4.1.3.
func (c *chain) putSeal(_ int, f Field) error {
	sig, tags, err := readSetField(f)
	if err != nil {
		return err
	}
	s, err := c.at(tags["i"])
	switch {
	case err != nil:
		return err
	case s.seal != nil:
		return twice(s.instance)
	}
	s.seal = sig
	// Section 4.1.3: what a seal covers is fixed; one that says h= fails.
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
	// RFC 6376 section 3.2 lets one semicolon stand at the end, and no empty place.
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
