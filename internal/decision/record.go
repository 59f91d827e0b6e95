// Package decision defines the [Record] of a message. A Record contains all information about the message and the action for it.
//
// Package filter makes one Record for each message and passes it to Filter.Finished. Metrics, journal and log read it. Programs
// that read the journal get the same Record: see docs/decisions/decision.md and docs/json.md.
//
//	finished := func(r *decision.Record) {
//		if r.Action == policy.Reject {
//			rejected[r.Code]++ // for example dmarc_fail
//		}
//	}
package decision

import (
	"signpost/internal/dns"
	"signpost/policy"
)

// Version is the version of a Record's JSON: docs/json.md. The journal decodes records of earlier versions.
const Version = 2

// Record contains all information about one message and the action for it. Its JSON is flat, and has the same names as the log. The name of
// a number includes its unit. A Record is immutable, because it shares memory with the message, its header and the DNS cache.
type Record struct {
	Version int         `json:"v"`
	Code    policy.Code `json:"code,omitempty"` // the code of the reason for the action; without such a reason, the code of the role
	policy.Assignment
	policy.Verdict
	policy.Evidence
	Observe   bool          `json:"observe,omitempty"`   // in observe mode, Action is Accept
	Would     policy.Action `json:"would,omitempty"`     // in observe mode: the action that enforce mode would take
	Selectors []string      `json:"selectors,omitempty"` // of the keys that signed
	Forged    int           `json:"forged_fields_removed,omitempty"`
	Unnamed   int           `json:"unnamed_results_removed,omitempty"` // Authentication-Results without an authserv-id

	DNSQueries int     `json:"dns_queries,omitempty"`
	DNSMS      float64 `json:"dns_ms,omitempty"`
	HandlerMS  float64 `json:"handler_ms"` // time in the milter handlers, including the wait for DNS at the end of the message

	Lookups  []dns.Lookup `json:"lookups,omitempty"`
	Answered dns.Answered `json:"-"` // the lookups before they are converted to Lookups
}

// Decided returns the action that was decided on. In observe mode, that action was not taken.
func (r *Record) Decided() policy.Action {
	if r.Would != "" {
		return r.Would
	}
	return r.Action
}

// Words returns a set of named values, such as policy.Actions, as strings for flags and labels.
func Words[T ~string](all []T) []string {
	words := make([]string, len(all))
	for i, w := range all {
		words[i] = string(w)
	}
	return words
}
