package dmarc

import (
	"strings"

	"signpost/internal/domain"
)

// parser reads the mailbox-list of a From field: RFC 5322 section 3.6.2, with groups (RFC 6854) and UTF-8 (RFC 6532). It accepts two parts
// of the obsolete syntax of section 4.4: empty list elements, and misplaced dots in a local part. A source route or a comment inside a
// domain is an error, because programs read them differently.
type parser struct {
	s         string
	i         int
	word      int // the end of the last word that the method words has read
	addresses []Address
}

// maxComment is the maximum nesting depth of comments. No RFC has a limit; honest comments do not nest.
const maxComment = 16

// list reads addresses up to the end of the text or, in a group, up to ";".
func (p *parser) list(group bool) error {
	for {
		if err := p.space(); err != nil {
			return err
		}
		switch c := p.peek(); {
		case c == ',': // an empty element, which RFC 5322 section 4.4 requires parsers to accept
			p.i++
			continue
		case c == ';' && group, c == 0 && !group:
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
			return &Fault{Cause: FromGroupUnclosed}
		default:
			return &Fault{Cause: FromTextAfterAddress}
		}
	}
}

// peek returns the next byte, or 0 at the end. The text contains no NUL, because unfold rejects control characters.
func (p *parser) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

// address reads one mailbox or, outside of a group, one group. The method list reads the text that follows.
func (p *parser) address(inGroup bool) error {
	words, err := p.words()
	if err != nil {
		return err
	}
	switch p.peek() {
	case '<':
		return p.angle("")
	case ':':
		if inGroup || words == "" {
			return &Fault{Cause: FromUnquotedColon}
		}
		p.i++
		if err := p.list(true); err != nil {
			return err
		}
		p.i++ // its ";"
		return p.space()
	case '@':
		address, err := p.addrSpec(words)
		if err != nil {
			return err
		}
		if err := p.space(); err != nil {
			return err
		}
		if p.peek() == '<' {
			// A display name that is an unquoted address, as in ann@example.org <ann@example.org>, is common. It is unambiguous if both
			// addresses have the same domain. A program may show either address, so both are returned if they differ.
			if err := p.angle(address.Domain); err != nil {
				return err
			}
			if last := p.addresses[len(p.addresses)-1]; strings.EqualFold(last.Local, address.Local) {
				return nil
			}
		}
		p.addresses = append(p.addresses, address)
		return nil
	case ',':
		return &Fault{Cause: FromUnquotedComma}
	case '>':
		return &Fault{Cause: FromUnquotedAngleBracket}
	case ';':
		if !inGroup {
			return &Fault{Cause: FromUnquotedSemicolon}
		}
	case 0:
		if inGroup {
			return &Fault{Cause: FromGroupUnclosed}
		}
	}
	return &Fault{Cause: FromNameWithoutAddress}
}

// angle reads "<local@domain>". If alike is not empty, the domain must be equal to alike.
func (p *parser) angle(alike string) error {
	p.i++
	if err := p.blank(); err != nil {
		return err
	}
	if p.peek() == '@' {
		return &Fault{Cause: FromSourceRoute}
	}
	local, err := p.words()
	if err != nil {
		return err
	}
	if p.peek() != '@' {
		return &Fault{Cause: FromBracketsWithoutAddress}
	}
	address, err := p.addrSpec(local)
	if err != nil {
		return err
	}
	if err := p.blank(); err != nil {
		return err
	}
	if p.peek() != '>' {
		return &Fault{Cause: FromAngleBracketUnclosed}
	}
	if alike != "" && alike != address.Domain {
		return &Fault{Cause: FromTwoAddresses}
	}
	p.i++
	p.addresses = append(p.addresses, address)
	return p.space()
}

// addrSpec reads from the "@" after a local part and returns the address.
func (p *parser) addrSpec(local string) (Address, error) {
	if err := onlyWords(p.s[p.word:p.i]); err != nil {
		return Address{}, err
	}
	if !plainLocal(local) {
		return Address{}, &Fault{Cause: FromMalformedLocalPart}
	}
	if !shownAsIs(local) {
		return Address{}, &Fault{Cause: FromDeceptiveLocalPart}
	}
	p.i++ // "@"
	if err := p.blank(); err != nil {
		return Address{}, err
	}
	if p.peek() == '[' {
		return Address{}, &Fault{Cause: FromAddressLiteral}
	}
	start := p.i
	for p.i < len(p.s) && (atext(p.s[p.i]) || p.s[p.i] == '.') {
		p.i++
	}
	// RFC 9989 section 5.3.1: a U-label must be turned into an A-label.
	name, err := domain.Parse(p.s[start:p.i])
	if err != nil {
		return Address{}, &Fault{Cause: FromInvalidDomain}
	}
	return Address{Local: local, Domain: name}, nil
}

// blank reads the white space and comments before or after a part of an address: RFC 5322 section 3.4.1.
func (p *parser) blank() error {
	start := p.i
	if err := p.space(); err != nil {
		return err
	}
	return onlyWords(p.s[start:p.i])
}

// onlyWords returns an error if comments inside an address contain anything other than letters, digits and hyphens. A program that does
// not know comments could read other characters, such as a dot or an @, as part of the address.
func onlyWords(comments string) error {
	for i := range len(comments) {
		c := comments[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("() \t-", c) >= 0) {
			return &Fault{Cause: FromCommentInAddress}
		}
	}
	return nil
}

// plainLocal reports whether s is a quoted string, or atoms and dots. Dots may be at the beginning or the end, or adjacent. RFC 5322
// section 3.4.1 does not allow this, but Japanese mobile providers issued such addresses.
func plainLocal(s string) bool {
	if strings.HasPrefix(s, `"`) {
		q := &parser{s: s}
		return q.quoted() == nil && q.i == len(s)
	}
	atoms := strings.ReplaceAll(s, ".", "")
	for i := range len(atoms) {
		if !atext(atoms[i]) {
			return false
		}
	}
	return atoms != ""
}

// words reads atoms, dots, quoted strings and comments, as they occur in a display name or before an "@". It returns the text up to the
// last word, and sets p.word to the end of that word. It accepts unquoted square brackets. A display name must not contain such brackets,
// but no program reads an address in them.
func (p *parser) words() (string, error) {
	start := p.i
	p.word = p.i
	for p.i < len(p.s) {
		c := p.s[p.i]
		switch {
		case c == ' ' || c == '\t' || c == '(':
			if err := p.space(); err != nil {
				return "", err
			}
			continue
		case c == '"':
			if err := p.quoted(); err != nil {
				return "", err
			}
		case atext(c) || c == '.' || c == '[' || c == ']':
			p.i++
		case c == ')':
			return "", &Fault{Cause: FromUnquotedParenthesis}
		case c == '\\':
			return "", &Fault{Cause: FromUnquotedBackslash}
		default:
			return p.s[start:p.word], nil
		}
		p.word = p.i
	}
	return p.s[start:p.word], nil
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
	return &Fault{Cause: FromQuotedStringUnclosed}
}

// space reads white space and comments.
func (p *parser) space() error {
	depth := 0
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '(':
			if depth++; depth > maxComment {
				return &Fault{Cause: FromCommentsTooDeep}
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
		return &Fault{Cause: FromCommentUnclosed}
	}
	return nil
}

// atext reports whether a byte is atext of RFC 5322, or part of a UTF-8 character, which RFC 6532 adds.
func atext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}
