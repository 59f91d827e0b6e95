package dkim

import (
	"crypto/sha256"
	"hash"
	"time"
)

// The fields of an ARC set: RFC 8617 section 4.1.
const (
	ARCResultsField   = "ARC-Authentication-Results"
	ARCSignatureField = "ARC-Message-Signature"
	ARCSealField      = "ARC-Seal"
)

// The names of these fields in lower case. index and Chain.Field use this form.
const (
	arcResults   = "arc-authentication-results"
	arcSignature = "arc-message-signature"
	arcSeal      = "arc-seal"
)

// None is the status of a message without an ARC set: RFC 8617 section 4.4.
const None Status = "none"

// Limits on a chain. Together with maxKeyRecords, they limit the number of public-key operations: each seal and each verified message
// signature needs one operation for each key record. Verification ends at the first seal that fails. These limits allow 60 lookups, fewer
// than SPF may need.
const (
	// MaxSets is the maximum number of sets in a message: RFC 8617 section 4.2.1.
	MaxSets = 50
	// maxMessageSignatures is the maximum number of message signatures that are verified, the newest first. Each verification hashes the
	// header again. Without this limit, the cost would grow with the square of the message size. Only the newest signature affects the
	// status (RFC 8617 section 5.2 step 4); the others determine header.oldest-pass. Honest chains have one to five sets.
	maxMessageSignatures = 10
)

// Chain is the result of validating a message's ARC sets: RFC 8617 section 5.2.
type Chain struct {
	Status     Status   `json:"status"`                // none, pass or fail
	Cause      Cause    `json:"cause,omitempty"`       // why the status is fail
	Detail     string   `json:"detail,omitempty"`      // described at the Cause
	Field      string   `json:"field,omitempty"`       // the field that has the fault, such as arc-seal; empty if the Cause does not concern a single field
	Instance   int      `json:"instance,omitempty"`    // i= of that field, if it can be read
	KeyName    string   `json:"key_name,omitempty"`    // DNS name of the key record, if the key was looked up for that field
	Temporary  bool     `json:"temporary,omitempty"`   // the chain fails because a key lookup failed temporarily
	Failed     string   `json:"failed,omitempty"`      // the DNS name of that key, if Temporary
	Sets       []Sealer `json:"sets,omitempty"`        // instance 1 first; empty if the sets are incomplete or malformed
	OldestPass int      `json:"oldest_pass,omitempty"` // RFC 8617 section 5.2 step 5: the message signatures of this and all later sets verify; 0: all message signatures verify
}

// fail sets the status to fail, and sets the fields that describe the fault.
func (c *Chain) fail(f *setFault) {
	c.Status, c.Cause, c.Detail, c.Field, c.Instance = Fail, f.Cause, f.Detail, f.field, f.instance
}

// Sealer is the sealer of one set, with the sealer's statements. They are verified only if the chain passes.
type Sealer struct {
	Instance   int    `json:"instance"`
	Domain     string `json:"domain"`   // d= of the seal, lower-case A-labels
	Selector   string `json:"selector"` // s= of the seal
	CV         string `json:"cv"`       // cv= of the seal, which is the sealer's result for the earlier sets: none, pass or fail
	CoversFrom bool   `json:"covers_from"`
	Results    string `json:"results"` // ARC-Authentication-Results after its i=
}

// Chain ends the message and validates its ARC sets. key is as for Results.
func (v *Verifier) Chain(now time.Time, key func(name string) ([]string, error)) Chain {
	v.end()
	c := &v.chain
	out := Chain{Status: None}
	switch {
	case c.fault != nil:
		out.fail(c.fault)
	case len(c.sets) > 0:
		v.verifyChain(&out, now, key)
	}
	for _, s := range c.sets {
		if s != nil && c.whole {
			out.Sets = append(out.Sets, s.sealer())
		}
	}
	return out
}

func (v *Verifier) verifyChain(out *Chain, now time.Time, key func(string) ([]string, error)) {
	sets := v.chain.sets
	// RFC 8617 section 5.2.1: every failure is permanent, even a DNS failure.
	fail := func(field string, n int, s *signature, status Status, fault *Fault) {
		if status == TempError {
			out.Temporary, out.Failed = true, s.keyName()
		}
		out.KeyName = s.result.KeyName
		out.fail(&setFault{*fault, field, n})
	}
	// Step 4: the newest message signature must verify. It is checked before the seals, because a changed body is detected without a key.
	newest := sets[len(sets)-1].message
	if status, fault := v.verify(newest, now, key); status != Pass {
		fail(arcSignature, len(sets), newest, status, fault)
		return
	}
	// Step 6: every seal, the newest first.
	sums := v.sealSums()
	for i := len(sets) - 1; i >= 0; i-- {
		seal := sets[i].seal
		status, fault := PermError, seal.untimely(now)
		if fault == nil {
			status, fault = seal.tryKeys(key, func() [sha256.Size]byte { return sums[i] })
		}
		if status != Pass {
			fail(arcSeal, i+1, seal, status, fault)
			return
		}
	}
	out.Status = Pass
	out.OldestPass = v.oldestPass(now, key)
}

// oldestPass returns Chain.OldestPass: RFC 8617 section 5.2 step 5. Message signatures over the limit maxMessageSignatures count as
// failed.
func (v *Verifier) oldestPass(now time.Time, key func(string) ([]string, error)) int {
	sets := v.chain.sets
	for i := len(sets) - 2; i >= 0; i-- {
		if i < len(sets)-maxMessageSignatures {
			return i + 2
		}
		if status, _ := v.verify(sets[i].message, now, key); status != Pass {
			return i + 2
		}
	}
	return 0
}

// sealSums returns the hash that each seal signs (RFC 8617 section 5.1.1). The hash covers all sets up to the set of the seal. From each
// set, it covers the results, the message signature and the seal, always in relaxed form. The seal itself is hashed without the value of
// b=. Each seal covers everything that the previous seal covers, so one running hash is cloned at each seal.
func (v *Verifier) sealSums() [][sha256.Size]byte {
	running := sha256.New()
	sums := make([][sha256.Size]byte, len(v.chain.sets))
	for i, s := range v.chain.sets {
		buf := relaxed.appendField(v.buf[:0], s.results)
		buf = relaxed.appendField(buf, s.message.field)
		running.Write(buf)
		buf = relaxed.appendField(buf[:0], s.seal.withoutValue())
		// crypto/sha256 documents that its hashes can be cloned; it returns no error.
		at, _ := running.(hash.Cloner).Clone()
		at.Write(buf[:len(buf)-2]) // without the final CRLF
		at.Sum(sums[i][:0])
		buf = relaxed.appendField(buf[:0], s.seal.field)
		running.Write(buf)
		v.buf = buf
	}
	return sums
}

func (s *set) sealer() Sealer {
	return Sealer{Instance: s.instance, Domain: s.seal.result.Domain, Selector: s.seal.result.Selector, CV: s.cv,
		CoversFrom: s.message.covers("from"), Results: s.payload}
}
