// Package dmarc finds the Author Domain of a message and, as it grows, the policy that its owner publishes: RFC 9989.
package dmarc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxAuthorDomains is how many domains a From field may name. RFC 9989 section 11.5 asks for a limit, because each costs
// look-ups; honest mail has one.
const MaxAuthorDomains = 4

// Author is what the From fields of a message say: RFC 9989 section 5.3.1.
type Author struct {
	Domains []string `json:"domains,omitempty"`  // lower-case A-labels, each once, in the order of the field
	Doubt   string   `json:"doubt,omitempty"`    // why no reader can be sure who wrote this; empty where it is plain
	TooMany bool     `json:"too_many,omitempty"` // the Doubt is that there are more than MaxAuthorDomains
}

// ReadAuthor reads the values of all From fields of a message. Whatever two readers could take for different domains is
// a Doubt, never a guess: no field, several fields, anything outside RFC 5322 section 3.4 that would move the address.
// With a Doubt, Domains is empty.
func ReadAuthor(values []string) Author {
	switch len(values) {
	case 0:
		return Author{Doubt: "there is no From field"}
	case 1:
	default:
		return Author{Doubt: fmt.Sprintf("there are %d From fields", len(values))}
	}
	domains, err := fromDomains(values[0])
	if err != nil {
		return Author{Doubt: "the From field is not readable: " + err.Error()}
	}
	if len(domains) > MaxAuthorDomains {
		return Author{Doubt: fmt.Sprintf("the From field names more than %d domains", MaxAuthorDomains), TooMany: true}
	}
	return Author{Domains: domains}
}

func fromDomains(value string) ([]string, error) {
	text, err := unfold(value)
	if err != nil {
		return nil, err
	}
	if hidesAddress(text) {
		return nil, errors.New("an encoded name hides the address")
	}
	p := &parser{s: text}
	if strings.Contains(text, escape) {
		err = errors.New(controlInField)
	} else {
		err = p.list(false)
	}
	if err != nil {
		if domain, ok := looseDomain(text); ok {
			return []string{domain}, nil
		}
		return nil, err
	}
	if len(p.domains) == 0 {
		return nil, errors.New("it contains no address")
	}
	var distinct []string
	for _, d := range p.domains {
		if !slices.Contains(distinct, d) {
			distinct = append(distinct, d)
		}
	}
	return distinct, nil
}

// unfold removes the line ends of folds. It returns an error for every other control character except escape.
func unfold(s string) (string, error) {
	if strings.Contains(s, "\n") {
		s = strings.NewReplacer("\r\n ", " ", "\r\n\t", "\t", "\n ", " ", "\n\t", "\t").Replace(s)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == 0x7f || c < ' ' && c != '\t' && c != escape[0] {
			return "", errors.New(controlInField)
		}
	}
	return s, nil
}
