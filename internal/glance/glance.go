// Package glance shows everything about one domain at a glance: its keys and what receivers saw of them, its DNS records, its mail, and what the
// reports of others state.
package glance

import (
	"slices"
	"strings"
	"time"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/doctor/domain"
	"signpost/internal/report/received"
	"signpost/internal/report/seen"
	"signpost/internal/report/status"
	"signpost/keys"
)

// Domain is what is known about a domain.
type Domain struct {
	Name     string           `json:"domain"`   // lower-case A-labels
	At       time.Time        `json:"time"`     // of the DNS lookups
	Hosted   bool             `json:"hosted"`   // this host has keys of the domain
	Keys     []Key            `json:"keys"`     // without removed keys
	DNS      domain.Found     `json:"dns"`      // what was found in DNS
	Findings []doctor.Finding `json:"findings"` // the checks of DNS, in their order
	Optional []Record         `json:"optional"` // records that the domain could publish
	Mail     *Mail            `json:"mail"`     // nil: there is no journal
	Reports  *Reports         `json:"reports"`  // nil: there are no reports of others about the domain
}

// Key is a key of this host.
type Key struct {
	Selector  string         `json:"selector"`
	Algorithm string         `json:"algorithm"`
	Bits      int            `json:"bits"`
	State     keys.State     `json:"state"`
	Since     time.Time      `json:"since"`
	Signs     bool           `json:"signs"`
	Next      string         `json:"next"`             // what happens next
	Action    string         `json:"action,omitempty"` // what the operator must do
	Seen      *seen.Selector `json:"seen,omitempty"`   // what receivers saw
	Note      string         `json:"seen_note,omitempty"`
	Alarm     bool           `json:"alarm"` // Note is an alarm
}

// NewKeys returns the keys of a domain. The parameter file may be nil.
func NewKeys(name string, all []keys.Status, file *seen.File, now time.Time) []Key {
	found := []Key{}
	for _, k := range all {
		if k.Domain != name || k.State == keys.Removed {
			continue
		}
		found = append(found, Key{Selector: k.Selector, Algorithm: k.Algorithm, Bits: k.Bits, State: k.State, Since: k.Since, Signs: k.Signs, Next: k.Next, Action: k.Action,
			Seen: file.Of(k.Domain, k.Selector), Note: file.Note(k, now), Alarm: file.Alarm(k, now) != nil})
	}
	return found
}

// Mail counts the messages of the journal since a time.
type Mail struct {
	Since    time.Time `json:"since"`
	Signed   int64     `json:"signed"`   // outbound mail of this Author Domain
	Unsigned int64     `json:"unsigned"` // outbound mail that was not signed
	Passed   int64     `json:"passed"`   // inbound mail with this Author Domain: DMARC passed
	Failed   int64     `json:"failed"`   // DMARC failed or was in error, or the action was tag or stricter
	Other    int64     `json:"other"`    // inbound mail without a DMARC result
}

// Reports is the part of received.About that matters at a glance.
type Reports struct {
	Since time.Time `json:"since"`
	received.Volume
	Reporters int            `json:"reporters"`
	Last      time.Time      `json:"last"`
	Alarms    []status.Alarm `json:"alarms"`
	Cost      received.Cost  `json:"cost"` // of a stricter policy
	// Days are those of the period that have reports. Senders are the addresses with most messages, and Failing those with most failed ones.
	Days    []received.Day    `json:"days"`
	Senders []received.Source `json:"most_messages"`
	Failing []received.Source `json:"most_failed"`
}

// mostSenders limits each list of addresses.
const mostSenders = 5

// NewReports returns the part of a that matters, or nil if there are no reports.
func NewReports(a received.About) *Reports {
	if len(a.Reporters) == 0 {
		return nil
	}
	r := &Reports{Since: a.Since, Volume: a.Volume, Reporters: len(a.Reporters), Alarms: a.Alarms, Cost: a.Cost, Days: a.Days,
		Senders: a.Most[:min(len(a.Most), mostSenders)], Failing: a.MostFailed[:min(len(a.MostFailed), mostSenders)]}
	for _, one := range a.Reporters {
		if one.Last.After(r.Last) {
			r.Last = one.Last
		}
	}
	return r
}

// Record is a DNS record that a domain could publish.
type Record struct {
	Check string `json:"check"` // as in docs/doctor.md
	Why   string `json:"why"`
	Line  string `json:"line"` // of a zone file, maybe followed by comment lines
}

// Proposed returns the optional records that a domain lacks.
func Proposed(name string, found domain.Found) []Record {
	all := []Record{}
	lacks := func(check string) bool { return len(found.Exchanges) > 0 && slices.Contains(found.Absent, check) }
	txt := func(record, text string) string { return record + "." + name + ". IN TXT " + dns.QuoteTXT(text, " ") }
	if lacks("tlsrpt") {
		all = append(all, Record{"tlsrpt", "other servers report failed TLS sessions with your mail exchanges (RFC 8460)", txt("_smtp._tls", "v=TLSRPTv1; rua=mailto:postmaster@"+name)})
	}
	if lacks("mta-sts") {
		policy := "; https://mta-sts." + name + "/.well-known/mta-sts.txt:\n; version: STSv1\n; mode: testing\n"
		for _, mx := range found.Exchanges {
			policy += "; mx: " + strings.TrimSuffix(mx, ".") + "\n"
		}
		all = append(all, Record{"mta-sts", "other servers send mail to you only with TLS (RFC 8461); it needs a web server", txt("_mta-sts", "v=STSv1; id=1") + "\n" + policy + "; max_age: 86400"})
	}
	if lacks("dane") && len(found.TLSA) > 0 {
		all = append(all, Record{"dane", "other servers send mail to you only with these keys (RFC 7672); publish the next record before you change a key", strings.Join(found.TLSA, "\n")})
	}
	if lacks("bimi") && (found.Policy == "quarantine" || found.Policy == "reject") {
		all = append(all, Record{"bimi", "mail clients show your logo; most require a certificate (a=)", txt("default._bimi", "v=BIMI1; l=https://"+name+"/logo.svg; a=")})
	}
	return all
}
