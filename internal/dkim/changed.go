package dkim

import (
	"crypto/sha256"
	"net/mail"
	"slices"
	"strings"
	"time"
)

// CheckHeaders sets HeaderHolds, HoldsUntagged and HeaderOpen in results, which Results returned. It skips a signature if within returns
// false for its domain. These fields report whether the header is still as signed, although the signature does not pass. Only the signer
// can make such a header. key is as for Results.
func (v *Verifier) CheckHeaders(results []Result, within func(domain string) bool, key func(name string) ([]string, error)) {
	for i, s := range v.sigs {
		r := &results[i]
		holds := func(fields []Field) (holds, open bool) {
			holds, open = v.headerHolds(s, fields, key)
			r.KeyName = s.result.KeyName // the key may not have been looked up: Results does not look it up if the body was changed
			return holds, open
		}
		switch {
		case r.Domain == "" || !within(r.Domain) || r.Status == PermError:
		case s.headerGood:
			r.HeaderHolds = true
		case r.Status == TempError:
			r.HeaderOpen = true
		case r.Status == Fail:
			if s.bodyChanged {
				r.HeaderHolds, r.HeaderOpen = holds(v.fields)
			}
			if untagged, ok := v.untagged(); ok && !r.HeaderHolds && !r.HeaderOpen {
				r.HoldsUntagged, r.HeaderOpen = holds(untagged)
			}
		}
	}
}

// headerHolds reports whether a signature verifies over fields. open is true if the key could not be looked up, so that the result is
// unknown.
func (v *Verifier) headerHolds(s *signature, fields []Field, key func(string) ([]string, error)) (holds, open bool) {
	received := v.fields
	v.fields = fields
	status, _ := s.tryKeys(key, func() [sha256.Size]byte { return v.headerSum(s) })
	v.fields = received
	return status == Pass, status == TempError
}

// maxTag is the maximum length in bytes of text in brackets that counts as a tag. Names of lists and warnings of gateways are shorter. A
// longer text could be a forger's message in front of the author's Subject.
const maxTag = 64

// untagged returns the fields after removing the name of a mailing list in brackets from Subject: "[list] text", or "Re: [list] text".
func (v *Verifier) untagged() ([]Field, bool) {
	at := v.index.all("subject")
	if len(at) != 1 {
		return nil, false
	}
	before, rest, open := strings.Cut(v.fields[at[0]].Value, "[")
	tag, after, closed := strings.Cut(rest, "]")
	if reply := strings.Trim(before, fws); !open || !closed || len(tag) > maxTag || reply != "" && !strings.EqualFold(reply, "Re:") {
		return nil, false
	}
	fields := slices.Clone(v.fields)
	fields[at[0]].Value = before + strings.TrimPrefix(after, " ")
	return fields, true
}

// SignsIdentity reports whether signature i covers every From, Subject, To and Date field of the message. Each of these names must be in h=
// at least once, even if the message has no such field. Mail programs show these fields to the reader, as author, subject, recipient and
// time of the message.
func (v *Verifier) SignsIdentity(i int) bool {
	for _, name := range []string{"from", "subject", "to", "date"} {
		covered := 0
		for _, h := range v.sigs[i].result.Headers {
			if h == name {
				covered++
			}
		}
		if covered == 0 || covered < len(v.index.all(name)) {
			return false
		}
	}
	return true
}

// SignedAt returns the time of signature i: t= or, without t=, the Date field. ok is false if it has neither t= nor exactly one
// Date field that can be parsed.
func (v *Verifier) SignedAt(i int) (at time.Time, ok bool) {
	if t := v.sigs[i].time; t >= 0 {
		return time.Unix(t, 0), true
	}
	dates := v.index.all("date")
	if len(dates) != 1 {
		return time.Time{}, false
	}
	at, err := mail.ParseDate(strings.Trim(v.fields[dates[0]].Value, fws))
	return at, err == nil
}
