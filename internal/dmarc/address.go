package dmarc

import (
	"errors"
	"strings"

	"signpost/internal/dkim"
)

// parser reads the mailbox-list of a From field: RFC 5322 section 3.6.2, with the groups of RFC 6854 and the UTF-8 of
// RFC 6532. It is stricter than the obsolete syntax of section 4.4: a source route or a comment inside an address is an
// error, because programs disagree on them.
type parser struct {
	s       string
	i       int
	domains []string
}

// maxComment is how deep comments may nest; the bound is ours, honest ones do not.
const maxComment = 16

// list reads addresses up to the end, or in a group up to its ";".
func (p *parser) list(group bool) error {
	for {
		if err := p.space(); err != nil {
			return err
		}
		if group && p.peek() == ';' { // RFC 6854: an empty group
			return nil
		}
		if err := p.address(group); err != nil {
			return err
		}
		switch c := p.peek(); {
		case c == ',':
			p.i++
		case c == ';' && group, c == 0 && !group:
			return nil
		case c == 0:
			return errors.New("a group does not end")
		default:
			return errors.New("text follows an address")
		}
	}
}

// peek is the next octet, 0 at the end; unfold has taken every real NUL out.
func (p *parser) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

// address reads one mailbox or, outside of one, a group; what follows it is left to list.
func (p *parser) address(inGroup bool) error {
	start := p.i
	words, err := p.words()
	if err != nil {
		return err
	}
	phrase := p.s[start:p.i]
	switch p.peek() {
	case '<':
		return p.angle("")
	case ':':
		if inGroup || words == 0 {
			return errors.New("a colon stands where no group can begin")
		}
		p.i++
		if err := p.list(true); err != nil {
			return err
		}
		p.i++ // its ";"
		return p.space()
	case '@':
		domain, err := p.addrSpec(phrase)
		if err != nil {
			return err
		}
		if err := p.space(); err != nil {
			return err
		}
		if p.peek() == '<' {
			// ann@example.org <ann@example.org>, the display name not quoted: wrong, common, and plain as long as both
			// name the same domain.
			return p.angle(domain)
		}
		p.domains = append(p.domains, domain)
		return nil
	}
	return errors.New("a name stands without an address")
}

// angle reads "<local@domain>". Where alike is set, the domain has to be that.
func (p *parser) angle(alike string) error {
	p.i++
	if err := p.blank(); err != nil {
		return err
	}
	if p.peek() == '@' {
		return errors.New("it holds a source route")
	}
	start := p.i
	if _, err := p.words(); err != nil {
		return err
	}
	if p.peek() != '@' {
		return errors.New("angle brackets hold no address")
	}
	domain, err := p.addrSpec(p.s[start:p.i])
	if err != nil {
		return err
	}
	if err := p.blank(); err != nil {
		return err
	}
	if p.peek() != '>' {
		return errors.New("an angle bracket does not close")
	}
	if alike != "" && alike != domain {
		return errors.New("two addresses stand where one belongs")
	}
	p.i++
	p.domains = append(p.domains, domain)
	return p.space()
}

// addrSpec reads on from the "@" behind a local part and gives the domain.
func (p *parser) addrSpec(local string) (string, error) {
	if !plainLocal(strings.Trim(local, " \t")) {
		return "", errors.New("a local part is malformed")
	}
	if !shownAsIs(local) {
		return "", errors.New("a local part is not what a reader is shown")
	}
	p.i++ // "@"
	if err := p.blank(); err != nil {
		return "", err
	}
	if p.peek() == '[' {
		return "", errors.New("an address literal stands in place of a domain")
	}
	start := p.i
	for p.i < len(p.s) && (atext(p.s[p.i]) || p.s[p.i] == '.') {
		p.i++
	}
	// RFC 9989 section 5.3.1: a U-label must be turned into an A-label.
	domain, err := dkim.Domain(p.s[start:p.i])
	if err != nil {
		return "", errors.New("what follows an @ is not a domain name")
	}
	return domain, nil
}

// blank reads white space, where a comment would stand inside an address.
func (p *parser) blank() error {
	start := p.i
	if err := p.space(); err != nil {
		return err
	}
	if strings.Contains(p.s[start:p.i], "(") {
		return errors.New("a comment stands inside an address")
	}
	return nil
}

// plainLocal is a dot-atom or one quoted string.
func plainLocal(s string) bool {
	if strings.HasPrefix(s, `"`) {
		q := &parser{s: s}
		return q.quoted() == nil && q.i == len(s)
	}
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := 0; i < len(atom); i++ {
			if !atext(atom[i]) {
				return false
			}
		}
	}
	return true
}

// words reads atoms, dots, quoted strings and comments, as they stand in a display name or before an "@", and counts them.
// Square brackets are let through: unquoted they are wrong in a display name, and no reader sees an address in them.
func (p *parser) words() (int, error) {
	n := 0
	for p.i < len(p.s) {
		c := p.s[p.i]
		switch {
		case c == ' ' || c == '\t' || c == '(':
			if err := p.space(); err != nil {
				return 0, err
			}
			continue
		case c == '"':
			if err := p.quoted(); err != nil {
				return 0, err
			}
		case atext(c) || c == '.' || c == '[' || c == ']':
			p.i++
		case c == '>' || c == ')' || c == '\\':
			return 0, errors.New("a bracket or backslash stands alone")
		default:
			return n, nil
		}
		n++
	}
	return n, nil
}

func (p *parser) quoted() error {
	for p.i++; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '\\':
			p.i++
		case '"':
			p.i++
			return nil
		}
	}
	return errors.New("a quoted string does not end")
}

// space reads white space and comments.
func (p *parser) space() error {
	depth := 0
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '(':
			if depth++; depth > maxComment {
				return errors.New("comments nest too deep")
			}
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			p.i++
		case depth == 0 && c != ' ' && c != '\t':
			return nil
		}
	}
	if depth > 0 {
		return errors.New("a comment does not end")
	}
	return nil
}

// atext is RFC 5322's, with the octets of UTF-8 as RFC 6532 adds them.
func atext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}
