// Package judge decides whether mail was handled correctly. It knows the right result of each message, and uses only what can be seen from
// outside: SMTP replies, mailboxes, DMARC reports, and the memory and descriptors of processes. It shares no code with Signpost.
package judge

import (
	"slices"
	"time"
)

// Effect is a consequence that a fault may have. Effects are bits.
type Effect int

// The effects.
const (
	Tempfail  Effect = 1 << iota // a reply that asks the client to try again, or a lost connection
	TempError                    // temperror instead of another result
	Delay                        // a message that arrives more than MaxDelay after its first attempt
	Unwritten                    // messages that are missing from the journal, and so from the counts of reports
	Unkept                       // reports about the hosts' domains that are delivered, but not read
	Revoked                      // signatures of the hosts that do not verify, because their key was revoked
)

// MaxDelay is the longest time in which a message must arrive while no fault with the effect Delay is active.
const MaxDelay = 10 * time.Minute

// Fault is one disturbance, with the time in which it may have its effects.
type Fault struct {
	Name    string
	Host    string // empty: all hosts
	Effects Effect
	From    time.Time
	To      time.Time // including the time in which effects linger, for example in caches; zero: not ended
}

// Class is the kind of sender of a message.
type Class string

// The classes.
const (
	User            Class = "user"            // logged in at one of the hosts
	Unauthenticated Class = "unauthenticated" // a client that sends mail of its own domain
	List            Class = "list"            // a mailing list that changes mail of others
	Forwarder       Class = "forwarder"
	Forger          Class = "forger"
	Reporter        Class = "reporter" // sends DMARC reports about the hosts' domains
)

// Message is a message that was sent, with its right result.
type Message struct {
	ID       string // the value of its X-Soak-ID field
	Class    Class
	Host     string // the host whose SMTP server receives it
	Want     Want
	Attempts []Attempt // in order of time
}

// Want is the right result of a message while no fault is active.
type Want struct {
	Rejected bool              // the reply is permanent, and no copy exists
	Signer   string            // the domain that signs it; empty: none of ours
	At       string            // the host in whose mailbox it arrives; empty: none
	Results  map[string]string // Authentication-Results of that host, by method: dkim, spf, dmarc, arc; "" means that the method has no result
	Tagged   bool              // it arrives in quarantine
	Row      Row               // its row in a report of the hosts; the zero value: none
	Received Received          // what its report states; the zero value: it is no report
}

// Received is what a report about a domain of the hosts states. Reports with the same domain and ID are the same report.
type Received struct {
	Domain, ID string
	Messages   int64
}

// Attempt is one attempt to hand over a message.
type Attempt struct {
	From, To time.Time
	Code     int // the reply after DATA, or an earlier one that is not positive; 0: the connection was lost
}

// Copy is a message as it arrived in a mailbox. ReadCopy returns it.
type Copy struct {
	ID      string
	Host    string
	At      time.Time
	Results map[string]string // of the field of this host; nil: there is none
	Foreign int               // further fields that claim to be of this host
	Signers []string          // the domains of all signatures
	Tagged  bool
	Sum     [32]byte // SHA-256 of the body
}

// Judge collects what was seen. It is not safe for concurrent use.
type Judge struct {
	ours []string // the domains of the hosts

	messages map[string]*Message
	copies   map[string][]Copy
	faults   []Fault
	reports  []Report
	samples  []Sample
	verified int              // signatures that were verified independently
	read     map[string]int64 // the messages in the reports that were read, by domain; nil: not known
	problems []Problem        // those found while collecting
}

// New returns a Judge that has seen nothing. ours are the domains whose mail the hosts sign.
func New(ours ...string) *Judge {
	return &Judge{ours: ours, messages: map[string]*Message{}, copies: map[string][]Copy{}}
}

// Sent adds a message after its last attempt.
func (j *Judge) Sent(m Message) { j.messages[m.ID] = &m }

// Arrived adds a copy.
func (j *Judge) Arrived(c Copy) { j.copies[c.ID] = append(j.copies[c.ID], c) }

// Fault adds a fault after it has ended.
func (j *Judge) Fault(f Fault) { j.faults = append(j.faults, f) }

// Verified adds the result of an independent verification of a signature in the copy of a message, against the DNS of that moment.
func (j *Judge) Verified(id, signer string, at time.Time, err error) {
	j.verified++
	if err != nil && !j.during(Revoked, at, at) {
		j.problems = append(j.problems, Problem{BadSignature, id, signer + ": " + err.Error()})
	}
}

// Read adds the number of messages in all reports about a domain that the hosts have read.
func (j *Judge) Read(domain string, messages int64) {
	if j.read == nil {
		j.read = map[string]int64{}
	}
	j.read[domain] = messages
}

// during reports whether a fault with one of these effects was active at a host at any time from one moment to another.
func (j *Judge) during(effects Effect, from, to time.Time, hosts ...string) bool {
	return slices.ContainsFunc(j.faults, func(f Fault) bool {
		return f.Effects&effects != 0 && (f.Host == "" || slices.Contains(hosts, f.Host)) && f.From.Before(to) && (f.To.IsZero() || f.To.After(from))
	})
}
