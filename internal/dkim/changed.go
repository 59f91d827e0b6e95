package dkim

import (
	"crypto/sha256"
	"slices"
	"strings"
)

// HeadersHold looks at the signatures that failed since the message was changed, and says in results, which Results gave, whether
// the signed header is still the signer's, or is but for what mailing lists put into Subject: nobody else can make such a header.
// key is as for Results.
func (v *Verifier) HeadersHold(results []Result, key func(name string) ([]string, error)) {
	for i, s := range v.sigs {
		holds := func() bool {
			status, _ := s.tryKeys(key, func() [sha256.Size]byte { return v.headerSum(s) })
			return status == Pass
		}
		if s.bodyChanged {
			results[i].HeaderHolds = holds()
		}
		if results[i].Status == Fail && !results[i].HeaderHolds {
			as := v.fields
			if untagged, ok := v.untagged(); ok {
				v.fields = untagged
				results[i].HoldsUntagged = holds()
				v.fields = as
			}
		}
	}
}

// untagged are the fields as they were before a mailing list put its name in brackets into Subject: "[list] text", or
// "Re: [list] text".
func (v *Verifier) untagged() ([]Field, bool) {
	for i, f := range v.fields {
		if !strings.EqualFold(f.Name, "Subject") {
			continue
		}
		before, rest, open := strings.Cut(f.Value, "[")
		_, after, closed := strings.Cut(rest, "]")
		if !open || !closed {
			return nil, false
		}
		fields := slices.Clone(v.fields)
		fields[i].Value = before + strings.TrimPrefix(after, " ")
		return fields, true
	}
	return nil, false
}
