package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/keys"
)

// desk is what the commands that work on keys share: the store, and the way to DNS.
type desk struct {
	conf    *config.Config
	store   keys.Store
	rotator *keys.Rotator
	needed  bool // something needs a person
	looked  bool // run has been through once
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
func (d *desk) report(stdout io.Writer) error {
	if !d.json {
		return nil
	}
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

func (e *env) desk(stdout, stderr io.Writer) (*desk, error) {
	conf, store, err := e.open()
	if err != nil {
		return nil, err
	}
	d := &desk{conf: conf, store: store}
	resolver, err := newResolver(conf, e.now)
	if err != nil {
		return nil, err
	}
	authority := &dns.Authority{Resolver: resolver, Port: e.authorityPort, Known: conf.NameServers(), Timeout: conf.DNS.Timeout}
	d.rotator = &keys.Rotator{
		Store: store, Rules: d.rules, Random: e.random,
		Checker:   &keys.Checker{Authority: authority, Resolver: resolver},
		Publisher: func(domain string) (keys.Publisher, error) { return d.publisher(domain, authority) },
		Done: func(domain, what string) {
			if d.events = append(d.events, event{Domain: domain, What: what}); !d.json {
				fmt.Fprintf(stdout, "%s: %s\n", domain, what)
			}
		},
		Needs: func(domain, what string, l *keys.Life) {
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

// newResolver asks keys.resolver, or what the daemon asks. Nothing is remembered from run to run.
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

func (d *desk) rules(domain string) keys.Rules {
	p := d.conf.PublishFor(domain)
	return keys.Rules{
		Algorithms: d.conf.Keys.Algorithms, Bits: d.conf.Keys.RSABits,
		RotateEvery: d.conf.RotateEveryFor(domain), RetireAfter: d.conf.Keys.RetireAfter, KeepRevoked: d.conf.Keys.KeepRevoked,
		Ring: d.conf.Keys.Selectors, Method: p.Method, TTL: p.TTL,
	}
}

func (d *desk) publisher(domain string, authority *dns.Authority) (keys.Publisher, error) {
	p := d.conf.PublishFor(domain)
	switch p.Method {
	case "rfc2136":
		secret, err := keys.ReadTSIGSecret(p.TSIGSecretFile, p.TSIGName, p.TSIGAlgorithm)
		if err != nil {
			return nil, fmt.Errorf("%s.tsig_secret_file: %w", d.conf.PublishTable(domain), err)
		}
		server, err := config.AddrPort(p.Server)
		if err != nil {
			return nil, err
		}
		return keys.Update{Server: server.String(), Authority: authority, TSIGName: p.TSIGName, Algorithm: p.TSIGAlgorithm, Secret: secret, Timeout: p.Timeout}, nil
	case "zonefile":
		return keys.OneAtATime{Publisher: keys.ZoneFile{Path: p.Path, Reload: p.Reload, Timeout: p.Timeout}, Store: d.store, Timeout: p.Timeout}, nil
	case "command":
		return keys.OneAtATime{Publisher: keys.Command{Argv: p.Argv, Timeout: p.Timeout}, Store: d.store, Timeout: p.Timeout}, nil
	}
	return nil, errors.New("publish.method is manual")
}

// lastRun is STATE_DIR/rotate.json: when the lives of keys were worked on last.
type lastRun struct {
	At time.Time `json:"last_run"`
}

const lastRunFile = "rotate.json"

const (
	maxBack    = 24 * time.Hour
	maxForward = 7 * 24 * time.Hour
)

// clock compares the clock with that of the last run. One that jumped must not end the life of any record.
func (d *desk) clock(stderr io.Writer, now time.Time) error {
	data, err := d.store.ReadState(lastRunFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var last lastRun
	if err := json.Unmarshal(data, &last); err != nil {
		return fmt.Errorf("reading %s: %w", filepath.Join(d.conf.StateDir, lastRunFile), err)
	}
	switch gap := now.Sub(last.At); {
	case gap < -maxBack:
		d.rotator.Frozen = true
		fmt.Fprintf(stderr, "dkimkey: the clock says %s, and the last run was at %s: it went back; nothing is revoked or removed in this run\n", now.UTC().Format(time.RFC3339), last.At.Format(time.RFC3339))
	case gap > maxForward:
		d.rotator.Frozen = true
		fmt.Fprintf(stderr, "dkimkey: the last run was %d days ago, at %s: should the clock have jumped, nothing is revoked or removed in this run\n", int(gap.Hours()/24), last.At.Format(time.RFC3339))
	}
	return nil
}

func (d *desk) remember(now time.Time) error {
	data, err := json.Marshal(lastRun{now.UTC()})
	if err != nil {
		return err
	}
	return d.store.WriteState(lastRunFile, append(data, '\n'))
}

// run does what is due for domains, whichever command asks for it, and gives whether anything failed; that has been said.
func (d *desk) run(ctx context.Context, stderr io.Writer, domains []string) (failed bool, err error) {
	now := d.store.Now()
	if err := d.clock(stderr, now); err != nil {
		return false, err
	}
	for i, domain := range domains {
		if !d.looked && len(domains) > 1 { // --wait looks every half minute
			cli.Progress(stderr, "%s: looking what is due (%d of %d)", domain, i+1, len(domains))
		}
		if err := d.rotator.Run(ctx, domain); err != nil {
			failed = true
			all := []error{err}
			if joined, ok := err.(interface{ Unwrap() []error }); ok {
				all = joined.Unwrap()
			}
			for _, err := range all {
				fmt.Fprintf(stderr, "dkimkey: %v\n", err)
			}
		}
	}
	d.looked = true
	return failed, d.remember(now)
}
