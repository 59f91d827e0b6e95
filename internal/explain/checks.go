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
)

// spfRows returns the steps of a check through its records.
func spfRows(steps []spf.Step) []Row {
	const most = 60 // ten terms, and those of the included records
	var l list
	for i, s := range steps {
		in := strings.Repeat("  ", s.Depth)
		if i == most {
			l.more(fmt.Sprintf("%sand %d more terms", in, len(steps)-most))
			break
		}
		if s.Term == "" {
			l.row("record", "%s%s: %s", in, s.Domain, s.Outcome)
			continue
		}
		term := s.Term
		if s.Target != "" {
			term += " (" + s.Target + ")"
		}
		l.more(fmt.Sprintf("%s  %s: %s", in, term, s.Outcome))
	}
	return l
}

func (x *explainer) spf() []Row {
	var l list
	s := x.e.SPF
	if s == nil {
		return nil
	}
	identity := "MAIL FROM"
	if s.Identity == spf.HELO {
		identity = "HELO, since the sender is null"
	}
	l.row("SPF", "%s for %s (%s)", s.Status, cmp.Or(s.Domain, "no domain"), identity)
	l.more(x.spfWords())
	// The check is repeated. If its result differs, an answer is missing: the journal omits names that contain the local part of
	// the sender.
	result, walk := spf.Trace(context.Background(), x.view, x.e.Connection.Client, x.e.Connection.HELO, x.e.Envelope.Sender)
	switch {
	case s.Status == spf.None:
	case result.Status == s.Status && result.Domain == s.Domain:
		l = append(l, spfRows(walk.Steps)...)
	case s.Record != "":
		l.row("record", "%s: %s", s.Domain, s.Record)
		l.more("its terms cannot be shown one by one: not all that was asked is known any more")
	}
	return l
}

// spfWords returns what the result means.
func (x *explainer) spfWords() string {
	s, client := x.e.SPF, x.e.Connection.Client
	because := strings.TrimSuffix(": "+s.Reason, ": ")
	switch s.Status {
	case spf.Pass:
		return fmt.Sprintf("%s may send mail of %s", client, s.Domain)
	case spf.Fail:
		return fmt.Sprintf("%s says that %s may not send its mail%s", s.Domain, client, because)
	case spf.SoftFail:
		return fmt.Sprintf("%s says that %s most likely may not send its mail%s", s.Domain, client, because)
	case spf.Neutral:
		return fmt.Sprintf("%s does not say whether %s may send its mail%s", s.Domain, client, because)
	case spf.None:
		if s.Domain != "" && client.IsValid() {
			return s.Domain + " has no SPF record"
		}
		return s.Reason
	case spf.PermError:
		return "the SPF record is of no use" + because
	}
	return "the SPF record could not be looked up" + because
}

// maxSignatures is the number of signatures shown: no more are verified.
const maxSignatures = dkim.MaxSignatures

// signatures returns the signatures: those that could align first, then others that were verified.
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
		l.more(s.Reason)
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
			l.more("the key record says that it is for testing (t=y)")
		}
	}
	return l
}

// intact returns what a failing signature still shows about the header of a message that was modified in transit.
func intact(s dkim.Result) string {
	switch {
	case s.Status == dkim.Pass:
	case s.HeaderHolds:
		return "the signed header is unchanged"
	case s.HoldsUntagged:
		return "the signed header is unchanged, but for a tag in brackets that a mailing list put into Subject"
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
	l.more(c.Reason)
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
				l.more(fmt.Sprintf("it says dmarc=%s for %s", d.Result, d.Domain))
			}
		}
	}
	return l
}

// relays returns the signs of a relay, verified or not, of a message that DMARC does not authenticate.
func (x *explainer) relays() []Row {
	var l list
	for _, r := range x.e.Relays {
		l.row("relay", "%s", r)
		if r.Author != "" {
			l.more("Author Domain " + r.Author)
		}
	}
	return l
}
