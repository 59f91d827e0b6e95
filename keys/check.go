package keys

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/dkim"
	"signpost/internal/dns"
)

// Authority queries DNS. *dns.Authority implements it; tests use a fake.
type Authority interface {
	// Query returns the TXT records of a name from each of its authoritative name servers.
	Query(ctx context.Context, name string) (dns.Answers, error)
	// LookupTXT queries a resolver: keys.resolver if it is set, otherwise the resolver of the daemon.
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Checker compares the record of a key in DNS with the key.
type Checker struct {
	Authority Authority
}

// ServerStatus is the result of comparing the answer of one server with the key's record.
type ServerStatus string

// The server statuses.
const (
	Same    ServerStatus = "same"     // the key's record and no other
	Other   ServerStatus = "other"    // another record, or several
	Nothing ServerStatus = "none"     // no TXT record
	NoReply ServerStatus = "no_reply" // no answer
	NoRoute ServerStatus = "no_route" // this host has no route to that address family
)

// ServerAnswer is the answer of one server.
type ServerAnswer struct {
	Server string       `json:"server"` // name and address
	Status ServerStatus `json:"status"`
	Text   []string     `json:"text,omitempty"`
	Why    string       `json:"why,omitempty"`
}

// Observation is the result of one check of a key's record at all servers.
type Observation struct {
	Servers  []ServerAnswer `json:"servers"`
	Aliases  []ServerAnswer `json:"aliases,omitempty"` // answers of the servers of each CNAME that leads to the record
	Resolver ServerAnswer   `json:"resolver"`
	Wait     Seconds        `json:"wait_s"`          // how long caches may still have the earlier answer
	TTL      Seconds        `json:"ttl_s,omitempty"` // of the record
	Err      error          `json:"-"`               // the zone or its servers were not found
}

// Seconds is a duration that is encoded in JSON as a number of seconds.
type Seconds time.Duration

// MarshalJSON returns the number of seconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

const (
	// minWait is the shortest time for which a new record must be visible before its key signs.
	minWait = time.Hour
	// lookTimeout limits Look if many name servers do not answer. Each query has its own timeout (dns.timeout).
	lookTimeout = time.Minute
)

// Look queries every authoritative server and the resolver for the record of a key.
func (c *Checker) Look(ctx context.Context, m *Metadata, signer crypto.Signer) Observation {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	name := RecordName(m.Domain, m.Selector)
	answers, err := c.Authority.Query(ctx, name)
	if err != nil {
		return Observation{Err: err}
	}
	o := Observation{Wait: Seconds(max(minWait, answers.NegativeTTL, answers.AliasTTL, time.Duration(m.OldTTL)))}
	for i, hop := range answers.Hops {
		for _, served := range answers.Aliases[i] {
			o.Aliases = append(o.Aliases, newServerAnswer(served, func() (ServerStatus, string) { return compareAlias(hop, served.Target) }))
		}
	}
	for _, served := range answers.Text {
		o.Servers = append(o.Servers, newServerAnswer(served, func() (ServerStatus, string) { return compare(m, signer, served.Text) }))
		o.TTL = max(o.TTL, Seconds(served.TTL))
	}
	o.Wait = max(o.Wait, 2*o.TTL)
	o.Resolver = ServerAnswer{Server: "resolver"}
	text, err := c.Authority.LookupTXT(ctx, name)
	var missing interface{ Temporary() bool }
	if errors.As(err, &missing) && missing.Temporary() {
		o.Resolver.Status, o.Resolver.Why = NoReply, err.Error()
	} else {
		o.Resolver.Text = text
		o.Resolver.Status, o.Resolver.Why = compare(m, signer, text)
	}
	return o
}

func newServerAnswer(served dns.Served, judge func() (ServerStatus, string)) ServerAnswer {
	a := ServerAnswer{Server: served.Server.Name + " " + served.Server.Addr.Addr().String(), Text: served.Text}
	switch {
	case served.NoRoute:
		a.Status = NoRoute
	case served.Err != nil:
		a.Status, a.Why = NoReply, served.Err.Error()
	default:
		a.Status, a.Why = judge()
	}
	return a
}

// compareAlias compares the CNAME in a server's answer with the CNAME in the first answer. Clients that query a server without the CNAME do
// not find the key.
func compareAlias(hop dns.Hop, target string) (ServerStatus, string) {
	name := strings.TrimSuffix(hop.Name, ".")
	switch target {
	case hop.Target:
		return Same, ""
	case "":
		return Nothing, "no CNAME at " + name
	}
	return Other, name + " is a CNAME of " + strings.TrimSuffix(target, ".") + " there"
}

// compare compares TXT records with the key's record. If signer is not nil, it also signs a probe, and an independent implementation
// verifies the probe against the served record.
func compare(m *Metadata, signer crypto.Signer, text []string) (ServerStatus, string) {
	if len(text) == 0 {
		return Nothing, "no TXT record"
	}
	if len(text) > 1 {
		return Other, fmt.Sprintf("%d TXT records", len(text))
	}
	served, err := dkim.ParseKeyRecord(text[0])
	if err != nil {
		return Other, err.Error()
	}
	if served.Testing {
		return Other, "the record has t=y (testing)"
	}
	ours, err := dkim.ParseKeyRecord(m.Record)
	if err != nil || !served.Equal(ours) {
		return Other, "the record belongs to another key"
	}
	if signer != nil {
		if err := probe(m, signer, text[0]); err != nil {
			return Other, err.Error()
		}
	}
	return Same, ""
}

// probe signs a small message and verifies it with another implementation.
func probe(m *Metadata, signer crypto.Signer, record string) error {
	fields := []dkim.Field{{Name: "From", Value: " probe@" + m.Domain}, {Name: "Subject", Value: " a probe of the key " + m.Selector}}
	body := "This message is never sent.\r\n"
	// This uses time.Now, because the verifier compares the expiry with the wall clock.
	s, err := dkim.NewSigner(fields, []dkim.Key{{Domain: m.Domain, Selector: m.Selector, Signer: signer}}, time.Now(), 24*time.Hour)
	if err != nil {
		return fmt.Errorf("signing a probe: %w", err)
	}
	if _, err := s.Write([]byte(body)); err != nil {
		return err
	}
	signatures, err := s.Sign()
	if err != nil {
		return fmt.Errorf("signing a probe: %w", err)
	}
	var msg bytes.Buffer
	for _, f := range append(signatures, fields...) {
		msg.WriteString(f.Wire())
	}
	msg.WriteString("\r\n" + body)
	results, err := msgauth.VerifyWithOptions(&msg, &msgauth.VerifyOptions{LookupTXT: func(string) ([]string, error) { return []string{record}, nil }})
	if err == nil && (len(results) != 1 || results[0].Err != nil) {
		err = errors.New("no signature")
		if len(results) == 1 {
			err = results[0].Err
		}
	}
	if err != nil {
		return fmt.Errorf("a probe signed with the key does not verify against the record: %w", err)
	}
	return nil
}

// Outcome is the conclusion from an Observation about a key.
type Outcome struct {
	Ready   bool   // all servers have the record
	Differs bool   // a server has another record or none
	Silent  bool   // no server differs, but at least one does not answer
	Enough  bool   // set together with Silent: at least half of the servers have the record
	Words   string // for status and logs
}

// Outcome evaluates an Observation.
func (o Observation) Outcome() Outcome {
	if o.Err != nil {
		return Outcome{Silent: true, Words: o.Err.Error()}
	}
	same, reachable := 0, 0
	var silent, differ []string
	for _, a := range o.Servers {
		if a.Status != NoRoute {
			reachable++
		}
		if a.Status == Same {
			same++
		}
	}
	resolver := o.Resolver
	resolver.Server = "the resolver"
	for _, a := range append(slices.Concat(o.Servers, o.Aliases), resolver) {
		switch a.Status {
		case NoReply:
			silent = append(silent, a.Server+": "+a.Why)
		case Other, Nothing:
			differ = append(differ, a.Server+": "+a.Why)
		}
	}
	switch {
	case len(differ) > 0:
		return Outcome{Differs: true, Words: strings.Join(differ, "; ")}
	case reachable == 0:
		return Outcome{Silent: true, Words: "this host has no route to any of the name servers"}
	case len(silent) > 0:
		return Outcome{Silent: true, Enough: 2*same >= reachable && resolver.Status == Same, Words: "no answer from " + strings.Join(silent, "; ")}
	}
	return Outcome{Ready: true, Words: fmt.Sprintf("visible at all %d name servers", same)}
}
