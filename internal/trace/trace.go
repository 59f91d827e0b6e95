// Package trace reads the trace fields of a message: the topmost Received field (RFC 5321 section 4.4) and Return-Path. Postfix and the
// local delivery agent write them on top of the message after the milters have finished.
package trace

import (
	"net/mail"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/dkim"
)

// Trace contains the data about the SMTP session that is in the trace fields.
type Trace struct {
	Received *Received // the topmost Received field; nil if there is none, or if it does not have the form of Postfix's smtpd(8)
	Sender   *string   // the envelope sender, from a Return-Path field above all Received fields; nil if there is none
	// Rest contains all fields except those that were added after the milters. If Received is nil, Rest contains all fields.
	Rest []dkim.Field
}

// Received is a Received field of Postfix's smtpd(8).
type Received struct {
	Client netip.Addr
	Name   string // the verified name of the client, or "unknown"
	HELO   string // as Postfix writes it: special characters are replaced by "?"
	By     string // the host that wrote the field
	With   string // the protocol, such as ESMTPS
}

// Authenticated reports whether the client authenticated (RFC 3848).
func (r *Received) Authenticated() bool { return strings.HasSuffix(r.With, "A") }

// Read reads the trace fields of a message. It uses only the topmost Received field, because the sender can write all others.
func Read(fields []dkim.Field) Trace {
	t := Trace{Rest: fields}
	top := slices.IndexFunc(fields, func(f dkim.Field) bool { return is(f, "Received") })
	above := fields
	if top >= 0 {
		above = fields[:top]
		t.Received = parseReceived(fields[top].Value)
	}
	if i := slices.IndexFunc(above, func(f dkim.Field) bool { return is(f, "Return-Path") }); i >= 0 {
		t.Sender = parseReturnPath(above[i].Value)
	}
	if t.Received != nil {
		t.Rest = slices.DeleteFunc(slices.Clone(above), func(f dkim.Field) bool {
			return is(f, "Return-Path") || is(f, "Delivered-To") || is(f, "X-Original-To")
		})
		t.Rest = append(t.Rest, fields[top+1:]...)
	}
	return t
}

func is(f dkim.Field, name string) bool {
	return strings.EqualFold(strings.TrimRight(f.Name, " \t"), name)
}

// parseReturnPath returns the address of a Return-Path field, or nil if the field has another form.
func parseReturnPath(value string) *string {
	address, opened := strings.CutPrefix(strings.TrimSpace(value), "<")
	address, closed := strings.CutSuffix(address, ">")
	if !opened || !closed || strings.ContainsAny(address, "<>\r\n\t\x00") {
		return nil
	}
	return &address
}

// parseReceived parses the field in the form of Postfix's smtpd(8), which may have comments about TLS and the login in the middle. It
// returns nil for any other form:
//
//	from HELO (NAME [ADDRESS])
//	        (using TLSv1.3 with cipher ...) (Authenticated sender: ...)
//	        by HOST (Postfix) with ESMTPS id QUEUE-ID
//	        for <RECIPIENT>; DATE
func parseReceived(value string) *Received {
	p := parser{rest: strings.Join(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }), " ")}
	p.skip("from ")
	var r Received
	r.HELO = p.until(" (", isHELO)
	r.Name = p.until(" [", isHostName)
	r.Client = p.address("]) ")
	for strings.HasPrefix(p.rest, "(") && !p.failed {
		p.comment()
	}
	p.skip("by ")
	r.By = p.until(" (", isHostName)
	p.until(") with ", func(name string) bool { return !strings.ContainsAny(name, "()") }) // mail_name
	details, date, ok := cutLast(p.rest, "; ")
	if _, err := mail.ParseDate(date); p.failed || !ok || err != nil {
		return nil
	}
	p.rest = details + " "
	r.With = p.until(" ", isProtocol)
	if strings.HasPrefix(p.rest, "id ") {
		p.skip("id ")
		p.until(" ", isQueueID)
	}
	if strings.HasPrefix(p.rest, "for <") {
		p.skip("for <")
		p.until("> ", func(string) bool { return true })
	}
	if p.failed || p.rest != "" {
		return nil
	}
	return &r
}

// parser reads a text from left to right. After the first failure, its methods return empty values.
type parser struct {
	rest   string
	failed bool
}

func (p *parser) skip(text string) { p.until(text, func(before string) bool { return before == "" }) }

// until returns the text before a separator, and skips both. until fails if the function valid does not accept the text.
func (p *parser) until(separator string, valid func(string) bool) string {
	text, rest, ok := strings.Cut(p.rest, separator)
	if p.failed = p.failed || !ok || !valid(text); p.failed {
		return ""
	}
	p.rest = rest
	return text
}

// address reads an address literal of RFC 5321 section 4.1.3 without its brackets.
func (p *parser) address(separator string) (a netip.Addr) {
	p.until(separator, func(text string) bool {
		literal, six := strings.CutPrefix(text, "IPv6:")
		var err error
		a, err = netip.ParseAddr(literal)
		return err == nil && a.Zone() == "" && six == a.Is6()
	})
	return a
}

// comment skips a comment, including nested ones, and the space after it.
func (p *parser) comment() {
	depth := 0
	for i := range len(p.rest) {
		switch p.rest[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			p.rest = p.rest[i+1:]
			p.skip(" ")
			return
		}
	}
	p.failed = true
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}

// isHELO reports whether Postfix can have written a HELO name. Postfix replaces these characters by "?".
func isHELO(s string) bool { return s != "" && !strings.ContainsAny(s, ` <>()\";@`) }

func isHostName(s string) bool { return s != "" && consists(s, "-._") }

func isQueueID(s string) bool { return s != "" && consists(s, "") }

func consists(s, alsoAllowed string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(alsoAllowed, r)
	})
}

// isProtocol reports whether s is a protocol of smtpd(8). S stands for TLS, A for a login (RFC 3848).
func isProtocol(s string) bool {
	s = strings.TrimSuffix(strings.TrimSuffix(s, "A"), "S")
	return s == "SMTP" || s == "ESMTP" || s == "UTF8SMTP"
}
