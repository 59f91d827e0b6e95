package filter

import (
	"strings"

	"signpost/internal/authres"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/policy"
)

const (
	// maxListed is how many signatures that were not verified are listed: a thousand of them are one line of log, not a
	// field over Postfix's header_size_limit.
	maxListed = dkim.MaxSignatures
	// shortB is how much of b= names a signature: RFC 6008 section 3 asks for eight characters or more.
	shortB = 8
	// beside is how many results there can be beside those of signatures and Author Domains: iprev, spf, arc, and dmarc of
	// mail that has no Author Domain.
	beside = 4
)

// results are a message's results in the words of RFC 8601.
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
	why := v.Reason
	for _, d := range e.DMARC {
		r := authres.Result{Method: "dmarc", Value: string(d.Status), Props: []authres.Prop{{Type: "header", Name: "from", Value: d.Domain}}}
		if d.Status != dmarc.None || d.Record != "" {
			r.Reason = d.Reason
		}
		if d.Policy != "" {
			r.Props = append(r.Props, authres.Prop{Type: "policy", Name: "dmarc", Value: string(d.Policy)})
		}
		if d.Status == dmarc.Fail && why != "" {
			r.Reason, why = why, ""
		}
		all = append(all, r)
	}
	if why != "" && v.Override != "" && why != e.Author.Doubt {
		all[spfAt].Reason = why // no DMARC failure bears it
	}
	if e.Author.Doubt != "" {
		// RFC 8601 section 2.7.5 as RFC 9989 section 9.2 has it: none where no Author Domain could be found.
		all = append(all, authres.Result{Method: "dmarc", Value: "none", Reason: e.Author.Doubt})
	}
	return all
}

// iprev comes from what Postfix found: {client_name} is "unknown" unless the name and the address agree.
func iprev(c policy.Connection) (authres.Result, bool) {
	word := iprevWord(c)
	if word == "" {
		return authres.Result{}, false
	}
	r := authres.Result{Method: "iprev", Value: word, Props: []authres.Prop{{Type: "policy", Name: "iprev", Value: c.Client.String()}}}
	switch word {
	case "fail":
		r.Reason = "the client's name " + foreign(c.PTR) + " does not lead back to its address"
	case "permerror":
		r.Reason = "the client's address has no name"
	}
	return r, true
}

func iprevWord(c policy.Connection) string {
	switch {
	case !c.Client.IsValid() || c.Name == "":
		return ""
	case c.Name != "unknown":
		return "pass"
	case c.PTR != "" && c.PTR != "unknown":
		return "fail"
	}
	return "permerror"
}

// spfResult names the domain alone: the local part is not authenticated (RFC 8601 section 2.7.2).
func spfResult(e *policy.Evidence) authres.Result {
	s := e.SPF
	r := authres.Result{Method: "spf", Value: string(s.Status)}
	if s.Status != spf.None {
		r.Reason = strings.ReplaceAll(foreign(s.Reason), "redirect?", "redirect=") // it quotes terms of the record
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

// foreign returns text that a sender chose without semicolons and equals signs. Filters that do not parse the field split it at
// semicolons or search it for "dmarc=pass", even in quotes.
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
		r := authres.Result{Method: "dkim", Value: string(s.Status), Reason: s.Reason}
		if s.Testing {
			r.Reason = strings.TrimPrefix(r.Reason+"; the key record says that it is for testing (t=y)", "; ")
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

// shorten gives as much of a signature's b= as tells it from the others: RFC 6008 section 3.
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
