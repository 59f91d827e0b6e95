// Package status has the file received.json, which signpost reports read writes after each run: numbers and alarms about the reports that
// others send. The daemon, signpost check and signpost web read it. They do not open the database of these reports.
package status

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/durable"
)

// Code is the kind of an alarm.
type Code string

// The codes.
const (
	UnknownSource  Code = "unknown_source"  // mail passes DMARC in our name, and its source is neither ours nor known
	ReporterSilent Code = "reporter_silent" // a regular reporter has sent no report for a week
	PolicyDiffers  Code = "policy_differs"  // reporters see another DMARC policy than the one in DNS
	TLSFailure     Code = "tls_failure"     // TLS sessions to our mail servers fail
	SelectorFails  Code = "selector_fails"  // signatures with a key of ours fail
)

// Codes returns all codes, the most important first.
func Codes() []Code {
	return []Code{UnknownSource, SelectorFails, PolicyDiffers, TLSFailure, ReporterSilent}
}

// Alarm is something that trusted reporters reported, and that somebody should look at. The names come from reports: they are lower-case
// A-labels or words without control characters, but chosen by others.
type Alarm struct {
	Code     Code       `json:"code"`
	Domain   string     `json:"domain,omitempty"`   // of ours; empty for reporter_silent
	Selector string     `json:"selector,omitempty"` // selector_fails; unknown_source: of the signature that passed. Empty: SPF passed
	Signer   string     `json:"signer,omitempty"`   // unknown_source: d= of that signature
	Source   netip.Addr `json:"source_ip,omitzero"` // unknown_source: the address with the most messages
	Sources  int        `json:"sources,omitempty"`  // unknown_source: the number of addresses
	Failure  string     `json:"failure,omitempty"`  // tls_failure: a result-type of RFC 8460

	Published string `json:"published,omitempty"` // policy_differs: the policy in DNS, such as "p=reject sp=none"; empty: there is none
	Seen      string `json:"seen,omitempty"`      // policy_differs: that of the reports

	Reporters []string  `json:"reporters"`          // sorted, at most MaxReporters; of reporter_silent: the silent one
	Messages  int64     `json:"messages,omitempty"` // or TLS sessions: those that the alarm is about
	Total     int64     `json:"total,omitempty"`    // all messages, or TLS sessions, of the domain or selector in the same time
	Since     time.Time `json:"since"`              // the first day; of reporter_silent: of the last report
	Last      time.Time `json:"last"`               // the last day
	Reports   []int64   `json:"reports,omitempty"`  // the newest reports about it, as in signpost reports received --report; at most MaxReports
}

// Limits of the evidence of one alarm.
const (
	MaxReporters = 10
	MaxReports   = 5
)

// Key identifies an alarm: a later run has the same alarm if the keys are equal.
func (a Alarm) Key() string {
	parts := []string{string(a.Code), a.Domain, a.Selector, a.Signer, a.Failure}
	switch {
	case a.Code == ReporterSilent:
		parts = append(parts, a.Reporters...)
	case a.Code == UnknownSource && a.Selector == "" && a.Source.IsValid():
		parts = append(parts, network(a.Source).String())
	}
	return strings.Join(parts, " ")
}

// network returns the network of an address that one sender usually has.
func network(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits)
	return p
}

// Result is what happened to a message in the spool.
type Result string

// The results.
const (
	Stored     Result = "stored"
	Duplicate  Result = "duplicate"  // it was received before
	Failure    Result = "failure"    // a failure report: counted, not kept
	Unverified Result = "unverified" // DMARC, or the signature of a TLS report, did not pass
	Unreadable Result = "unreadable" // it is no report, or has a fault
	Outdated   Result = "outdated"   // its days are older than reports.receive.retention, or in the future
	OverLimit  Result = "over_limit" // the reporter has sent too many reports that day
)

// Results returns all results.
func Results() []Result {
	return []Result{Stored, Duplicate, Failure, Unverified, Unreadable, Outdated, OverLimit}
}

// Kinds returns the keys of Received.Stored.
func Kinds() []string { return []string{"aggregate", "tls"} }

// Received is the content of received.json.
type Received struct {
	LastRun time.Time        `json:"last_run"` // zero: there was none
	OK      bool             `json:"ok"`       // the last run had no error
	Error   string           `json:"error,omitempty"`
	Read    map[Result]int64 `json:"read"`    // messages of the spool since the database was created
	Stored  map[string]int64 `json:"stored"`  // reports in the database, by kind: aggregate, tls
	Bytes   int64            `json:"bytes"`   // the size of the database
	Waiting int              `json:"waiting"` // messages in the spool after the run

	// Day is the last day for which enough reports can have arrived. The numbers of it are those of trusted reporters about hosted domains.
	Day    time.Time `json:"day"`
	Passed int64     `json:"passed"` // messages that passed DMARC
	Failed int64     `json:"failed"`

	// Evaluated is when the numbers of Day and the alarms were computed.
	Evaluated time.Time `json:"evaluated"`

	Trusted int          `json:"trusted_reporters"`
	Alarms  []Alarm      `json:"alarms"`         // at most MaxAlarms, in the order of Codes; see SetAlarms
	Omitted int          `json:"omitted"`        // alarms beyond that
	ByCode  map[Code]int `json:"alarms_by_code"` // the number of all alarms
}

// SetAlarms sets Alarms, Omitted and ByCode. If there are more than MaxAlarms, each code has its share: a fault of a mail server that all domains
// share does not hide the others.
func (r *Received) SetAlarms(all []Alarm) {
	r.ByCode = map[Code]int{}
	for _, c := range Codes() {
		r.ByCode[c] = 0
	}
	rank := map[string]int{} // the position of an alarm among those of its code
	for _, a := range all {
		rank[a.Key()] = r.ByCode[a.Code]
		r.ByCode[a.Code]++
	}
	r.Alarms = append([]Alarm{}, all...)
	slices.SortStableFunc(r.Alarms, func(a, b Alarm) int { return rank[a.Key()] - rank[b.Key()] })
	r.Alarms = r.Alarms[:min(MaxAlarms, len(all))]
	r.Omitted = len(all) - len(r.Alarms)
	slices.SortStableFunc(r.Alarms, func(a, b Alarm) int {
		return cmp.Or(slices.Index(Codes(), a.Code)-slices.Index(Codes(), b.Code), cmp.Compare(a.Key(), b.Key()))
	})
}

// MaxAlarms limits the alarms of the file.
const MaxAlarms = 200

// Load reads the file at path, which is in the tree. The error wraps fs.ErrNotExist if there is none.
func Load(tree durable.Tree, path string) (r Received, err error) {
	data, err := tree.Read(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return Received{}, fmt.Errorf("%s cannot be read: it is not a file of signpost reports read", path)
	}
	return r, nil
}

// None reports whether the error of Load is that there was no run yet.
func None(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Write replaces the file at path.
func (r Received) Write(tree durable.Tree, path, like string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return tree.Write(path, data, like, 0o600)
}
