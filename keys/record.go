package keys

import (
	"context"
	"errors"
	"strconv"
	"time"

	"signpost/internal/dns"
)

// RecordName returns the name of a key's TXT record, without a final dot.
func RecordName(domain, selector string) string { return selector + "._domainkey." + domain }

// ZoneText returns the record of a key as text for a zone file.
func ZoneText(domain, selector, record string, ttl time.Duration) string {
	return RecordName(domain, selector) + ". " + strconv.Itoa(int(ttl/time.Second)) + " IN TXT (\n\t" + dns.QuoteTXT(record, "\n\t") + " )\n"
}

// Change is a change to the TXT record of a key.
type Change struct {
	Action   string `json:"action"` // "add", "replace" or "remove"
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
	Name     string `json:"name"` // the name of the record, without a final dot
	Type     string `json:"type"` // "TXT"
	TTL      int    `json:"ttl"`  // seconds
	Text     string `json:"text,omitempty"`
	// Strings is Text, split into the strings of a TXT record, each of at most 255 bytes.
	Strings []string `json:"strings,omitempty"`
}

// The actions. Each is idempotent.
const (
	Add     = "add"
	Replace = "replace"
	Remove  = "remove"
)

// Publisher publishes records in DNS. Publish returns as soon as the primary has the change. Other name servers may receive the change
// later. It returns a *ForeignZone, and changes nothing, if the record is in a zone that the operator does not publish.
type Publisher interface {
	Publish(ctx context.Context, c Change) error
}

func newChange(action string, l *Metadata, ttl time.Duration, text string) Change {
	c := Change{Action: action, Domain: l.Domain, Selector: l.Selector, Name: RecordName(l.Domain, l.Selector), Type: "TXT", TTL: int(ttl / time.Second), Text: text}
	if text != "" {
		c.Strings = dns.SplitTXT(text)
	}
	return c
}

// ForeignZone is the error of a change in a zone that the server of publish.server does not have, such as the zone of a customer who runs
// the name servers of his domain.
type ForeignZone struct {
	Zone   string // without a final dot
	Server string
}

func (e *ForeignZone) Error() string {
	return "zone " + e.Zone + " is not on server " + e.Server + ", so no update is sent"
}

// change publishes a change. byHand reports that the operator must make the change in DNS: publish.method is manual, or the zone is
// foreign. why then states the reason.
func (r *Rotator) change(ctx context.Context, c Change) (byHand bool, why string, err error) {
	if err := r.Store.Lease.check(); err != nil {
		return false, "", err
	}
	if r.Rules(c.Domain).Manual() {
		return true, "", nil
	}
	p, err := r.Publisher(c.Domain)
	if err != nil {
		return false, "", err
	}
	r.Store.step("publish " + c.Action)
	err = p.Publish(ctx, c)
	if foreign := (*ForeignZone)(nil); errors.As(err, &foreign) {
		return true, foreign.Error() + ": ", nil
	}
	return false, "", err
}
