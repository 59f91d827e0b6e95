package dkim

import "crypto/sha256"

// HeadersHold looks at the signatures that failed since the body was changed, and says in results, which Results gave,
// whether the signed header is still the signer's: a mailing list's footer leaves that, and nobody else can make it. key is
// as for Results.
func (v *Verifier) HeadersHold(results []Result, key func(name string) ([]string, error)) {
	for i, s := range v.sigs {
		if s.bodyChanged {
			status, _ := s.tryKeys(key, func() [sha256.Size]byte { return v.headerSum(s) })
			results[i].HeaderHolds = status == Pass
		}
	}
}
