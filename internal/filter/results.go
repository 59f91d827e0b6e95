package filter

import (
	"slices"
	"strconv"
	"strings"

	"signpost/internal/authres"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/milter"
	"signpost/policy"
)

const (
	// maxListed is the maximum number of signatures that are listed although they were not verified. A thousand of them would exceed
	// Postfix's header_size_limit.
	maxListed = dkim.MaxSignatures
	// shortB is the minimum number of characters of b= that identify a signature. RFC 6008 section 3 requires at least eight.
	shortB = 8
	// beside is the maximum number of results that are not about a signature or an Author Domain. These are iprev, spf, arc, and the dmarc
	// result of mail without an Author Domain.
	beside = 4
)

// results returns the results of a message in the form of RFC 8601.
func results(e *policy.Evidence, v policy.Verdict) []authres.Result {
	all := make([]authres.Result, 0, beside+max(len(e.DKIM), 1)+len(e.DMARC))
	if r, ok := iprev(e.Connection); ok {
		all = append(all, r)
	}
	all = append(all, spfResult(e))
	spfAt := len(all) - 1
	all = append(all, dkimResults(e.DKIM)...)
	if e.ARC != nil {
		all = append(all, arcResult(e.ARC, e.Connection))
	}
	why := ""
	if !v.Code().Plain() {
		why = policy.Text(foreignReasons(v.Reasons))
	}
	for _, d := range e.DMARC {
		r := authres.Result{Method: "dmarc", Value: string(d.Status), Props: []authres.Prop{{Type: "header", Name: "from", Value: d.Domain}}}
		if d.Status != dmarc.None || d.Record != "" {
			r.Reason = dmarcReason(d)
		}
		if d.Policy != "" {
			r.Props = append(r.Props, authres.Prop{Type: "policy", Name: "dmarc", Value: string(d.Policy)})
		}
		if d.Status == dmarc.Fail && why != "" {
			r.Reason, why = why, ""
		}
		all = append(all, r)
	}
	if why != "" && v.Override != "" {
		all[spfAt].Reason = why // the reason is not about a DMARC failure, so the spf result gets it
	}
	if e.Author.Cause != "" {
		// RFC 8601 section 2.7.5 as updated by RFC 9989 section 9.2: the result is "none" if no Author Domain could be found.
		all = append(all, authres.Result{Method: "dmarc", Value: "none", Reason: policy.AuthorText(e.Author)})
	}
	return all
}

// iprev returns the result of Postfix's check of the client's name. ok is false if Postfix did not check it.
func iprev(c policy.Connection) (r authres.Result, ok bool) {
	word := c.IPRev()
	if word == "" {
		return authres.Result{}, false
	}
	r = authres.Result{Method: "iprev", Value: word, Props: []authres.Prop{{Type: "policy", Name: "iprev", Value: c.Client.String()}}}
	switch word {
	case "fail":
		r.Reason = "the client's name " + foreign(c.PTR) + " does not resolve to its address"
	case "permerror":
		r.Reason = "the client's address has no name"
	}
	return r, true
}

// spfResult returns the result of SPF. It contains the domain but not the local part, because the local part is not authenticated (RFC
// 8601 section 2.7.2).
func spfResult(e *policy.Evidence) authres.Result {
	s := e.SPF
	r := authres.Result{Method: "spf", Value: string(s.Status)}
	if s.Status != spf.None {
		r.Reason = strings.ReplaceAll(foreign(policy.SPFText(s)), "redirect?", "redirect=") // the text quotes terms of the record
	}
	name, value := "mailfrom", s.Domain
	if s.Identity == spf.HELO {
		name = "helo"
	}
	if value == "" {
		value = e.Connection.HELO
		if s.Identity == spf.MailFrom {
			value = e.Envelope.Sender[strings.LastIndexByte(e.Envelope.Sender, '@')+1:]
		}
	}
	if value != "" {
		r.Props = []authres.Prop{{Type: "smtp", Name: name, Value: foreign(value)}}
	}
	return r
}

// foreign returns a text that a sender chose, with "?" instead of semicolons and equals signs. Some filters do not parse the field. They
// split it at semicolons, or search it for "dmarc=pass" even inside quotes.
func foreign(text string) string {
	if !strings.ContainsAny(text, ";=") {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r == ';' || r == '=' {
			return '?'
		}
		return r
	}, text)
}

// dmarcReason returns the reason for the DMARC result. The detail can be a tag of the sender's record, such as "p=rejct".
func dmarcReason(d dmarc.Result) string {
	if tag, value, ok := strings.Cut(d.Detail, "="); ok {
		d.Detail = tag + "=" + foreign(value)
	}
	return policy.DMARCText(d)
}

// foreignReasons returns a copy of the reasons. In DNS names, it replaces the same characters as the function foreign. SPF macros can copy
// the sender's local part into such names.
func foreignReasons(all []policy.Reason) []policy.Reason {
	all = slices.Clone(all)
	for i := range all {
		switch all[i].Code {
		case policy.SPFTempError, policy.DMARCTempError, policy.RelayUnverified:
			all[i].Detail = foreign(all[i].Detail)
		}
	}
	return all
}

func dkimResults(signatures []dkim.Result) []authres.Result {
	if len(signatures) == 0 {
		return []authres.Result{{Method: "dkim", Value: "none"}}
	}
	all := make([]authres.Result, 0, len(signatures))
	unverified := 0
	for i, s := range signatures {
		if s.Status == dkim.Policy || s.Status == dkim.PermError {
			if unverified++; unverified > maxListed {
				continue
			}
		}
		r := authres.Result{Method: "dkim", Value: string(s.Status), Reason: policy.DKIMText(s)}
		if s.Testing {
			r.Reason = strings.TrimPrefix(r.Reason+"; the key record is marked for testing (t=y)", "; ")
		}
		r.Props = make([]authres.Prop, 0, 4)
		for _, p := range [...]authres.Prop{{Type: "header", Name: "d", Value: s.Domain}, {Type: "header", Name: "s", Value: s.Selector},
			{Type: "header", Name: "a", Value: s.Algorithm}, {Type: "header", Name: "b", Value: shorten(signatures, i)}} {
			if p.Value != "" {
				r.Props = append(r.Props, p)
			}
		}
		all = append(all, r)
	}
	return all
}

// shorten returns the beginning of a signature's b=, long enough to distinguish this signature from the others: RFC 6008 section 3.
func shorten(signatures []dkim.Result, i int) string {
	b := signatures[i].Signature
	n := min(shortB, len(b))
	for j, other := range signatures {
		for j != i && other.Signature != b && n < len(b) && strings.HasPrefix(other.Signature, b[:n]) {
			n++
		}
	}
	b = b[:n]
	value := strings.TrimRight(b, "=") // the rest is padding
	if len(value) == len(b) {
		return foreign(b)
	}
	return foreign(value) + b[len(value):]
}

// arcResult returns the result of ARC. It has the properties of RFC 8617 section 10.2. These are the client's address and, if the chain
// passes, the number of the oldest set whose message signature verifies.
func arcResult(c *dkim.Chain, from policy.Connection) authres.Result {
	r := authres.Result{Method: "arc", Value: string(c.Status), Reason: policy.ChainText(c)}
	if from.Client.IsValid() {
		r.Props = append(r.Props, authres.Prop{Type: "smtp", Name: "remote-ip", Value: from.Client.String()})
	}
	if c.Status == dkim.Pass {
		r.Props = append(r.Props, authres.Prop{Type: "header", Name: "oldest-pass", Value: strconv.Itoa(c.OldestPass)})
	}
	return r
}

// resultsField returns Authentication-Results, which is inserted above Postfix's own Received field: RFC 8601 section 4.1.
func (m *message) resultsField() milter.Insertion {
	return milter.Insertion{Name: authres.FieldName, Value: authres.Format(m.filter.id(m.mta), results(&m.evidence, m.verdict))}
}

// tagField returns the field that marks a failing message that is accepted.
func (m *message) tagField() milter.Insertion {
	return milter.Insertion{Name: dispositionField, Value: " quarantine; " + policy.Text(m.verdict.Reasons)}
}

// holdReason returns the text that Postfix logs with a message in the hold queue.
func (m *message) holdReason() string { return "signpost: " + policy.Text(m.verdict.Reasons) }
