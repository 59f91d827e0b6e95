package keys

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/dkim"
	"signpost/internal/dns"
)

// Checker looks at what the world sees of a key.
type Checker struct {
	Authority *dns.Authority
	// Resolver is the one that the daemon uses, or keys.resolver where the daemon's sees another world.
	Resolver *dns.Resolver
}

// View is what one server shows.
type View string

// The views.
const (
	Same    View = "same"     // the key's record and no other
	Other   View = "other"    // another record, or several
	Nothing View = "none"     // no TXT record there
	Mute    View = "mute"     // it could not be asked
	NoRoute View = "no route" // this host has no way to that address family
)

// ServerView is what one server shows of a key's record.
type ServerView struct {
	Server string   `json:"server"` // name and address
	View   View     `json:"view"`
	Text   []string `json:"text,omitempty"`
	Why    string   `json:"why,omitempty"`
}

// Sight is what all of DNS shows of a key.
type Sight struct {
	Servers  []ServerView  `json:"servers"`
	Aliases  []ServerView  `json:"aliases,omitempty"` // what those show that hold the aliases on the way to the record
	Resolver ServerView    `json:"resolver"`
	Wait     time.Duration `json:"wait"`          // how long caches may remember what was there before
	TTL      time.Duration `json:"ttl,omitempty"` // of the record
	Err      error         `json:"-"`             // the zone or its servers could not be found
}

// leastWait is how long a new record has to have been visible at least before its key signs.
const leastWait = time.Hour

// Look asks every authoritative server, and the resolver, for a key's record.
func (c *Checker) Look(ctx context.Context, l *Life, signer crypto.Signer) Sight {
	name := RecordName(l.Domain, l.Selector)
	place, err := c.Authority.Find(ctx, name)
	if err != nil {
		return Sight{Err: err}
	}
	s := Sight{Wait: max(leastWait, place.NegativeTTL, place.AliasTTL, time.Duration(l.OldTTL))}
	for _, hop := range place.Hops {
		for _, served := range c.Authority.AskHop(ctx, hop) {
			s.Aliases = append(s.Aliases, view(served, func() (View, string) { return compareAlias(hop, served.Target) }))
		}
	}
	for _, served := range c.Authority.Ask(ctx, place) {
		s.Servers = append(s.Servers, view(served, func() (View, string) { return compare(l, signer, served.Text) }))
		s.TTL = max(s.TTL, served.TTL)
	}
	s.Wait = max(s.Wait, 2*s.TTL)
	s.Resolver = ServerView{Server: "resolver"}
	text, err := c.Resolver.View(netip.Addr{}).LookupTXT(ctx, name)
	var missing interface{ Temporary() bool }
	if errors.As(err, &missing) && missing.Temporary() {
		s.Resolver.View, s.Resolver.Why = Mute, err.Error()
	} else {
		s.Resolver.Text = text
		s.Resolver.View, s.Resolver.Why = compare(l, signer, text)
	}
	return s
}

func view(served dns.Served, judge func() (View, string)) ServerView {
	v := ServerView{Server: served.Server.Name + " " + served.Server.Addr.Addr().String(), Text: served.Text}
	switch {
	case served.NoRoute:
		v.View = NoRoute
	case served.Err != nil:
		v.View, v.Why = Mute, served.Err.Error()
	default:
		v.View, v.Why = judge()
	}
	return v
}

// compareAlias: who asks a name server that does not have the alias, or has another one, does not find the key.
func compareAlias(hop dns.Hop, target string) (View, string) {
	name := strings.TrimSuffix(hop.Name, ".")
	switch target {
	case hop.Target:
		return Same, ""
	case "":
		return Nothing, "no CNAME at " + name
	}
	return Other, name + " is a CNAME of " + strings.TrimSuffix(target, ".") + " there"
}

// compare says whether text is the key's record, and no other, and verifies a probe signed with the key by an
// independent implementation against what was served.
func compare(l *Life, signer crypto.Signer, text []string) (View, string) {
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
		return Other, "the record says t=y (testing)"
	}
	ours, err := dkim.ParseKeyRecord(l.Record)
	if err != nil || !served.Equal(ours) {
		return Other, "the record is of another key"
	}
	if signer != nil {
		if err := probe(l, signer, text[0]); err != nil {
			return Other, err.Error()
		}
	}
	return Same, ""
}

// probe signs a small message and has another implementation verify it.
func probe(l *Life, signer crypto.Signer, record string) error {
	fields := []dkim.Field{{Name: "From", Value: " probe@" + l.Domain}, {Name: "Subject", Value: " a probe of the key " + l.Selector}}
	body := "This message is never sent.\r\n"
	// Its verifier reads the wall clock, so the signature does not expire for it.
	s, err := dkim.NewSigner(fields, []dkim.Key{{Domain: l.Domain, Selector: l.Selector, Signer: signer}}, time.Now(), 24*time.Hour)
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

// Outcome is what a Sight means for a key that is to sign.
type Outcome struct {
	Ready   bool   // everybody who was asked shows it
	Differs bool   // somebody shows something else, or nothing
	Silent  bool   // nobody shows anything else, and somebody could not be asked
	Enough  bool   // Silent: at least half of the servers show it
	Words   string // for status and logs
}

// Outcome judges a Sight.
func (s Sight) Outcome() Outcome {
	if s.Err != nil {
		return Outcome{Silent: true, Words: s.Err.Error()}
	}
	same, asked := 0, 0
	var silent, differ []string
	for _, v := range s.Servers {
		if v.View != NoRoute {
			asked++
		}
		if v.View == Same {
			same++
		}
	}
	for _, v := range slices.Concat(s.Servers, s.Aliases) {
		switch v.View {
		case Mute:
			silent = append(silent, v.Server+": "+v.Why)
		case Other, Nothing:
			differ = append(differ, v.Server+": "+v.Why)
		}
	}
	switch s.Resolver.View {
	case Mute:
		silent = append(silent, "the resolver: "+s.Resolver.Why)
	case Other, Nothing:
		differ = append(differ, "the resolver: "+s.Resolver.Why)
	}
	switch {
	case len(differ) > 0:
		return Outcome{Differs: true, Words: strings.Join(differ, "; ")}
	case asked == 0:
		return Outcome{Silent: true, Words: "this host has no route to any of the name servers"}
	case len(silent) > 0:
		return Outcome{Silent: true, Enough: 2*same >= asked && s.Resolver.View == Same, Words: "not answering: " + strings.Join(silent, "; ")}
	}
	return Outcome{Ready: true, Words: fmt.Sprintf("seen at all %d name servers", same)}
}
