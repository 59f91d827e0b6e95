package journal

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/filter"
	"signpost/policy"
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
		has := func(macro string) bool {
			return slices.ContainsFunc(l.Records, func(r string) bool { return strings.Contains(r, macro) })
		}
		return l.Incomplete() || has("%{l") || has("%{s") || has("%{L") || has("%{S") // what is missing may have macros
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

// Bounds on the parts of an entry, in bytes or items. Honest messages stay below them; each level halves them.
const (
	maxDomain   = 253     // the longest domain name
	maxWord     = 320     // a name, address or identifier: the longest address, RFC 5321 section 4.5.3.1
	maxID       = 998     // a Message-ID fits a line: RFC 5322 section 2.1.1
	maxSentence = 512     // a reason or reply: a line of SMTP, RFC 5321 section 4.5.3.1.5
	maxSealed   = 2 << 10 // the results of an ARC set
	maxNames    = 64      // the names in h=, and the lookups: twice what honest messages have
	maxResults  = 16      // signatures, ARC sets, results of other filters: twice the number of signatures that are verified
	minWord     = 16
	// maxLevel is the level at which every entry fits.
	maxLevel = 8
	// maxSignature is how many bytes of a signature are kept: header.b of RFC 6008 needs eight characters.
	maxSignature = 24
	// cutMark ends a text that was cut.
	cutMark = "...(cut)"
)

// CutNote is shown to the user with an entry that has Cut.
const CutNote = `the message had more evidence than the journal keeps of one; what is missing is marked "(cut)"`

// cut returns the beginning of a text and a mark if it is longer than most bytes.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:max(0, most-len(cutMark))], "") + cutMark
}

// isID reports whether kept, an ID of an entry that may be cut, matches wanted.
func isID(kept, wanted string) bool {
	begin, wasCut := strings.CutSuffix(kept, cutMark)
	return kept == wanted || wasCut && strings.HasPrefix(wanted, begin)
}

// shortener cuts the parts of one entry.
type shortener struct {
	level int
	cut   bool // something was cut
}

func (s *shortener) text(p *string, most int) {
	if most = max(most>>s.level, minWord); len(*p) > most {
		*p, s.cut = cut(*p, most), true
	}
}

func (s *shortener) words(all ...*string) {
	for _, p := range all {
		s.text(p, maxWord)
	}
}

func (s *shortener) sentences(all ...*string) {
	for _, p := range all {
		s.text(p, maxSentence)
	}
}

// names cuts the names of a list, and the list. If names are missing, the last one is cutMark.
func (s *shortener) names(all []string, most, each int) []string {
	most, each = max(most>>s.level, 1), max(each>>s.level, minWord)
	if len(all) <= most && !slices.ContainsFunc(all, func(n string) bool { return len(n) > each }) {
		return all
	}
	s.cut = true
	short := make([]string, 0, most+1)
	for _, n := range all[:min(most, len(all))] {
		short = append(short, cut(n, each))
	}
	if len(all) > most {
		short = append(short, cutMark)
	}
	return short
}

// firstOf returns a copy of at most so many items: first those that matter, then the others.
func firstOf[T any](s *shortener, all []T, most int, matters func(*T) bool) []T {
	if most = max(most>>s.level, 1); len(all) <= most {
		return slices.Clone(all)
	}
	s.cut = true
	var kept []T
	for _, those := range []bool{true, false} {
		for i := range all {
			if matters(&all[i]) == those && len(kept) < most {
				kept = append(kept, all[i])
			}
		}
	}
	return kept
}

// lastOf returns a copy of the last items. Of ARC sets, those are the newest: the newest sealer is responsible for the message,
// and a sender chooses what is below.
func lastOf[T any](s *shortener, all []T, most int) []T {
	if most = max(most>>s.level, 1); len(all) > most {
		all, s.cut = all[len(all)-most:], true
	}
	return slices.Clone(all)
}

// shorten returns a copy of an entry, with slices of its own, cut to the bounds of a level.
func shorten(e *Entry, level int) Entry {
	s := &shortener{level: level}
	short := *e
	ev := &short.Evidence
	s.text(&ev.MessageID, maxID)
	c, env := &ev.Connection, &ev.Envelope
	s.words(&c.Name, &c.PTR, &c.HELO, &c.Daemon, &env.Sender, &env.Login, &short.Selectors, &short.Assignment.Domain)
	env.Recipients = s.names(env.Recipients, maxNames, maxWord)
	ev.Author.Domains = s.names(ev.Author.Domains, maxResults, maxWord)
	ev.Relayed = s.names(ev.Relayed, maxResults, maxWord)
	v := &short.Verdict
	v.Evidence = s.names(v.Evidence, maxResults, maxSentence)
	s.sentences(&ev.Author.Doubt, &short.Assignment.Reason, &short.Assignment.Reply.Text, &v.Reply.Text, &v.Hold, &v.Tag, &v.Reason, &short.Done)
	s.results(ev)
	ev.ARC = s.chain(ev.ARC)
	ev.Others = firstOf(s, ev.Others, 2*maxResults, func(*policy.Other) bool { return false })
	for i := range ev.Others {
		o := &ev.Others[i]
		s.words(&o.Method, &o.Result, &o.Domain, &o.Selector, &o.Signature)
		s.sentences(&o.Reason)
	}
	ev.SealedDMARC = lastOf(s, ev.SealedDMARC, maxResults)
	for i := range ev.SealedDMARC {
		s.words(&ev.SealedDMARC[i].Domain, &ev.SealedDMARC[i].Result)
	}
	short.Cut = s.cut
	// Missing lookups leave gaps in what is shown, but the evidence does not depend on them: Cut stays as it is.
	short.Lookups = slices.Clone(e.Lookups[:min(len(e.Lookups), max(maxNames>>level, 1))])
	for i := range short.Lookups {
		s.words(&short.Lookups[i].Name)
		short.Lookups[i] = short.Lookups[i].Shorten()
	}
	return short
}

func (s *shortener) results(ev *policy.Evidence) {
	if ev.SPF != nil {
		spf := *ev.SPF
		s.words(&spf.Domain, &spf.Failed)
		s.sentences(&spf.Reason)
		ev.SPF = &spf
	}
	ev.DKIM = firstOf(s, ev.DKIM, maxResults, func(d *dkim.Result) bool { return d.Status == dkim.Pass })
	for i := range ev.DKIM {
		d := &ev.DKIM[i]
		d.Signature = d.Signature[:min(maxSignature, len(d.Signature))]
		d.Headers = s.names(d.Headers, maxNames, maxWord)
		s.words(&d.Domain, &d.Selector, &d.Identity, &d.Algorithm, &d.KeyName)
		s.sentences(&d.Reason)
	}
	ev.DMARC = slices.Clone(ev.DMARC) // one for each Author Domain
	for i := range ev.DMARC {
		d := &ev.DMARC[i]
		s.words(&d.Domain, &d.OrgDomain, &d.PolicyDomain, &d.Aligned, &d.Tag, (*string)(&d.Published), (*string)(&d.Policy), &d.Failed)
		s.sentences(&d.Reason, &d.Fault)
	}
	ev.Relays = firstOf(s, ev.Relays, maxResults, func(r *policy.Relay) bool { return r.Failed == "" })
	for i := range ev.Relays {
		r := &ev.Relays[i]
		s.words(&r.Domain, &r.Author, &r.Failed)
	}
}

func (s *shortener) chain(c *dkim.Chain) *dkim.Chain {
	if c == nil {
		return nil
	}
	short := *c
	s.sentences(&short.Reason)
	s.words(&short.Failed)
	short.Sets = lastOf(s, c.Sets, maxResults)
	for i := range short.Sets {
		set := &short.Sets[i]
		s.words(&set.Domain, &set.Selector, &set.CV)
		s.text(&set.Results, maxSealed)
	}
	return &short
}
