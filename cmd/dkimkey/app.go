package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/keys"
	"signpost/keys/publish"
)

// app is what the commands that work on keys share: the store, the rotator, and the output.
type app struct {
	conf    *config.Config
	store   keys.Store
	rotator *keys.Rotator
	mu      sync.Mutex // of what follows, and of the output
	needed  bool       // something needs a person
	ran     bool       // run was called before
	waits   bool       // --wait: the next run does what a lock kept this one from
	busy    bool       // a lock kept the last run from a domain
	json    bool
	events  []event // what happened, for --json
}

// event is what was done, or has to be, in the output of --json.
type event struct {
	Domain      string `json:"domain"`
	What        string `json:"what"`
	NeedsPerson bool   `json:"needs_person"`
	Record      *added `json:"record,omitempty"`
}

// report prints what happened, where that was asked for as JSON.
func (d *app) report(stdout io.Writer) error {
	if !d.json {
		return nil
	}
	slices.SortStableFunc(d.events, func(a, b event) int { return strings.Compare(a.Domain, b.Domain) })
	return printJSON(stdout, append([]event{}, d.events...))
}

func printJSON(stdout io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = stdout.Write(append(cli.PrintableJSON(text), '\n'))
	return err
}

func (e *env) app(stdout, stderr io.Writer) (*app, error) {
	conf, store, err := e.open()
	if err != nil {
		return nil, err
	}
	d := &app{conf: conf, store: store}
	resolver, err := newResolver(conf, e.now)
	if err != nil {
		return nil, err
	}
	authority := &dns.Authority{Resolver: resolver, Port: e.authorityPort, Known: conf.NameServers(), Timeout: conf.DNS.Timeout}
	checker := &keys.Checker{Authority: authority}
	publisher := func(domain string) (keys.Publisher, error) { return d.publisher(domain, authority) }
	if e.authority != nil {
		checker.Authority = e.authority
		publisher = func(string) (keys.Publisher, error) { return e.publisher, nil }
	}
	d.rotator = &keys.Rotator{
		Store: store, Rules: d.rules, Random: e.random,
		Checker: checker, Publisher: publisher,
		Warn: func(what string) { fmt.Fprintf(stderr, "dkimkey: %s\n", what) },
		Done: func(domain, what string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.events = append(d.events, event{Domain: domain, What: what}); !d.json {
				fmt.Fprintf(stdout, "%s: %s\n", domain, what)
			}
		},
		Needs: func(domain, what string, l *keys.Metadata) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.needed = true
			fmt.Fprintf(stderr, "%s: %s\n", domain, what)
			e := event{Domain: domain, What: what, NeedsPerson: true}
			if l != nil && l.Retired == nil && (l.Activated == nil || l.Seen == nil) {
				e.Record = newAdded(l, conf.PublishFor(domain).TTL)
				if !d.json {
					fmt.Fprint(stdout, recordText(l, e.Record.ttl))
				}
			}
			d.events = append(d.events, e)
		},
	}
	return d, nil
}

// newResolver returns a resolver that uses keys.resolver, or the servers of the daemon. It has no cache from earlier runs.
func newResolver(conf *config.Config, now func() time.Time) (*dns.Resolver, error) {
	servers := conf.DNS.Servers
	if r := conf.Keys.Resolver; r != "" {
		at, err := config.AddrPort(r)
		if err != nil {
			return nil, err
		}
		servers = []netip.AddrPort{at}
	}
	if len(servers) == 0 {
		var err error
		if servers, err = dns.ReadServers("/etc/resolv.conf"); err != nil {
			return nil, err
		}
	}
	return dns.New(dns.Options{Servers: servers, Timeout: conf.DNS.Timeout, Now: now, Log: slog.New(slog.DiscardHandler)}), nil
}

func (d *app) rules(domain string) keys.Rules {
	p := d.conf.PublishFor(domain)
	return keys.Rules{
		Algorithms: d.conf.Keys.Algorithms, Bits: d.conf.Keys.RSABits,
		RotateEvery: d.conf.RotateEveryFor(domain), RetireAfter: d.conf.Keys.RetireAfter, KeepRevoked: d.conf.Keys.KeepRevoked,
		Ring: d.conf.Keys.Selectors, Method: p.Method, TTL: p.TTL,
	}
}

func (d *app) publisher(domain string, authority *dns.Authority) (keys.Publisher, error) {
	p := d.conf.PublishFor(domain)
	switch p.Method {
	case "rfc2136":
		secret, err := publish.ReadTSIGSecret(p.TSIGSecretFile, p.TSIGName, p.TSIGAlgorithm)
		if err != nil {
			return nil, fmt.Errorf("%s.tsig_secret_file: %w", d.conf.PublishTable(domain), err)
		}
		server, err := config.AddrPort(p.Server)
		if err != nil {
			return nil, err
		}
		return publish.Update{Server: server.String(), Authority: authority, TSIGName: p.TSIGName, Algorithm: p.TSIGAlgorithm, Secret: secret, Timeout: p.Timeout}, nil
	case "zonefile":
		return publish.OneAtATime{Publisher: publish.ZoneFile{Path: p.Path, Reload: p.Reload, Timeout: p.Timeout}, Store: d.store, Timeout: p.Timeout}, nil
	case "command":
		return publish.OneAtATime{Publisher: publish.Command{Argv: p.Argv, Timeout: p.Timeout}, Store: d.store, Timeout: p.Timeout}, nil
	}
	return nil, errors.New("publish.method is manual")
}

// run does what is due for domains. It reports whether anything failed, which it has printed.
func (d *app) run(ctx context.Context, stderr io.Writer, domains []string) (failed bool) {
	d.busy = false
	d.rotator.RunAll(ctx, domains, func(n int) {
		if len(domains) > 1 && !d.ran { // --wait runs every half minute
			d.print(func() { cli.Progress(stderr, "%s: looking what is due (%d of %d)", domains[n], n+1, len(domains)) })
		}
	}, func(err error) {
		d.print(func() {
			if busy := (*keys.Busy)(nil); d.waits && errors.As(err, &busy) {
				d.busy = true
			} else {
				failed = true
			}
			all := []error{err}
			if joined, ok := err.(interface{ Unwrap() []error }); ok {
				all = joined.Unwrap()
			}
			for _, err := range all {
				fmt.Fprintf(stderr, "dkimkey: %v\n", err)
			}
		})
	})
	d.ran = true
	return failed
}

// print keeps the output of workers apart.
func (d *app) print(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}
