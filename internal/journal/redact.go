package journal

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/policy"
)

// Addresses is the value of journal.addresses. It determines whether the journal keeps recipients and the local parts of addresses.
type Addresses string

// The values.
const (
	Omit Addresses = "omit" // no recipients, and no local parts
	Hash Addresses = "hash" // an HMAC of the address instead of each local part, with the secret of this journal
	Full Addresses = "full" // everything
)

// leftOut replaces a text that is omitted.
const leftOut = "(left out)"

// redact returns a copy of a record without the parts that the setting keep excludes. It does not change the slices of r.
func redact(r decision.Record, keep Addresses, secret []byte) decision.Record {
	if keep == Full {
		return r
	}
	hide := hider{hash: keep == Hash, secret: secret}
	local, _, _ := cutAddress(r.Sender)
	r.Sender, r.Login = hide.address(r.Sender), hide.address(r.Login)
	if keep == Omit {
		r.Recipients, r.Author.Addresses = nil, nil // header_from has the domains
	}
	r.Recipients = hideEach(r.Recipients, hide.address, func(to *string) *string { return to })
	r.Author.Addresses = hideEach(r.Author.Addresses, hide.address, func(a *string) *string { return a })
	r.Lookups, hide.pieces = hideNames(r.Lookups, local)
	e := &r.Evidence
	var failed []string
	if len(hide.pieces) > 0 {
		failed = failedNames(e)
	}
	e.Author.Detail = hide.detail(e.Author.Detail)
	e.DKIM = hideEach(e.DKIM, hide.address, func(d *dkim.Result) *string { return &d.Identity })
	e.DKIM = hideEach(e.DKIM, hide.detail, func(d *dkim.Result) *string { return &d.Detail })
	e.DMARC = hideEach(e.DMARC, hide.detail, func(d *dmarc.Result) *string { return &d.Failed })
	e.DMARC = hideEach(e.DMARC, hide.detail, func(d *dmarc.Result) *string { return &d.Detail })
	e.Others = hideEach(e.Others, hide.text, func(o *policy.Other) *string { return &o.Reason })
	e.Relays = hideEach(e.Relays, hide.detail, func(r *policy.Relay) *string { return &r.Failed })
	if e.ARC != nil {
		arc := *e.ARC
		arc.Detail = hide.detail(arc.Detail)
		arc.Sets = hideEach(arc.Sets, hide.text, func(s *dkim.Sealer) *string { return &s.Results })
		e.ARC = &arc
	}
	if e.SPF != nil {
		hidden := *e.SPF
		hidden.Failed, hidden.RecordDomain, hidden.Detail = hide.detail(hidden.Failed), hide.detail(hidden.RecordDomain), hide.detail(hidden.Detail)
		if hidden != *e.SPF {
			e.SPF = new(hidden)
		}
	}
	e.FromUse = hideEach(e.FromUse, hide.address, func(u *policy.UsedAddress) *string { return &u.Address })
	e.FromUse = hideEach(e.FromUse, hide.text, func(u *policy.UsedAddress) *string { return &u.Table }) // an inline: table has its contents in the name
	if e.SenderUse != nil {
		sender := *e.SenderUse
		sender.Address, sender.Table = hide.address(sender.Address), hide.text(sender.Table)
		e.SenderUse = &sender
	}
	r.Assignment.Reason = hide.reason(r.Assignment.Reason)
	r.Verdict.Reasons, r.Verdict.Evidence = hide.reasons(r.Verdict.Reasons), hide.reasons(r.Verdict.Evidence)
	if slices.ContainsFunc(failed, func(name string) bool { return hide.name(name) == leftOut && strings.Contains(r.Reply.Text, name) }) {
		r.Reply.Text = leftOut
	}
	r.Reply.Text = hide.text(r.Reply.Text)
	return r
}

// hideEach hides a text of each item. If one changes, it returns a copy: few messages have such a text.
func hideEach[T any](all []T, hide func(string) string, text func(*T) *string) []T {
	copied := false
	for i := range all {
		before := *text(&all[i])
		if after := hide(before); after != before {
			if !copied {
				all, copied = slices.Clone(all), true
			}
			*text(&all[i]) = after
		}
	}
	return all
}

// failedNames returns the DNS names whose lookup failed.
func failedNames(e *policy.Evidence) []string {
	var all []string
	if e.SPF != nil {
		all = append(all, e.SPF.Failed)
	}
	for _, d := range e.DMARC {
		all = append(all, d.Failed)
	}
	for _, r := range e.Relays {
		all = append(all, r.Failed)
	}
	return all
}

// Hidden reports whether an entry has an address or a login whose local part was omitted or replaced by a hash.
func Hidden(address string) bool {
	return address == leftOut || strings.HasPrefix(address, "@") || strings.HasPrefix(address, "~")
}

// cutAddress splits an address at the last @. Without an @, the local part is the whole address.
func cutAddress(address string) (local, domain string, ok bool) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address, "", false
	}
	return address[:at], address[at+1:], true
}

type hider struct {
	hash   bool
	secret []byte
	pieces []string // pieces of the local part that DNS names may contain
}

// detail hides addresses in the detail of a reason or a cause. Such a detail is a DNS name, or a text from a sender or the operator.
func (h hider) detail(s string) string { return h.text(h.name(s)) }

// name hides a DNS name that may contain the local part. An SPF macro can also produce an invalid name, which was never looked up.
func (h hider) name(s string) string {
	if strings.Contains(s, ".") && containsAny(s, h.pieces) {
		return leftOut
	}
	return s
}

// containsAny reports whether a text contains one of the pieces, which are in lower case.
func containsAny(s string, pieces []string) bool {
	low := strings.ToLower(s)
	return slices.ContainsFunc(pieces, func(p string) bool { return strings.Contains(low, p) })
}

func (h hider) reason(r policy.Reason) policy.Reason {
	r.Address = h.address(r.Address)
	switch r.Code {
	case policy.LoginMismatch:
		r.Detail = h.address(r.Detail)
	case policy.LocalDeny, policy.LocalAllow, policy.AcceptedForwarder, policy.RelayDenied, policy.NeverReject, policy.AlwaysReject: // text from the configuration
		r.Detail = h.text(r.Detail)
	default:
		r.Detail = h.detail(r.Detail)
	}
	return r
}

func (h hider) reasons(all []policy.Reason) []policy.Reason {
	copied := false
	for i, r := range all {
		if hidden := h.reason(r); hidden != r {
			if !copied {
				all, copied = slices.Clone(all), true
			}
			all[i] = hidden
		}
	}
	return all
}

func (h hider) address(address string) string {
	local, _, ok := cutAddress(address)
	if local == "" {
		return address
	}
	word := ""
	if h.hash {
		mac := hmac.New(sha256.New, h.secret)
		mac.Write([]byte(strings.ToLower(address)))
		word = "~" + hex.EncodeToString(mac.Sum(nil))[:16]
	}
	if !ok {
		return cmp.Or(word, leftOut) // an empty text would mean a bounce, or a client without a login
	}
	return word + address[len(local):]
}

// text hides the local part of each address in a text. A quoted string counts as part of a word, although it may contain spaces.
func (h hider) text(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	const separators = " \t\r\n;,<>()"
	var b strings.Builder
	for s != "" {
		word := strings.TrimLeft(s, separators)
		b.WriteString(s[:len(s)-len(word)])
		end := 0
		for end < len(word) && !strings.Contains(separators, word[end:end+1]) {
			end += max(1, quotedPrefix(word[end:]))
		}
		word, s = word[:end], word[end:]
		if strings.Contains(word, "@") {
			word = h.word(word)
		}
		b.WriteString(word)
	}
	return b.String()
}

// quotedPrefix returns the length of the quoted string at the beginning of a text, or 0.
func quotedPrefix(s string) int {
	if !strings.HasPrefix(s, `"`) {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// word hides the local part of an address in a word. If a property name or a key precedes the address, word keeps it.
func (h hider) word(word string) string {
	name := keyName(word)
	value := word[len(name):]
	if n := quotedPrefix(value); n == 0 || n < len(value) {
		return name + h.address(strings.Trim(value, `"\`))
	}
	inner := value[1 : len(value)-1]
	if strings.Contains(name, ".") {
		return name + h.address(inner)
	}
	return name + `"` + h.text(inner) + `"`
}

// keyName returns the name and the equals sign at the beginning of a word. The name may be a property of RFC 8601, or a key in reasons and
// in the results of other filters. keyName returns "" if the word has no such name. A local part may contain = too.
func keyName(word string) string {
	name, _, ok := strings.Cut(word, "=")
	low := strings.ToLower(name)
	method, property, dotted := strings.Cut(low, ".")
	letters := func(s string) bool { return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-") == "" }
	switch {
	case !ok:
		return ""
	case dotted && slices.Contains([]string{"smtp", "header", "policy", "body"}, method) && letters(property):
	case slices.Contains([]string{"reason", "comment", "envelope-from", "from"}, low):
	case len(low) != 1 || !letters(low):
		return ""
	}
	return word[:len(name)+1]
}

// hideNames replaces the names of lookups that may contain the sender's local part. An SPF record can copy the local part into a name by
// the macros s and l (RFC 7208 section 7.2). It returns the pieces of the local part. If no record has such a macro, it returns no pieces.
func hideNames(all []dns.Lookup, local string) (kept []dns.Lookup, pieces []string) {
	macros := slices.ContainsFunc(all, func(l dns.Lookup) bool {
		return l.Incomplete() || slices.ContainsFunc(l.Records, hasLocalMacro) // the missing part may contain macros
	})
	if !macros || local == "" {
		return all, nil
	}
	for piece := range strings.FieldsFuncSeq(local, func(r rune) bool { return strings.ContainsRune(".-+,/_=", r) }) {
		pieces = append(pieces, strings.ToLower(piece), strings.ToLower(escape(piece)))
	}
	kept = slices.Clone(all)
	for i, l := range kept {
		if containsAny(l.Name, pieces) {
			kept[i].Name = leftOut
		}
	}
	return kept, pieces
}

// hasLocalMacro reports whether a record has the macro s or l.
func hasLocalMacro(record string) bool {
	for {
		_, after, found := strings.Cut(record, "%{")
		if !found {
			return false
		}
		if after != "" && strings.Contains("lsLS", after[:1]) {
			return true
		}
		record = after
	}
}

// escape returns a text with URL escaping, as an SPF macro in upper case produces it: RFC 7208 section 7.3.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
