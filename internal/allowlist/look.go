package allowlist

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"signpost/internal/dns"
	"signpost/internal/spfset"
	"signpost/internal/term"
)

const (
	maxAtOnce  = 8               // maximum number of domains that are looked up concurrently
	maxQueries = 300             // per domain: ten terms need at most 110 queries per address family
	maxLook    = 2 * time.Minute // per domain
	maxNotes   = 20              // per domain: a record can have a thousand networks that greyskip refuses
	maxLine    = 400             // columns of a note or an error: enough for a DNS name and an error text
)

// finding is the result for a domain. Its texts are printable.
type finding struct {
	domain string
	answer spfset.Answer // incomplete if err is temporary
	err    *spfset.Error // nil: no error
}

// why returns the text of the error. It puts the domain in front, unless the text already starts with the domain.
func (f finding) why() string {
	if strings.HasPrefix(f.err.Why, f.domain+" ") {
		return f.err.Why
	}
	return f.domain + ": " + f.err.Why
}

// look looks up all domains. It returns an error only if ctx ends.
func (m *Maker) look(ctx context.Context, r *dns.Resolver, domains []string) ([]finding, error) {
	found := make([]finding, len(domains))
	var all errgroup.Group
	all.SetLimit(maxAtOnce)
	term.Progress(m.Stderr, "querying the SPF records of %d domains", len(domains))
	for i, domain := range domains {
		all.Go(func() error {
			found[i] = m.lookOne(ctx, r, domain)
			return nil
		})
	}
	_ = all.Wait() // each finding has its own error
	return found, ctx.Err()
}

func (m *Maker) lookOne(ctx context.Context, r *dns.Resolver, domain string) finding {
	ctx, cancel := context.WithTimeout(ctx, maxLook)
	defer cancel()
	f := finding{domain: domain}
	var err error
	f.answer, err = spfset.Find(ctx, r.View(netip.Addr{}).Limit(maxQueries), domain, spfset.Options{Widest4: m.Widest4, Widest6: m.Widest6, OverLimit: m.OverLimit})
	if errors.As(err, &f.err) {
		f.err.Why = line(f.err.Why)
	}
	if over := len(f.answer.Notes) - maxNotes; over > 0 {
		f.answer.Notes = append(f.answer.Notes[:maxNotes], fmt.Sprintf("%d more notes", over))
	}
	for i, note := range f.answer.Notes {
		f.answer.Notes[i] = line(note)
	}
	return f
}

// line returns text as a printable line of limited length, because cron sends it by mail.
func line(s string) string {
	head, rest := term.Cut(term.Printable(s), maxLine)
	if rest != "" {
		head += " ..."
	}
	return head
}
