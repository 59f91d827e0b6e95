package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/internal/spfset"
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

// resolver uses the name servers of the daemon's configuration, or those of /etc/resolv.conf.
func (e *env) resolver(configGiven bool) (*dns.Resolver, error) {
	conf := config.Default()
	var err error
	if configGiven || config.Exists(e.config) {
		if conf, err = config.Load(e.config); err != nil {
			return nil, err
		}
	}
	servers := conf.DNS.Servers
	if len(servers) == 0 {
		if servers, err = dns.ReadServers("/etc/resolv.conf"); err != nil {
			return nil, err
		}
	}
	return dns.New(dns.Options{Servers: servers, Timeout: conf.DNS.Timeout, Now: e.now, Log: slog.New(slog.DiscardHandler)}), nil
}

// look looks up all domains. Its error is that of ctx.
func (e *env) look(ctx context.Context, r *dns.Resolver, domains []string) ([]finding, error) {
	found := make([]finding, len(domains))
	var all errgroup.Group
	all.SetLimit(maxAtOnce)
	cli.Progress(e.stderr, "asking for the SPF records of %d domains", len(domains))
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
	head, rest := cli.Cut(cli.Printable(s), maxLine)
	if rest != "" {
		head += " ..."
	}
	return head
}
