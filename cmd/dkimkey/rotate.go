package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"signpost/keys"
)

// waitEvery is how often --wait looks again.
const waitEvery = 30 * time.Second

// errAttention is exit code 1 without more words: what needs a person has been said, a line each.
var errAttention = errors.New("something above needs a person")

func (e *env) rotateCommand() *cobra.Command {
	var dry, wait, asJSON bool
	c := &cobra.Command{
		Use:   "rotate [DOMAIN...]",
		Short: "Do what is due in the lives of keys; for cron, daily",
		Long: `Do what is due in the lives of all keys, or those of the domains named: make, publish, look, activate, retire, revoke,
remove. It does what is due now and ends; a key that has to be seen for a while signs in a later run. Nothing is printed
where nothing is done.

A key signs only when every authoritative name server and the resolver show its record, a probe signed with it verifies
by an independent implementation against what they show, and that has been so for longer than caches remember.

Exit code 0: nothing is wrong. 1: something needs a person; it is said in one line each. 2: wrong usage or configuration.`,
		Example: "  15 4 * * *  signpost  /usr/sbin/dkimkey rotate     # in /etc/cron.d/signpost",
		RunE: func(c *cobra.Command, args []string) error {
			d, err := e.desk(c.OutOrStdout(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			domains, err := d.domains(args)
			if err != nil {
				return err
			}
			d.json = asJSON
			if dry {
				return d.dryRun(c, domains)
			}
			err = d.rotate(c, domains, wait, e.after)
			return errors.Join(err, d.report(c.OutOrStdout()))
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "print what would be done and when, and do nothing")
	c.Flags().BoolVar(&wait, "wait", false, "wait until the keys that are on their way sign, and say what is waited for")
	c.Flags().BoolVar(&asJSON, "json", false, "print for machines")
	return c
}

// domains returns those named, or all that have keys.
func (d *desk) domains(args []string) ([]string, error) {
	if len(args) == 0 {
		return d.store.Known()
	}
	var domains []string
	for _, a := range args {
		domain, err := domainArg(a)
		if err != nil {
			return nil, err
		}
		set, err := d.store.LoadDomain(domain, nil)
		if err != nil {
			return nil, err
		}
		if len(set.Known()) == 0 {
			return nil, fmt.Errorf("%s has no keys; `dkimkey add %s` makes one", domain, domain)
		}
		domains = append(domains, domain)
	}
	return domains, nil
}

// planned is a step in `rotate --dry-run --json`.
type planned struct {
	Domain    string      `json:"domain"`
	Do        keys.Action `json:"do"`
	Algorithm string      `json:"algorithm"`
	Selector  string      `json:"selector,omitempty"` // empty: a key that is to be made
	Due       time.Time   `json:"due"`
}

func (d *desk) dryRun(c *cobra.Command, domains []string) error {
	now := d.store.Now()
	all := []planned{}
	for _, domain := range domains {
		set, err := d.store.LoadDomain(domain, nil)
		if err != nil {
			return err
		}
		for _, s := range keys.Plan(set.Of(domain), d.rules(domain), now) {
			when := "now"
			if s.Due.After(now) {
				when = s.Due.UTC().Format("2006-01-02 15:04")
			}
			what := s.Algorithm + " key"
			p := planned{Domain: domain, Do: s.Do, Algorithm: s.Algorithm, Due: s.Due.UTC()}
			if s.Key != nil {
				what, p.Selector = s.Key.Selector, s.Key.Selector
			}
			if all = append(all, p); d.json {
				continue
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: %s: %s %s\n", when, domain, s.Do, what)
		}
	}
	if d.json {
		return printJSON(c.OutOrStdout(), all)
	}
	return nil
}

func (d *desk) rotate(c *cobra.Command, domains []string, wait bool, after func(time.Duration) <-chan time.Time) error {
	for said := ""; ; {
		failed, err := d.run(c.Context(), c.ErrOrStderr(), domains)
		if err != nil {
			return err
		}
		waiting, err := d.waiting(domains)
		if err != nil {
			return err
		}
		if !wait || failed || waiting == "" {
			if failed || d.needed {
				return errAttention
			}
			return nil
		}
		if waiting != said {
			said = waiting
			fmt.Fprintln(c.ErrOrStderr(), waiting)
		}
		select {
		case <-c.Context().Done():
			return c.Context().Err()
		case <-after(waitEvery):
		}
	}
}

// waiting says what is waited for: keys that would sign, were they seen for long enough.
func (d *desk) waiting(domains []string) (string, error) {
	for _, domain := range domains {
		set, err := d.store.LoadDomain(domain, nil)
		if err != nil {
			return "", err
		}
		signs := map[string]bool{}
		for _, k := range set.Of(domain) {
			signs[k.Algorithm] = signs[k.Algorithm] || k.State == keys.Active
		}
		for _, k := range set.Of(domain) {
			if k.Life == nil || k.Err != nil || signs[k.Algorithm] {
				continue // a key that stands by waits for its day, not for DNS
			}
			switch k.State {
			case keys.Generated, keys.Published:
				return fmt.Sprintf("%s: waiting for the record of %s: %s", domain, k.Selector, k.Life.Finding), nil
			case keys.Verified:
				return fmt.Sprintf("%s: %s is seen; waiting until %s for caches to forget", domain, k.Selector,
					k.Life.Seen.Add(time.Duration(k.Life.Wait)).UTC().Format("2006-01-02 15:04")), nil
			}
		}
	}
	return "", nil
}
