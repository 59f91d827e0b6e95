// Package dkim signs messages and verifies their signatures and ARC chains: RFC 6376 (STD 76), RFC 8301, RFC 8463 and RFC 8617.
//
// A [Signer] signs one message, a [Verifier] verifies all signatures of one message. Both get the header fields as a slice and the body
// through Write. They do not keep the body in memory. All signatures of a message share one canonicalization and one hash for each body
// canonicalization. A [Result] is the outcome of one signature, and a [Chain] is the outcome of the ARC sets. A [Cause] states why a
// signature or a chain does not pass. The package uses no network and no clock: key records and the time are arguments.
//
//	v := dkim.NewVerifier(fields, []string{"example.org"})
//	io.Copy(v, body)
//	for _, r := range v.Results(time.Now(), lookupTXT) {
//		fmt.Println(r.Domain, r.Status, r.Cause) // example.org fail body_hash_mismatch
//	}
package dkim

import "time"

// Field is one header field as received.
type Field struct {
	Name  string // up to the colon, as written
	Value string // everything after the colon, including the leading space; CRLF in folds, but not at the end
}

// SignatureField is the name of the header field that carries a signature.
const SignatureField = "DKIM-Signature"

// Status is the outcome of one signature, as in RFC 8601 section 2.7.1.
type Status string

// The values of Status for a signature.
const (
	Pass      Status = "pass"
	Fail      Status = "fail"      // the hash or the signature does not match
	Policy    Status = "policy"    // a limit or a rule of this package excludes the signature, even if it is valid
	TempError Status = "temperror" // the lookup of the key failed temporarily
	PermError Status = "permerror" // malformed, expired, no usable key
)

// Limits on the work that a message can cause. They are checked before the work is done.
const (
	// MaxSignatures is the maximum number of signatures of a message that are verified. The remaining signatures have the status Policy.
	// RFC 6376 section 6.1 lets a verifier limit the number. Honest mail has one to four signatures.
	MaxSignatures = 8
	// MaxSignedNames is the maximum number of names in h=. Each is searched for in the header. Honest signers list 10 to 50.
	MaxSignedNames = 200
	// MaxSignatureField is the size in bytes of the longest signature field that is parsed.
	MaxSignatureField = 32 << 10
	// MinRSABits is the size of the smallest RSA key that may pass: RFC 8301 section 3.2.
	MinRSABits = 1024
	// MaxRSABits is the size of the largest RSA key that is used. RFC 8301 requires 4096; larger keys only cost processor time.
	MaxRSABits = 8192
	// MaxKeyRecord is the size in bytes of the longest key record that is parsed.
	MaxKeyRecord = 16 << 10
	// maxKeyRecords is the maximum number of TXT records at one selector that are tried. RFC 6376 section 3.6.2.2 does not define the
	// result for several records.
	maxKeyRecords = 4
	// clockSkew is the accepted difference between a signer's clock and ours. A signature fails only if its t= or x= is wrong by more than
	// this.
	clockSkew = time.Hour
)

// Result is the result of verifying one signature.
type Result struct {
	Status    Status   `json:"status"`
	Cause     Cause    `json:"cause,omitempty"`     // why the status is not pass
	Detail    string   `json:"detail,omitempty"`    // described at the Cause
	Domain    string   `json:"domain,omitempty"`    // d= as lower-case A-labels; empty if it could not be read
	Selector  string   `json:"selector,omitempty"`  // s=, lower-case A-labels
	Identity  string   `json:"identity,omitempty"`  // i=, or "@" and d= if i= is absent
	Algorithm string   `json:"algorithm,omitempty"` // a=, such as "rsa-sha256"
	KeyBits   int      `json:"key_bits,omitempty"`  // size of the public key that was used; 0 if no key was used
	Testing   bool     `json:"testing,omitempty"`   // the key record has t=y: RFC 6376 section 3.6.1
	Headers   []string `json:"headers,omitempty"`   // the names in h=, in lower case and in the same order
	Signature string   `json:"signature,omitempty"` // the value of b= without white space; header.b (RFC 6008) is a prefix of it
	KeyName   string   `json:"key_name,omitempty"`  // DNS name of the key record
	KeyRecord string   `json:"key_record,omitempty"`

	// ForTLSReports reports that the signature counts for a TLS report (RFC 8460 section 3): it is valid, it has no l=, and the service
	// type of its key is email, * or tlsrpt. With tlsrpt alone, the Status is not pass. It must not be used for anything else, and is not
	// in the journal.
	ForTLSReports bool `json:"-"`

	// HeaderHolds reports that the signature verifies over the header as received. HoldsUntagged reports that it verifies after a leading
	// [tag] is removed from Subject; mailing lists insert such tags. HeaderOpen reports that the key could not be looked up, so the other
	// two are unknown. CheckHeaders sets all three.
	HeaderHolds   bool `json:"header_verifies,omitempty"`
	HoldsUntagged bool `json:"header_verifies_untagged,omitempty"`
	HeaderOpen    bool `json:"header_unknown,omitempty"`
}

// set sets the outcome. fault is nil if status is Pass.
func (r *Result) set(status Status, fault *Fault) {
	r.Status = status
	if fault != nil {
		r.Cause, r.Detail = fault.Cause, fault.Detail
	}
}
