package spf

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Mechanism is the name of a mechanism, in lower case.
type Mechanism string

// The mechanisms of RFC 7208 section 5.
const (
	All     Mechanism = "all"
	Include Mechanism = "include"
	A       Mechanism = "a"
	MX      Mechanism = "mx"
	PTR     Mechanism = "ptr"
	IP4     Mechanism = "ip4"
	IP6     Mechanism = "ip6"
	Exists  Mechanism = "exists"

	// Redirect is the modifier redirect=, as the last term of a Walk.
	Redirect Mechanism = "redirect"
)

// Record is an SPF record that the grammar of RFC 7208 section 12 allows.
type Record struct {
	Directives []Directive // in their order
	Redirect   DomainSpec  // empty: none
	Exp        DomainSpec  // empty: none
	Unknown    []string    // modifiers that section 6 ignores, as written
	terms      []Directive // Directives, then redirect=
}

// Directive is a mechanism with its qualifier.
type Directive struct {
	Text      string // as written
	Qualifier Status // Pass, Fail, SoftFail or Neutral
	Mechanism Mechanism
	Domain    DomainSpec   // empty: the domain of the record
	Network   netip.Prefix // ip4 and ip6: the network; host bits are not cleared
	Bits4     int          // a and mx: the prefix length for IPv4
	Bits6     int          // a and mx: the prefix length for IPv6
}

// Around returns the network that contains an address and has the prefix length of the a or mx.
func (d Directive) Around(a netip.Addr) netip.Prefix {
	bits := d.Bits4
	if a.Is6() {
		bits = d.Bits6
	}
	p, _ := a.Prefix(bits) // parseBits has checked the length
	return p
}

// DomainSpec is a domain-spec (section 7.1) as written.
type DomainSpec string

// HasMacros reports whether the name depends on the message.
func (d DomainSpec) HasMacros() bool { return strings.Contains(string(d), "%") }

// Name returns the name of a domain-spec that has no macros. The name is as written, but without a final dot. If the domain-spec is empty,
// Name returns the parameter domain, the domain of the record.
func (d DomainSpec) Name(domain string) string {
	return cmp.Or(strings.TrimSuffix(string(d), "."), domain)
}

// IsRecord reports whether a TXT record is an SPF record (RFC 7208 section 4.5): v=spf1 followed by a space or the end of the text.
func IsRecord(txt string) bool {
	version, _, _ := strings.Cut(txt, " ")
	return strings.EqualFold(version, "v=spf1")
}

// NearRecord returns the first TXT record that is not an SPF record (section 4.5) but was probably meant to be one, or "".
func NearRecord(txt []string) string {
	for _, t := range txt {
		const version = "v=spf1"
		begin := strings.TrimLeft(t, " \t\"'\u00a0\ufeff")
		if IsRecord(t) || len(begin) < len(version) || !strings.EqualFold(begin[:len(version)], version) {
			continue
		}
		if rest := begin[len(version):]; rest == "" || rest[0] < '0' || '9' < rest[0] { // v=spf10 is another version
			return t
		}
	}
	return ""
}

// MeantMechanism returns the mechanism that an unknown modifier was probably meant to be, or "". For ip4=192.0.2.1, it returns
// ip4:192.0.2.1.
func MeantMechanism(modifier string) string {
	name, value, _ := strings.Cut(modifier, "=")
	switch Mechanism(strings.ToLower(name)) {
	case Include, A, MX, PTR, IP4, IP6, Exists:
		return name + ":" + value
	}
	return ""
}

// ParseRecord parses an SPF record. Its error is a *Fault that names the first wrong term.
func ParseRecord(txt string) (*Record, error) {
	r, fault := parse(txt)
	if fault != nil {
		return nil, fault
	}
	return r, nil
}

func parse(txt string) (*Record, *Fault) {
	if !IsRecord(txt) {
		return nil, &Fault{Cause: VersionMissing}
	}
	r := &Record{}
	for term := range strings.SplitSeq(txt[len("v=spf1"):], " ") {
		if term == "" {
			continue
		}
		name, value, isModifier := cutModifier(term)
		var fault *Fault
		if isModifier {
			fault = r.modifier(name, value, term)
		} else {
			var d Directive
			d, fault = parseDirective(term)
			r.Directives = append(r.Directives, d)
		}
		if fault != nil {
			fault.Term = term
			return nil, fault
		}
	}
	if r.terms = r.Directives; r.Redirect != "" {
		r.terms = append(slices.Clip(r.terms), Directive{Text: "redirect=" + string(r.Redirect), Qualifier: Pass, Mechanism: Redirect, Domain: r.Redirect})
	}
	return r, nil
}

// cutModifier splits a modifier into name and value. A term is a modifier if it has a name and "=" before any ":" or "/". RFC 7208 section
// 4.6.1.
func cutModifier(term string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(term, "=")
	if !ok || name == "" || !isAlpha(name[0]) {
		return "", "", false
	}
	for i := range len(name) {
		if !isAlnum(name[i]) && !strings.ContainsRune("-_.", rune(name[i])) {
			return "", "", false
		}
	}
	return strings.ToLower(name), value, true
}

func (r *Record) modifier(name, value, term string) (fault *Fault) {
	to := &r.Redirect
	switch name {
	case "redirect":
	case "exp":
		to = &r.Exp
	default: // section 6: unknown modifiers are ignored
		r.Unknown = append(r.Unknown, term)
		_, fault = checkMacros(value, "slodiphcrtv")
		return fault
	}
	if *to != "" { // section 6; the value is never empty, because parseDomainSpec rejects that
		return &Fault{Cause: RepeatedModifier, Detail: name + "="}
	}
	*to, fault = parseDomainSpec(value)
	return fault
}

func parseDirective(term string) (Directive, *Fault) {
	d := Directive{Text: term, Qualifier: Pass, Bits4: 32, Bits6: 128}
	rest := term
	switch term[0] {
	case '+':
		rest = term[1:]
	case '-':
		d.Qualifier, rest = Fail, term[1:]
	case '~':
		d.Qualifier, rest = SoftFail, term[1:]
	case '?':
		d.Qualifier, rest = Neutral, term[1:]
	}
	end := strings.IndexAny(rest, ":/")
	if end < 0 {
		end = len(rest)
	}
	written, rest := rest[:end], rest[end:]
	d.Mechanism = Mechanism(strings.ToLower(written))
	var fault *Fault
	switch d.Mechanism {
	case All:
		if rest != "" {
			fault = &Fault{Cause: TextAfterAll, Detail: rest}
		}
		return d, fault
	case IP4, IP6:
		d.Network, fault = parseNetwork(d.Mechanism, rest)
		return d, fault
	case A, MX:
		if rest, d.Bits4, d.Bits6, fault = cutBits(rest); fault != nil {
			return d, fault
		}
		if rest == "" {
			return d, nil
		}
	case PTR:
		if rest == "" {
			return d, nil
		}
	case Include, Exists:
	default:
		return d, &Fault{Cause: UnknownMechanism, Detail: written}
	}
	if !strings.HasPrefix(rest, ":") {
		return d, &Fault{Cause: DomainMissing}
	}
	d.Domain, fault = parseDomainSpec(rest[1:])
	return d, fault
}

// parseNetwork parses the network of an ip4 or ip6: RFC 7208 section 5.6.
func parseNetwork(m Mechanism, rest string) (netip.Prefix, *Fault) {
	text, ok := strings.CutPrefix(rest, ":")
	if !ok {
		return netip.Prefix{}, &Fault{Cause: AddressMissing}
	}
	text, length, cut := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.Is4() != (m == IP4) {
		return netip.Prefix{}, &Fault{Cause: InvalidAddress, Detail: text}
	}
	bits := addr.BitLen()
	if cut {
		var fault *Fault
		if bits, fault = parseBits(length, bits); fault != nil {
			return netip.Prefix{}, fault
		}
	}
	return netip.PrefixFrom(addr, bits), nil
}

// cutBits cuts a dual-cidr-length off the end. A domain name cannot end in a dual-cidr-length, because its last label contains a letter.
func cutBits(s string) (rest string, four, six int, fault *Fault) {
	rest, four, six = s, 32, 128
	if i := strings.LastIndex(rest, "//"); i >= 0 && isDigits(rest[i+2:]) {
		if six, fault = parseBits(rest[i+2:], 128); fault != nil {
			return "", 0, 0, fault
		}
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '/'); i >= 0 && isDigits(rest[i+1:]) {
		if four, fault = parseBits(rest[i+1:], 32); fault != nil {
			return "", 0, 0, fault
		}
		rest = rest[:i]
	}
	return rest, four, six, nil
}

func parseBits(s string, most int) (int, *Fault) {
	n, err := strconv.Atoi(s)
	if err != nil || !isDigits(s) || n > most || len(s) > 1 && s[0] == '0' {
		return 0, &Fault{Cause: InvalidPrefixLength, Detail: s}
	}
	return n, nil
}

// parseDomainSpec parses a domain-spec (RFC 7208 section 7.1): a macro-string that ends in a macro, or in a dot and a top-level label.
func parseDomainSpec(s string) (DomainSpec, *Fault) {
	endsInMacro, fault := checkMacros(s, "slodiphv") // section 7.2: c, r and t are for explanations
	if fault != nil {
		return "", fault
	}
	if !endsInMacro {
		name := strings.TrimSuffix(s, ".")
		dot := strings.LastIndexByte(name, '.')
		if dot < 0 || !isTopLabel(name[dot+1:]) {
			return "", &Fault{Cause: InvalidDomainName, Detail: s}
		}
	}
	return DomainSpec(s), nil
}

func isTopLabel(s string) bool {
	letter, hyphen := false, false
	for i := range len(s) {
		switch {
		case isAlpha(s[i]):
			letter = true
		case s[i] == '-' && i > 0 && i < len(s)-1:
			hyphen = true
		case !isAlnum(s[i]):
			return false
		}
	}
	return letter || hyphen
}

// checkMacros checks a macro-string, in which only the given macro letters are allowed: RFC 7208 section 7.1.
func checkMacros(s, letters string) (endsInMacro bool, fault *Fault) {
	for i := 0; i < len(s); i++ {
		endsInMacro = false
		if s[i] < 0x21 || s[i] > 0x7e {
			return false, &Fault{Cause: InvalidCharacter}
		}
		if s[i] != '%' {
			continue
		}
		if i++; i == len(s) {
			return false, &Fault{Cause: StrayPercent, Detail: s[i-1:]}
		}
		endsInMacro = true
		switch s[i] {
		case '%', '_', '-':
			continue
		case '{':
		default:
			return false, &Fault{Cause: StrayPercent, Detail: s[i-1:]}
		}
		body, _, closed := strings.Cut(s[i+1:], "}")
		if !closed || !isMacro(body, letters) {
			return false, &Fault{Cause: InvalidMacro, Detail: s[i-1:]}
		}
		i += len(body) + 1
	}
	return endsInMacro, nil
}

// isMacro reports whether s is the text between the braces of a macro: a letter, the number of parts, r to reverse them, and delimiters.
func isMacro(s, letters string) bool {
	if s == "" || !strings.Contains(letters, strings.ToLower(s[:1])) {
		return false
	}
	rest := strings.TrimLeft(s[1:], "0123456789")
	digits := s[1 : len(s)-len(rest)]
	if digits != "" && strings.Trim(digits, "0") == "" {
		return false // section 7.3: not zero
	}
	if rest != "" && (rest[0] == 'r' || rest[0] == 'R') {
		rest = rest[1:]
	}
	return strings.Trim(rest, ".-+,/_=") == ""
}

func isAlpha(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isAlnum(c byte) bool { return isAlpha(c) || c >= '0' && c <= '9' }

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
