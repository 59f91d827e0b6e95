package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/internal/setup"
	"signpost/internal/spfset"
	"signpost/internal/term"
)

const (
	maxAtOnce  = 8               // domains that are looked up concurrently
	maxQueries = 300             // of one domain: ten terms need at most 110 in each family
	maxLook    = 2 * time.Minute // for one domain
	maxNotes   = 20              // of one domain: a record can have a thousand networks that are refused
	maxLine    = 400             // columns of a note or an error: a DNS name and the error
)

// finding is the result for a domain. The text of the records in it is printable.
type finding struct {
	domain string
	answer spfset.Answer // a part of it if err is temporary
	err    *spfset.Error // nil: no error
}

// why returns the error, with the domain if it does not name it.
func (f finding) why() string {
	if strings.HasPrefix(f.err.Why, f.domain+" ") {
		return f.err.Why
	}
	return f.domain + ": " + f.err.Why
}

// resolver returns a resolver that queries the same name servers as the daemon, or those of /etc/resolv.conf without a configuration.
func (e *env) resolver(configGiven bool) (*dns.Resolver, error) {
	conf, err := setup.Load(e.config, configGiven)
	if err != nil {
		return nil, err
	}
	return setup.Resolver(conf, e.now, slog.New(slog.DiscardHandler))
}

// look looks up all domains. Its error is that of ctx.
func (e *env) look(ctx context.Context, r *dns.Resolver, domains []string) ([]finding, error) {
	found := make([]finding, len(domains))
	var all errgroup.Group
	all.SetLimit(maxAtOnce)
	term.Progress(e.stderr, "asking for the SPF records of %d domains", len(domains))
	for i, domain := range domains {
		all.Go(func() error {
			found[i] = e.lookOne(ctx, r, domain)
			return nil
		})
	}
	_ = all.Wait() // each error is in its finding
	return found, ctx.Err()
}

func (e *env) lookOne(ctx context.Context, r *dns.Resolver, domain string) finding {
	ctx, cancel := context.WithTimeout(ctx, maxLook)
	defer cancel()
	f := finding{domain: domain}
	var err error
	f.answer, err = spfset.Find(ctx, r.View(netip.Addr{}).Limit(maxQueries), domain, spfset.Options{Widest4: e.widest4, Widest6: e.widest6, OverLimit: e.overLimit})
	if errors.As(err, &f.err) {
		f.err.Why = line(f.err.Why)
	}
	if over := len(f.answer.Notes) - maxNotes; over > 0 {
		f.answer.Notes = append(f.answer.Notes[:maxNotes], fmt.Sprintf("and %d more of this kind", over))
	}
	for i, note := range f.answer.Notes {
		f.answer.Notes[i] = line(note)
	}
	return f
}

// line returns text of a record or an error as a printable line of limited length: cron sends it by mail.
func line(s string) string {
	head, rest := term.Cut(term.Printable(s), maxLine)
	if rest != "" {
		head += " ..."
	}
	return head
}

// read returns the domains of the command line or of the domains file, each once, in their order.
func (e *env) read(args []string) ([]string, error) {
	if e.domains != "" {
		f, err := os.Open(e.domains)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return parseDomains(e.domains, f)
	}
	var all []string
	for _, a := range args {
		name, err := domainName(a)
		if err != nil {
			return nil, err
		}
		all = append(all, name)
	}
	return domain.Unique(all), nil
}

// parseDomains reads a domains file. A file without any domain is an error.
func parseDomains(file string, r io.Reader) ([]string, error) {
	all, err := domain.ReadList(r, file, func(text string) (string, error) {
		name, err := domainName(text)
		if err != nil {
			err = fmt.Errorf("%w; write one domain a line, and comments behind a #", err)
		}
		return name, err
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s: names no domain", file)
	}
	return all, err
}

// domainName parses a domain from which mail can come. An IP address and a top-level domain are errors.
func domainName(text string) (string, error) {
	name, err := domain.ParseArgument(text)
	if _, noAddress := netip.ParseAddr(text); err == nil && (noAddress == nil || !strings.Contains(name, ".")) {
		err = fmt.Errorf("%q is not a domain name", text)
	}
	return name, err
}
