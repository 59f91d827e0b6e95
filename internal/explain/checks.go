package explain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/domain"
	"signpost/internal/spf"
	"signpost/policy"
)

// spfRows returns rows with the steps of an SPF check: the records and their terms.
func spfRows(steps []spf.Step) []Row {
	const (
		most        = 60 // enough for ten terms and the terms of the included records
		mostIgnored = 10 // of a record
	)
	var l list
	for i, s := range steps {
		in := strings.Repeat("  ", s.Depth)
		if i == most {
			l.more(fmt.Sprintf("%sand %d more terms", in, len(steps)-most))
			break
		}
		if s.Term == "" {
			l.row("record", "%s%s: %s", in, s.Domain, spfOutcome(s))
			if s.Outcome == spf.RecordNone && s.Record != "" {
				l.more(in + "  " + s.Record)
			}
			for i, m := range s.Ignored {
				if i == mostIgnored {
					l.more(fmt.Sprintf("%s  and %d more unknown modifiers", in, len(s.Ignored)-i))
					break
				}
				l.more(in + "  " + ignored(m))
			}
			continue
		}
		term := s.Term
		if s.Target != "" {
			term += " (" + s.Target + ")"
		}
		l.more(fmt.Sprintf("%s  %s: %s", in, term, spfOutcome(s)))
	}
	return l
}

// ignored returns why an unknown modifier has no effect: RFC 7208 section 6.
func ignored(modifier string) string {
	if meant := spf.MeantMechanism(modifier); meant != "" {
		return modifier + ": ignored, unknown modifier; did you mean " + meant + "?"
	}
	return modifier + ": ignored, unknown modifier"
}

// nearRecord returns why a TXT record is not an SPF record. The record was probably intended as one.
func nearRecord(txt string) string {
	const version = "v=spf1"
	if len(txt) >= len(version) && strings.EqualFold(txt[:len(version)], version) {
		return "a TXT record begins like an SPF record, but v=spf1 must be followed by a space or the end of the record"
	}
	return "a TXT record is almost an SPF record, but it must begin with v=spf1"
}

// spfText returns the reason for the SPF result. It shortens a long term, because a term can be as long as the record.
func spfText(s *spf.Result) string {
	short := *s
	short.Term = clip(short.Term, maxTerm)
	if short.Cause != policy.LegacyCause { // a sentence
		short.Detail = clip(short.Detail, maxTerm)
	}
	return policy.SPFText(&short)
}

// spfOutcome returns a text about the outcome of a step.
func spfOutcome(s spf.Step) string {
	switch s.Outcome {
	case spf.RecordFound:
		return s.Record
	case spf.RecordNone:
		if s.Record != "" {
			return "no SPF record: " + nearRecord(s.Record)
		}
		return "no SPF record"
	case spf.Match:
		return "match"
	case spf.NoMatch:
		return "no match"
	case spf.Redirected:
		return string(s.Status)
	case spf.EndedBelow:
		return "the check ends below"
	}
	r := spf.Result{Domain: s.Domain, Cause: s.Cause, Detail: s.Detail, Term: s.Wrong, Failed: s.Failed}
	return "the check ends: " + spfText(&r)
}

func (x *explainer) spf() []Row {
	var l list
	s := x.e.SPF
	if s == nil {
		return nil
	}
	identity := "MAIL FROM"
	if s.Identity == spf.HELO {
		identity = "HELO, because the sender is null"
	}
	l.row("SPF", "%s for %s (%s)", s.Status, cmp.Or(s.Domain, "no domain"), identity)
	l.more(x.spfWords())
	// The check is repeated. If the repeated check has another result than the original check, an answer is missing. The journal omits DNS
	// names that contain the local part of the sender.
	result, walk := spf.Trace(context.Background(), x.view, x.e.Connection.Client, x.e.Connection.HELO, x.e.Envelope.Sender)
	switch {
	case s.Status == spf.None && x.nearSPF() == "":
	case result.Status == s.Status && result.Domain == s.Domain:
		l = append(l, spfRows(walk.Steps)...)
	case s.Record != "":
		l.row("record", "%s: %s", s.Domain, s.Record)
		l.more("its terms cannot be shown one by one: the journal no longer has all DNS answers")
	}
	return l
}

// nearSPF returns the TXT record of the checked domain that was probably intended as its SPF record, or "".
func (x *explainer) nearSPF() string {
	s := x.e.SPF
	if s == nil || s.Status != spf.None || s.Domain == "" {
		return ""
	}
	txt, _ := x.view.LookupTXT(context.Background(), s.Domain)
	return spf.NearRecord(txt)
}

// spfWords returns the meaning of the SPF result.
func (x *explainer) spfWords() string {
	s, client := x.e.SPF, x.e.Connection.Client
	why := strings.TrimSuffix(": "+spfText(s), ": ")
	switch s.Status {
	case spf.Pass:
		return fmt.Sprintf("%s may send mail of %s", client, s.Domain)
	case spf.Fail:
		return fmt.Sprintf("%s states that %s may not send its mail%s", s.Domain, client, why)
	case spf.SoftFail:
		return fmt.Sprintf("%s states that %s is probably not authorized to send its mail%s", s.Domain, client, why)
	case spf.Neutral:
		return fmt.Sprintf("%s does not state whether %s may send its mail%s", s.Domain, client, why)
	case spf.None:
		if s.Domain != "" && client.IsValid() {
			return s.Domain + " has no SPF record"
		}
		return spfText(s)
	case spf.PermError:
		return "the SPF record is not valid" + why
	}
	return "the SPF record could not be looked up" + why
}

// maxSignatures is the number of signatures that are shown. Further signatures are not verified.
const maxSignatures = dkim.MaxSignatures

// signatures returns the signatures that could align, followed by the others that were verified.
func (x *explainer) signatures() []dkim.Result {
	rank := func(s dkim.Result) int {
		for _, author := range x.e.Author.Domains {
			if s.Domain != "" && (domain.Within(author, s.Domain) || domain.Within(s.Domain, author)) {
				return 0
			}
		}
		if s.Status == dkim.Policy {
			return 2
		}
		return 1
	}
	if len(x.e.DKIM) <= maxSignatures {
		return x.e.DKIM
	}
	return slices.SortedStableFunc(slices.Values(x.e.DKIM), func(a, b dkim.Result) int { return rank(a) - rank(b) })
}

func (x *explainer) dkim() []Row {
	var l list
	all := x.signatures()
	if len(all) == 0 {
		l.row("DKIM", "none: the message has no signature")
	}
	for i, s := range all {
		if i == maxSignatures {
			l.row("DKIM", "and %d more signatures", len(all)-i)
			break
		}
		var tags []string
		for _, tag := range [][2]string{{"d=", s.Domain}, {"s=", s.Selector}, {"a=", s.Algorithm}} {
			if tag[1] != "" {
				tags = append(tags, tag[0]+tag[1])
			}
		}
		l.row("DKIM", "%s", strings.TrimSpace(string(s.Status)+" "+strings.Join(tags, " ")))
		l.more(policy.DKIMText(s))
		l.more(intact(s))
		if s.Status == dkim.Fail && s.KeyRecord != "" && len(s.Headers) > 0 { // the body hash matched
			l.more("signed fields: " + strings.Join(s.Headers, ", "))
		}
		switch {
		case s.KeyRecord != "" && s.KeyBits > 0:
			l.more(fmt.Sprintf("%d bits at %s: %s", s.KeyBits, s.KeyName, s.KeyRecord))
		case s.KeyRecord != "":
			l.more(fmt.Sprintf("the record at %s: %s", s.KeyName, s.KeyRecord))
		}
		if s.Testing {
			l.more("the key record is marked for testing (t=y)")
		}
	}
	return l
}

// intact returns a text about a failing signature of a message that was modified in transit. The text states which part of the header the
// signature still confirms.
func intact(s dkim.Result) string {
	switch {
	case s.Status == dkim.Pass:
	case s.HeaderHolds:
		return "the signed header is unchanged"
	case s.HoldsUntagged:
		return "the signed header is unchanged except for a [tag] that a mailing list added to Subject"
	}
	return ""
}

// arc returns the ARC sets, newest first.
func (x *explainer) arc() []Row {
	var l list
	c := x.e.ARC
	if c == nil {
		return nil
	}
	l.row("ARC", "%s", c.Status)
	l.more(policy.ChainText(c))
	if c.OldestPass > 0 {
		l.more(fmt.Sprintf("the message was changed before instance %d", c.OldestPass))
	}
	for _, s := range slices.Backward(c.Sets) {
		l.more(fmt.Sprintf("instance %d: d=%s s=%s cv=%s", s.Instance, s.Domain, s.Selector, s.CV))
		if !s.CoversFrom {
			l.more("its message signature does not cover From")
		}
		for _, d := range x.e.SealedDMARC {
			if d.Instance == s.Instance {
				l.more(fmt.Sprintf("it states dmarc=%s for %s", d.Result, d.Domain))
			}
		}
	}
	return l
}

// relays returns rows for a message that DMARC does not authenticate: the evidence that it came through a relay, verified or not.
func (x *explainer) relays() []Row {
	var l list
	for _, r := range x.e.Relays {
		what := map[policy.RelayKind]string{
			policy.RelayAuthor: "only the header is authenticated, by a signature of",
			policy.RelayList:   "relayed by the mailing list of",
			policy.RelaySRS:    "forwarded by",
			policy.RelayResent: "resent by",
			policy.RelayARC:    "ARC chain validates, last sealed by",
		}[r.Kind]
		if r.Failed != "" {
			l.row("relay", "not verified, because the lookup of %s failed: %s %s", r.Failed, what, r.Domain)
		} else {
			l.row("relay", "%s %s (verified by %s)", what, r.Domain, strings.ToUpper(r.Method))
		}
		if r.Author != "" {
			l.more("Author Domain " + r.Author)
		}
	}
	return l
}
