package filter

import (
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/domain"
	"signpost/policy"
)

// Bounces are what the filter does with notifications about reports that could not be delivered. A message to bounce addresses alone is neither verified nor rejected. Postfix discards it.
type Bounces struct {
	Domain  string   // the domain of the envelope sender of reports
	Others  []string // other addresses of our own reports: in their From, or to which others send reports. They are only recorded
	MaxSize int      // larger messages are not passed on
	// Received is called at the end of each message with the null sender to a bounce address, unless it is rejected.
	Received func(recipient string, message []byte)
}

// bounce is a copy of a message for Bounces.Received.
type bounce struct {
	recipient string
	message   []byte
	large     bool
}

// newBounce returns the copy of a message, or nil if the message is not a notification about a report.
func (b *Bounces) newBounce(e policy.Envelope, fields []dkim.Field) *bounce {
	if b == nil || e.Sender != "" {
		return nil
	}
	for _, recipient := range e.Recipients {
		if !b.has(recipient) {
			continue
		}
		c := &bounce{recipient: recipient}
		for _, f := range fields {
			c.add(b.MaxSize, f.Name, ":", f.Value, "\r\n")
		}
		c.add(b.MaxSize, "\r\n")
		return c
	}
	return nil
}

// own reports whether all recipients are bounce addresses, and whether all are bounce addresses or one of Others. Both are false if there
// are more recipients than are recorded: a forger could otherwise put others behind them.
func (b *Bounces) own(e policy.Envelope) (bounces, reports bool) {
	if b == nil || len(e.Recipients) == 0 || len(e.Recipients) != e.Addressees {
		return false, false
	}
	bounces, reports = true, true
	for _, r := range e.Recipients {
		bounce := b.has(r)
		bounces = bounces && bounce
		reports = reports && (bounce || slices.ContainsFunc(b.Others, func(other string) bool { return strings.EqualFold(other, r) }))
	}
	return bounces, reports
}

// maxLocal is the maximum length of a local part in bytes: RFC 5321 section 4.5.3.1.1. A recorded address that was cut is longer.
const maxLocal = 64

// has reports whether a recipient has the form of a bounce address: r-LETTERS@DOMAIN. Only signpost reports send knows the letters.
func (b *Bounces) has(recipient string) bool {
	at := strings.LastIndexByte(recipient, '@')
	if at < 0 || at > maxLocal || domain.Fold(recipient[at+1:]) != b.Domain {
		return false
	}
	letters, is := strings.CutPrefix(strings.ToLower(recipient[:at]), "r-")
	return is && letters != "" && strings.Trim(letters, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// add adds text to the copy, up to the maximum size.
func (c *bounce) add(most int, texts ...string) {
	for _, text := range texts {
		if c.large = c.large || len(c.message)+len(text) > most; c.large {
			c.message = nil
			return
		}
		c.message = append(c.message, text...)
	}
}
