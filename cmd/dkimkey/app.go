package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/domain"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/keys"
)

// app has the common parts of the commands that change or check keys: the store, the rotator and the output.
type app struct {
	conf    *config.Config
	store   keys.Store
	rules   func(domain string) keys.Rules
	rotator *keys.Rotator
	mu      sync.Mutex // guards the following fields and the output
	needed  bool       // action is needed
	ran     bool       // run was called before
	waits   bool       // --wait: a domain that is locked is retried in the next run
	busy    bool       // a domain was locked in the last run
	json    bool
	events  []event // for --json
}

// event is a completed step or a needed action in the output of --json.
type event struct {
	Domain      string `json:"domain"`
	What        string `json:"what"`
	NeedsPerson bool   `json:"needs_person"`
	Record      *added `json:"record,omitempty"`
}

// report prints the events as JSON if --json is set.
func (d *app) report(stdout io.Writer) error {
	if !d.json {
		return nil
	}
	slices.SortStableFunc(d.events, func(a, b event) int { return strings.Compare(a.Domain, b.Domain) })
	return term.WriteJSON(stdout, append([]event{}, d.events...))
}

func (e *env) app(stdout, stderr io.Writer) (*app, error) {
	conf, store, err := e.open()
	if err != nil {
		return nil, err
	}
	d := &app{conf: conf, store: store, rules: setup.KeyRules(conf)}
	authority, err := setup.Authority(conf, nil, e.now, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	authority.Port = e.authorityPort
	checker := &keys.Checker{Authority: authority}
	publisher := func(domain string) (keys.Publisher, error) { return setup.Publisher(conf, domain, store, authority) }
	if e.authority != nil {
		checker.Authority = e.authority
		publisher = func(string) (keys.Publisher, error) { return e.publisher, nil }
	}
	d.rotator = &keys.Rotator{
		Store: store, Rules: d.rules, NewRSA: e.newRSA,
		Checker: checker, Publisher: publisher,
		Warn: func(what string) { fmt.Fprintf(stderr, "dkimkey: %s\n", what) },
		Done: func(domain, what string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.events = append(d.events, event{Domain: domain, What: what}); !d.json {
				fmt.Fprintf(stdout, "%s: %s\n", domain, what)
			}
		},
		Needs: func(domain, what string, m *keys.Metadata) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.needed = true
			fmt.Fprintf(stderr, "%s: %s\n", domain, what)
			e := event{Domain: domain, What: what, NeedsPerson: true}
			if m != nil && m.Retired == nil && (m.Activated == nil || m.Seen == nil) {
				e.Record = newAdded(m, conf.PublishFor(domain).TTL)
				if !d.json {
					fmt.Fprint(stdout, e.Record.text())
				}
			}
			d.events = append(d.events, e)
		},
	}
	return d, nil
}

// run does the steps that are due for domains. It prints errors and reports whether there were any.
func (d *app) run(ctx context.Context, stderr io.Writer, domains []string) (failed bool) {
	d.busy = false
	d.rotator.RunAll(ctx, domains, func(n int) {
		if len(domains) > 1 && !d.ran { // --wait runs every half minute
			d.print(func() { term.Progress(stderr, "%s: checking for due steps (%d of %d)", domains[n], n+1, len(domains)) })
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
				cli.Print(stderr, "dkimkey", err)
			}
		})
	})
	d.ran = true
	return failed
}

// print calls f while no other worker prints.
func (d *app) print(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// domainList returns the domains on the command line and in file. It omits repeated domains. File "-" is standard input. If any domain is
// invalid, it returns an error before anything is changed.
func domainList(c *cobra.Command, named []string, file string) ([]string, error) {
	var all []string
	for _, name := range named {
		hosted, err := domain.ParseHosted(name)
		if err != nil {
			return nil, cli.Usage(err)
		}
		all = append(all, hosted)
	}
	if file != "" {
		listed, err := readDomains(c, file)
		if err != nil {
			return nil, cli.Usage(err)
		}
		if len(named)+len(listed) == 0 {
			return nil, fmt.Errorf("%s contains no domain", file) // no usage error: a query may have failed
		}
		all = append(all, listed...)
	}
	if len(all) == 0 {
		domain := "DOMAIN"
		if c.Flags().Lookup("domain") != nil {
			domain = "--domain DOMAIN"
		}
		return nil, cli.Usage(fmt.Errorf("no domain given\nhint: pass %s or --from-file FILE; see %s --help", domain, c.CommandPath()))
	}
	return domain.Unique(all), nil
}

func readDomains(c *cobra.Command, file string) ([]string, error) {
	in := c.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("--from-file: %w", err)
		}
		defer f.Close()
		in = f
	}
	return domain.ReadList(in, file, domain.ParseHosted)
}

// warnEd25519Alone warns if all active and pending keys of a domain are Ed25519 keys.
func (d *app) warnEd25519Alone(stderr io.Writer, domain string) error {
	set, err := d.store.LoadDomain(domain, nil)
	if err != nil {
		return err
	}
	if keys.OnlyEd25519(set.Of(domain)) {
		fmt.Fprintf(stderr, "dkimkey: warning: %s: Ed25519 is the only algorithm of the domain: %s\n", domain, keys.Ed25519Alone)
	}
	return nil
}
