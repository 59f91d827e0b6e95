package journal

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"signpost/internal/decision"
	"signpost/internal/domain"
	"signpost/policy"
)

// Party is an address of the From field, an envelope sender, a recipient or a login that a Filter looks for. The zero value matches everyone.
type Party struct {
	forms   []string // in lower case: the address, and the words that replace it if journal.addresses is hash
	domains []string // all addresses of these domains
}

// nullSender is what a user writes for the empty envelope sender of bounces.
const nullSender = "<>"

// parseParty parses an address, or a domain with or without a leading @. If login is true, a text without an @ is the name of a login.
func parseParty(text string, login bool) (Party, error) {
	local, name, ok := cutAddress(strings.ToLower(text))
	switch {
	case text == "":
		return Party{}, nil
	case text == nullSender:
		return Party{forms: []string{""}}, nil
	case !ok && login:
		return Party{forms: []string{local}}, nil
	case !ok:
		local, name = "", local
	}
	parsed, err := domain.ParseArgument(name)
	switch {
	case err == nil && local == "":
		return Party{domains: domain.Forms(parsed)}, nil
	case err == nil:
		forms := []string{strings.ToLower(text)}
		for _, form := range domain.Forms(parsed) {
			forms = append(forms, local+"@"+form)
		}
		return Party{forms: domain.Unique(forms)}, nil
	case login && local != "":
		return Party{forms: []string{strings.ToLower(text)}}, nil // a login need not be an address
	}
	return Party{}, errors.New("is neither an address such as ann@example.org nor a domain: " + err.Error())
}

func (p Party) any() bool { return p.forms == nil && p.domains == nil }

// hashed adds the words that replace addresses, with each of the secrets.
func (p Party) hashed(secrets [][]byte) Party {
	for _, form := range slices.Clone(p.forms) {
		for _, secret := range secrets {
			if form != "" {
				p.forms = append(p.forms, strings.ToLower(hider{hash: true, secret: secret}.address(form)))
			}
		}
	}
	return p
}

// is reports whether an address in an entry is that of the party. An address that was cut may be about someone else.
func (p Party) is(kept string) bool {
	if p.any() {
		return true
	}
	if strings.HasSuffix(kept, cutMark) {
		return false
	}
	low := strings.ToLower(kept)
	_, name, ok := cutAddress(low)
	return slices.Contains(p.forms, low) || ok && slices.Contains(p.domains, name)
}

// needles returns texts of which an entry contains at least one, if it matches.
func (p Party) needles() []string {
	all := slices.Clone(p.forms)
	for _, name := range p.domains {
		all = append(all, "@"+name)
	}
	return all
}

// Content selects messages by texts that only the entry has, so a search reads all entries that match the rest of a Filter.
type Content struct {
	Author                   Party // any address of the From field
	Sender, Recipient, Login Party
	MessageID                string
	Selector                 string // in lower case: of a key that signed, or of a signature or seal of the message
	Code                     policy.Code
}

func (c Content) empty() bool {
	return c.Author.any() && c.Sender.any() && c.Recipient.any() && c.Login.any() && c.MessageID == "" && c.Selector == "" && c.Code == ""
}

// ReadsEntries reports whether a search with this filter reads entries, because no index has what it looks for.
func (f Filter) ReadsEntries() bool {
	c := f.Content
	c.MessageID = ""
	return !c.empty()
}

// Hashed returns the filter for a journal whose addresses may be hashed with one of the secrets.
func (f Filter) Hashed(secrets ...[]byte) Filter {
	c := &f.Content
	c.Author = c.Author.hashed(secrets)
	c.Sender, c.Recipient, c.Login = c.Sender.hashed(secrets), c.Recipient.hashed(secrets), c.Login.hashed(secrets)
	return f
}

func (c Content) matches(e *Entry) bool {
	return (c.Author.any() || slices.ContainsFunc(e.Author.Addresses, c.Author.is)) && c.Sender.is(e.Sender) && (c.Recipient.any() || slices.ContainsFunc(e.Recipients, c.Recipient.is)) &&
		(c.Login.any() || e.Login != "" && c.Login.is(e.Login)) && (c.MessageID == "" || e.HasMessageID(c.MessageID)) &&
		(c.Selector == "" || hasSelector(&e.Record, c.Selector)) && (c.Code == "" || hasCode(&e.Record, c.Code))
}

func hasSelector(r *decision.Record, selector string) bool {
	if slices.Contains(r.Selectors, selector) {
		return true
	}
	for _, d := range r.DKIM {
		if d.Selector == selector {
			return true
		}
	}
	if r.ARC != nil {
		for _, s := range r.ARC.Sets {
			if s.Selector == selector {
				return true
			}
		}
	}
	return false
}

func hasCode(r *decision.Record, code policy.Code) bool {
	return r.Code == code || r.Assignment.Reason.Code == code || r.Verdict.Has(code)
}

// sieve decides about the JSON of an entry whether it can match. Decoding it would take ten times as long.
type sieve struct {
	all [][]string // the JSON contains one text of each list
	low []byte
}

// newSieve returns the sieve for a Content.
func newSieve(c Content) *sieve {
	s := &sieve{}
	add := func(texts ...string) {
		if !slices.ContainsFunc(texts, func(t string) bool { return !unescaped(t) }) && len(texts) > 0 {
			s.all = append(s.all, texts)
		}
	}
	for _, p := range []Party{c.Author, c.Sender, c.Recipient, c.Login} {
		add(p.needles()...)
	}
	if c.Selector != "" {
		add(c.Selector)
	}
	if c.Code != "" {
		add(string(c.Code))
	}
	return s
}

// unescaped reports whether a text is the same in JSON.
func unescaped(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("@.-_~+=", r))
	})
}

func (s *sieve) passes(text []byte) bool {
	if len(s.all) == 0 {
		return true
	}
	s.low = s.low[:0]
	for _, b := range text {
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		s.low = append(s.low, b)
	}
	for _, texts := range s.all {
		if !slices.ContainsFunc(texts, func(t string) bool { return bytes.Contains(s.low, []byte(t)) }) {
			return false
		}
	}
	return true
}
