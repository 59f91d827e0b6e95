package journal

import (
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/policy"
)

// Limits of the parts of an entry, in bytes or items. Ordinary messages stay below them. Each level halves them.
const (
	maxDomain   = 253     // the longest domain name
	maxWord     = 320     // a name, address or identifier; the longest address has this size: RFC 5321 section 4.5.3.1
	maxID       = 998     // a Message-ID; a header line has at most this size: RFC 5322 section 2.1.1
	maxSentence = 512     // a detail or reply; an SMTP line has at most this size: RFC 5321 section 4.5.3.1.5
	maxSealed   = 2 << 10 // the results of an ARC set
	maxNames    = 64      // the names in h=, and the lookups: twice as many as ordinary messages have
	maxResults  = 16      // signatures, ARC sets, results of other filters: twice the number of signatures that are verified
	minWord     = 16
	// maxLevel is the level at which every entry fits into maxEntry.
	maxLevel = 8
	// maxSignature is the number of bytes of a signature that are kept. header.b of RFC 6008 needs eight characters.
	maxSignature = 24
	// cutMark ends a text that was cut.
	cutMark = "...(cut)"
)

// CutNote is the text that users see about an entry that was cut.
const CutNote = `the message had more evidence than the journal keeps of one message; missing parts are marked "(cut)"`

// cut returns s. If s has more bytes than the parameter most, cut returns the beginning of s and cutMark.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:max(0, most-len(cutMark))], "") + cutMark
}

// isID reports whether an ID in an entry matches the wanted ID. The ID in the entry may have been cut.
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

func (s *shortener) words(all ...*string) { s.texts(maxWord, all) }

func (s *shortener) sentences(all ...*string) { s.texts(maxSentence, all) }

func (s *shortener) texts(most int, all []*string) {
	for _, p := range all {
		s.text(p, most)
	}
}

// names cuts each name of a list, and omits names if the list is too long. In that case, the last element is cutMark.
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

// firstOf returns a copy of a list. The parameter most limits the number of items. If the function matters returns true for an item, this
// item takes precedence over others.
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

// lastOf returns a copy of the last items. The parameter most limits how many. The last ARC sets are the newest. The newest sealer is
// responsible for the message, and a sender can forge older sets.
func lastOf[T any](s *shortener, all []T, most int) []T {
	if most = max(most>>s.level, 1); len(all) > most {
		all, s.cut = all[len(all)-most:], true
	}
	return slices.Clone(all)
}

// shorten returns a copy of an entry, with its own slices, cut to the limits of a level.
func shorten(e *Entry, level int) Entry {
	s := &shortener{level: level}
	short := *e
	ev := &short.Evidence
	s.text(&ev.MessageID, maxID)
	c, env := &ev.Connection, &ev.Envelope
	s.words(&c.Name, &c.PTR, &c.HELO, &c.Daemon, &env.Sender, &env.Login, &short.Assignment.Domain, &ev.ListedIn)
	env.Recipients = s.names(env.Recipients, maxNames, maxWord)
	ev.Author.Domains = s.names(ev.Author.Domains, maxResults, maxWord)
	ev.Author.Addresses = s.names(ev.Author.Addresses, maxResults, maxWord)
	ev.Relayed = s.names(ev.Relayed, maxResults, maxWord)
	short.Selectors = s.names(short.Selectors, maxResults, maxWord)
	v := &short.Verdict
	v.Reasons, v.Evidence = s.reasons(v.Reasons), s.reasons(v.Evidence)
	s.reason(&short.Assignment.Reason)
	s.sentences(&ev.Author.Detail, &v.Reply.Text)
	ev.FromUse = firstOf(s, ev.FromUse, maxResults, func(u *policy.UsedAddress) bool { return u.Use != policy.UseAllowed })
	for i := range ev.FromUse {
		s.words(&ev.FromUse[i].Address, &ev.FromUse[i].Table)
	}
	if ev.SenderUse != nil {
		sender := *ev.SenderUse
		s.words(&sender.Address, &sender.Table)
		ev.SenderUse = &sender
	}
	if ev.Report != nil {
		report := *ev.Report
		s.words(&report.Reporter, &report.TLSReporter)
		ev.Report = &report
	}
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
	// Omitted lookups do not set Cut. Some answers are then missing in explain, but the evidence is complete.
	short.Lookups = slices.Clone(e.Lookups[:min(len(e.Lookups), max(maxNames>>level, 1))])
	for i := range short.Lookups {
		s.words(&short.Lookups[i].Name)
		short.Lookups[i] = short.Lookups[i].Shorten()
	}
	return short
}

func (s *shortener) reason(r *policy.Reason) {
	s.words(&r.Domain, &r.Cause, &r.Address)
	s.sentences(&r.Detail)
}

func (s *shortener) reasons(all []policy.Reason) []policy.Reason {
	all = firstOf(s, all, maxResults, func(*policy.Reason) bool { return true })
	for i := range all {
		s.reason(&all[i])
	}
	return all
}

func (s *shortener) results(ev *policy.Evidence) {
	if ev.SPF != nil {
		spf := *ev.SPF
		s.words(&spf.Domain, &spf.Failed, &spf.Term, &spf.RecordDomain)
		s.sentences(&spf.Detail)
		ev.SPF = &spf
	}
	ev.DKIM = firstOf(s, ev.DKIM, maxResults, func(d *dkim.Result) bool { return d.Status == dkim.Pass })
	for i := range ev.DKIM {
		d := &ev.DKIM[i]
		d.Signature = d.Signature[:min(maxSignature, len(d.Signature))]
		d.Headers = s.names(d.Headers, maxNames, maxWord)
		s.words(&d.Domain, &d.Selector, &d.Identity, &d.Algorithm, &d.KeyName, &d.Detail)
	}
	ev.DMARC = slices.Clone(ev.DMARC) // one for each Author Domain
	for i := range ev.DMARC {
		d := &ev.DMARC[i]
		s.words(&d.Domain, &d.OrgDomain, &d.PolicyDomain, &d.IdentifierDomain, &d.Tag, (*string)(&d.Published), (*string)(&d.Policy), &d.Failed)
		s.sentences(&d.Detail)
		if d.Aligned != nil {
			aligned := *d.Aligned
			if s.words(&aligned.Domain); aligned != *d.Aligned {
				d.Aligned = new(aligned)
			}
		}
		if d.Fault != nil {
			fault := *d.Fault
			s.sentences(&fault.Detail)
			d.Fault = &fault
		}
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
	s.words(&short.Failed, &short.Detail, &short.Field, &short.KeyName)
	short.Sets = lastOf(s, c.Sets, maxResults)
	for i := range short.Sets {
		set := &short.Sets[i]
		s.words(&set.Domain, &set.Selector, &set.CV)
		s.text(&set.Results, maxSealed)
	}
	return &short
}
