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

// The same in lower case: the names of index, and of Chain.Field.
const (
	arcResults   = "arc-authentication-results"
	arcSignature = "arc-message-signature"
	arcSeal      = "arc-seal"
)

// None is the status of a message without an ARC set: RFC 8617 section 4.4.
const None Status = "none"

// Bounds on a chain. Together with maxKeyRecords they are also the bound on public-key operations: each seal and each
// message signature that is verified costs one for each key record. All of them are spent only on a chain whose every
// seal is good, and a chain stops at the first that is not. SPF may cost more look-ups than the 60 that these may.
const (
	// MaxSets is how many sets a message may have: RFC 8617 section 4.2.1.
	MaxSets = 50
	// maxMessageSignatures is how many message signatures are verified, the newest first. Each hashes the header again, so
	// that all of 50 would make the cost grow with the square of what a stranger sends. Only the newest one decides (RFC
	// 8617 section 5.2 step 4), the others tell header.oldest-pass, and honest chains have one to five.
	maxMessageSignatures = 10
)

// Chain is what became of a message's ARC sets: RFC 8617 section 5.2.
type Chain struct {
	Status     Status   `json:"status"`                // none, pass or fail
	Reason     string   `json:"reason,omitempty"`      // why fail, in words
	Cause      Cause    `json:"cause,omitempty"`       // why fail
	Detail     string   `json:"detail,omitempty"`      // as the comment of Cause states
	Field      string   `json:"field,omitempty"`       // the field that Cause is about, such as arc-seal; empty if it is about no single field
	Instance   int      `json:"instance,omitempty"`    // i= of that field, if it can be read
	KeyName    string   `json:"key_name,omitempty"`    // DNS name of the key record, if the key was looked up for that field
	Temporary  bool     `json:"temporary,omitempty"`   // it fails because a key could not be looked up, perhaps for now only
	Failed     string   `json:"failed,omitempty"`      // Temporary: the DNS name of that key
	Sets       []Sealer `json:"sets,omitempty"`        // instance 1 first; empty where the sets are not whole
	OldestPass int      `json:"oldest_pass,omitempty"` // RFC 8617 section 5.2 step 5: the oldest set whose message signature holds, all newer ones too; 0 is all of them
}

// fail sets the fault that makes the chain fail.
func (c *Chain) fail(f *setFault, algorithm string) {
	c.Status, c.Cause, c.Detail, c.Field, c.Instance, c.Reason = Fail, f.Cause, f.Detail, f.field, f.instance, c.sentence(f, algorithm)
}

// Sealer is one set: who sealed, and what he says. Nothing of it is true unless the chain passes.
type Sealer struct {
	Instance   int    `json:"instance"`
	Domain     string `json:"domain"`   // d= of the seal, lower-case A-labels
	Selector   string `json:"selector"` // s= of the seal
	CV         string `json:"cv"`       // what he thought of the chain so far
	CoversFrom bool   `json:"covers_from"`
	Results    string `json:"results"` // ARC-Authentication-Results behind its instance
}

// Chain ends the message and judges its ARC sets. key is as for Results.
func (v *Verifier) Chain(now time.Time, key func(name string) ([]string, error)) Chain {
	v.end()
	c := &v.chain
	out := Chain{Status: None}
	switch {
	case c.fault != nil:
		out.fail(c.fault, "")
	case len(c.sets) > 0:
		v.judgeChain(&out, now, key)
	}
	for _, s := range c.sets {
		if s != nil && c.whole {
			out.Sets = append(out.Sets, s.sealer())
		}
	}
	return out
}

func (v *Verifier) judgeChain(out *Chain, now time.Time, key func(string) ([]string, error)) {
	sets := v.chain.sets
	// RFC 8617 section 5.2.1: every failure is permanent, one of DNS as well.
	fail := func(field string, n int, s *signature, status Status, fault *Fault) {
		if status == TempError {
			out.Temporary, out.Failed = true, s.keyName()
		}
		out.KeyName = s.result.KeyName
		out.fail(&setFault{Fault: *fault, field: field, instance: n, judged: true}, s.result.Algorithm)
	}
	// Step 4: the newest message signature has to hold. It is looked at first: it needs no key to see that a body was
	// changed.
	newest := sets[len(sets)-1].message
	if status, fault := v.judge(newest, now, key); status != Pass {
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

// oldestPass is step 5 of RFC 8617 section 5.2. Those beyond the bound are not vouched for.
func (v *Verifier) oldestPass(now time.Time, key func(string) ([]string, error)) int {
	sets := v.chain.sets
	for i := len(sets) - 2; i >= 0; i-- {
		if i < len(sets)-maxMessageSignatures {
			return i + 2
		}
		if status, _ := v.judge(sets[i].message, now, key); status != Pass {
			return i + 2
		}
	}
	return 0
}

// sealSums gives what each seal signs: RFC 8617 section 5.1.1 has every set from the first on, results, message signature
// and seal, always relaxed, and the seal in question without its b=. What one seal covers the next one covers too, so the
// hash runs through the sets once and is copied at each seal.
func (v *Verifier) sealSums() [][sha256.Size]byte {
	running := sha256.New()
	sums := make([][sha256.Size]byte, len(v.chain.sets))
	for i, s := range v.chain.sets {
		buf := relaxed.appendField(v.buf[:0], s.results)
		buf = relaxed.appendField(buf, s.message.field)
		running.Write(buf)
		buf = relaxed.appendField(buf[:0], s.seal.withoutValue())
		// crypto/sha256 documents that its hashes can be cloned, and gives no error.
		at, _ := running.(hash.Cloner).Clone()
		at.Write(buf[:len(buf)-2]) // without its CRLF
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
