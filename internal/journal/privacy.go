package journal

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"signpost/internal/dns"
	"signpost/internal/filter"
)

// Addresses is what the journal keeps of the local part of addresses, and of recipients: journal.addresses.
type Addresses string

// The choices.
const (
	Omit Addresses = "omit" // nothing
	Hash Addresses = "hash" // a word that is the same for the same address, made with the secret of this journal
	Full Addresses = "full" // all of it
)

// leftOut replaces what is not kept.
const leftOut = "(left out)"

// redact returns a report without what is not to be kept. It does not change the slices of its argument.
func redact(r filter.Report, keep Addresses, secret []byte) filter.Report {
	if keep == Full {
		return r
	}
	hide := hider{hash: keep == Hash, secret: secret}
	e := &r.Evidence
	local, _, _ := cutAddress(e.Envelope.Sender)
	login := e.Envelope.Login
	e.Envelope.Sender, e.Envelope.Login = hide.address(e.Envelope.Sender), hide.address(login)
	e.Envelope.Recipients = slices.Clone(e.Envelope.Recipients)
	for i, to := range e.Envelope.Recipients {
		e.Envelope.Recipients[i] = hide.address(to)
	}
	if keep == Omit {
		e.Envelope.Recipients = nil
	}
	var names []string
	r.Lookups, names = hideNames(r.Lookups, local)
	failed := "" // the name of the failed lookup, if it may contain the local part; the decision names it as well
	if e.SPF != nil && e.SPF.Failed != e.SPF.Domain && slices.Contains(names, e.SPF.Failed) {
		failed = e.SPF.Failed
	}
	text := func(s string) string {
		if failed != "" {
			s = strings.ReplaceAll(s, failed, leftOut)
		}
		if login != "" {
			s = strings.ReplaceAll(s, strconv.Quote(login), strconv.Quote(leftOut))
		}
		return hide.text(s)
	}
	e.DKIM = slices.Clone(e.DKIM)
	for i := range e.DKIM {
		e.DKIM[i].Identity, e.DKIM[i].Reason = hide.address(e.DKIM[i].Identity), text(e.DKIM[i].Reason)
	}
	e.DMARC = slices.Clone(e.DMARC)
	for i := range e.DMARC {
		e.DMARC[i].Reason, e.DMARC[i].Failed = text(e.DMARC[i].Reason), text(e.DMARC[i].Failed)
	}
	e.Others = slices.Clone(e.Others)
	for i := range e.Others {
		e.Others[i].Reason = text(e.Others[i].Reason)
	}
	if e.ARC != nil {
		arc := *e.ARC
		arc.Sets = slices.Clone(arc.Sets)
		for i := range arc.Sets {
			arc.Sets[i].Results = text(arc.Sets[i].Results)
		}
		e.ARC = &arc
	}
	r.Assignment.Reason, r.Assignment.Reply.Text = text(r.Assignment.Reason), text(r.Assignment.Reply.Text)
	r.Verdict.Reason, r.Verdict.Reply.Text = text(r.Verdict.Reason), text(r.Verdict.Reply.Text)
	r.Verdict.Hold, r.Verdict.Tag = text(r.Verdict.Hold), text(r.Verdict.Tag)
	r.Verdict.Evidence = slices.Clone(r.Verdict.Evidence)
	for i, s := range r.Verdict.Evidence {
		r.Verdict.Evidence[i] = text(s)
	}
	e.Relays = slices.Clone(e.Relays)
	for i := range e.Relays {
		e.Relays[i].Failed = text(e.Relays[i].Failed)
	}
	if e.SPF != nil {
		spf := *e.SPF
		for _, name := range names {
			spf.Reason = strings.ReplaceAll(spf.Reason, name, leftOut)
		}
		spf.Reason, spf.Failed = text(spf.Reason), text(spf.Failed)
		e.SPF = &spf
	}
	return r
}

// Hidden reports whether an address or a login of an entry differs from that of the message: its local part is left out, or
// replaced by a word.
func Hidden(address string) bool {
	return address == leftOut || strings.HasPrefix(address, "@") || strings.HasPrefix(address, "~")
}

// cutAddress cuts an address at the last @. Without one, the local part is all of it.
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
}

func (h hider) address(address string) string {
	local, domain, ok := cutAddress(address)
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
		return cmp.Or(word, leftOut) // an empty one would be a bounce, or a client without a login
	}
	return word + "@" + domain
}

// text hides each word before an @.
func (h hider) text(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	const separators = " \t\r\n;,=<>()\""
	var b strings.Builder
	for s != "" {
		word := strings.TrimLeft(s, separators)
		b.WriteString(s[:len(s)-len(word)])
		end := strings.IndexAny(word, separators)
		if end < 0 {
			end = len(word)
		}
		word, s = word[:end], word[end:]
		if strings.Contains(word, "@") {
			word = h.address(word)
		}
		b.WriteString(word)
	}
	return b.String()
}

// hideNames replaces the names of lookups that may contain the sender's local part: macros s and l of RFC 7208 section 7.2.
func hideNames(all []dns.Lookup, local string) (kept []dns.Lookup, hidden []string) {
	macros := slices.ContainsFunc(all, func(l dns.Lookup) bool {
		has := func(macro string) bool { return strings.Contains(l.Answer, macro) }
		return l.Cut() || has("%{l") || has("%{s") || has("%{L") || has("%{S") // what is cut off may have macros
	})
	if !macros || local == "" {
		return all, nil
	}
	pieces := strings.FieldsFunc(strings.ToLower(local), func(r rune) bool { return strings.ContainsRune(".-+,/_=", r) })
	kept = slices.Clone(all)
	for i, l := range kept {
		low := strings.ToLower(l.Name)
		if slices.ContainsFunc(pieces, func(p string) bool { return strings.Contains(low, p) }) {
			hidden = append(hidden, l.Name, strings.TrimSuffix(l.Name, "."))
			kept[i].Name = leftOut
		}
	}
	return kept, hidden
}
