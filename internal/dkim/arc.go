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

// Bounds on a chain. Together with maxKeyRecords they bound the public-key operations: each seal and each verified message signature
// needs one for each key record. Verification ends at the first seal that fails. The 60 lookups that these bounds allow are fewer than
// SPF may need.
const (
	// MaxSets is how many sets a message may have: RFC 8617 section 4.2.1.
	MaxSets = 50
	// maxMessageSignatures is how many message signatures are verified, the newest first. Each of them hashes the header again, so
	// without this bound the cost would grow with the square of the message size. Only the newest one decides (RFC 8617 section 5.2
	// step 4); the others determine header.oldest-pass. Honest chains have one to five.
	maxMessageSignatures = 10
)

// Chain is the result of validating a message's ARC sets: RFC 8617 section 5.2.
type Chain struct {
	Status     Status   `json:"status"`                // none, pass or fail
	Cause      Cause    `json:"cause,omitempty"`       // why fail
	Detail     string   `json:"detail,omitempty"`      // as the comment of Cause states
	Field      string   `json:"field,omitempty"`       // the field that Cause is about, such as arc-seal; empty if it is about no single field
	Instance   int      `json:"instance,omitempty"`    // i= of that field, if it can be read
	KeyName    string   `json:"key_name,omitempty"`    // DNS name of the key record, if the key was looked up for that field
	Temporary  bool     `json:"temporary,omitempty"`   // it fails because a key could not be looked up, perhaps for now only
	Failed     string   `json:"failed,omitempty"`      // Temporary: the DNS name of that key
	Sets       []Sealer `json:"sets,omitempty"`        // instance 1 first; empty if the sets are incomplete or malformed
	OldestPass int      `json:"oldest_pass,omitempty"` // RFC 8617 section 5.2 step 5: the oldest set since which all message signatures verify; 0: all of them do
}

// fail sets the fault that makes the chain fail.
func (c *Chain) fail(f *setFault) {
	c.Status, c.Cause, c.Detail, c.Field, c.Instance = Fail, f.Cause, f.Detail, f.field, f.instance
}

// Sealer is one set: its sealer and what the sealer states. It is not verified unless the chain passes.
type Sealer struct {
	Instance   int    `json:"instance"`
	Domain     string `json:"domain"`   // d= of the seal, lower-case A-labels
	Selector   string `json:"selector"` // s= of the seal
	CV         string `json:"cv"`       // the sealer's result for the sets before this one: none, pass or fail
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
	// RFC 8617 section 5.2.1: every failure is permanent, one of DNS as well.
	fail := func(field string, n int, s *signature, status Status, fault *Fault) {
		if status == TempError {
			out.Temporary, out.Failed = true, s.keyName()
		}
		out.KeyName = s.result.KeyName
		out.fail(&setFault{*fault, field, n})
	}
	// Step 4: the newest message signature has to verify. It is checked before the seals, because a changed body is found without a
	// key.
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

// oldestPass returns Chain.OldestPass: step 5 of RFC 8617 section 5.2. Sets beyond maxMessageSignatures count as failed.
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

// sealSums returns the hash that each seal signs: of all sets up to its own (results, message signature and seal, always relaxed), with
// the seal itself without its b= (RFC 8617 section 5.1.1). Each seal covers all that the previous one covers, so one running hash is
// copied at each seal.
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
