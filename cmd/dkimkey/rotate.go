package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/domain"
	"signpost/internal/term"
	"signpost/keys"
)

// waitInterval is the time between two checks with --wait.
const waitInterval = 30 * time.Second

// errAttention causes exit code 1. The command has already printed one line for each needed action.
var errAttention = errors.New("action needed, see above")

// attention returns errAttention if action is needed, otherwise nil.
func attention(needed bool) error {
	if needed {
		return errAttention
	}
	return nil
}

type rotateFlags struct {
	dry, wait, now bool
}

func (e *env) rotateCommand() *cobra.Command {
	var f rotateFlags
	c := &cobra.Command{
		Use:   "rotate [DOMAIN...]",
		Short: "Do the steps of key rotation that are due; run it daily",
		Long: `Do the steps that are due for all keys, or for the keys of the given domains: create, publish, check, activate, retire,
revoke, remove. Run the command daily. A domain gets a new key only every keys.rotate_every. Without --wait, the command does not
wait for DNS: a later run activates a new key. It prints nothing if nothing is due.

A key is activated only when every authoritative name server and the resolver have its record, and older answers have expired
from caches. In addition, an independent implementation must verify a signature of the key with that record.

--now starts a rotation of the given domains today. Each active key gets a successor, unless one is pending. The successor
signs as soon as its record has been visible for long enough. Later runs complete the rotation. While a rotation is in
progress, --now does not start another one.

If receivers report that the signatures of a key fail (see dkimkey status), the command prints this. It has no effect on the
steps.

Exit code 0: done. 1: failed or action needed; standard error has one line for each. 2: usage or configuration error.`,
		Example: "  15 4 * * *  signpost  /usr/sbin/dkimkey rotate     # in /etc/cron.d/signpost\n  dkimkey rotate example.org --now --wait",
		RunE: func(c *cobra.Command, args []string) error {
			if f.now && len(args) == 0 {
				return cli.Usage(errors.New("--now requires DOMAIN\nhint: see dkimkey rotate --help"))
			}
			d, err := e.app(c.OutOrStdout(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			domains, err := d.domains(args)
			if err != nil {
				return err
			}
			d.json = e.json
			if f.dry {
				return d.dryRun(c, domains, f.now)
			}
			synced := func() error { return nil }
			if len(args) > 0 {
				synced, err = e.lead(c.Context(), d.conf, c.ErrOrStderr())
			} else if leads, err := e.leads(c.Context(), d.conf, c.ErrOrStderr()); err != nil {
				return errors.Join(err, d.report(c.OutOrStdout()))
			} else if !leads {
				return errors.Join(d.rotator.RecordElsewhere(), d.report(c.OutOrStdout()))
			}
			if err != nil {
				return err
			}
			err = d.rotate(c, domains, f, e.after)
			return errors.Join(err, synced(), d.report(c.OutOrStdout()))
		},
	}
	c.Flags().BoolVar(&f.now, "now", false, "start a rotation of the given domains today")
	c.Flags().BoolVar(&f.dry, "dry-run", false, "print the steps and their times, but do nothing")
	c.Flags().BoolVar(&f.wait, "wait", false, "wait until the pending keys sign, and print the reason for the wait")
	c.Flags().BoolVar(&e.json, "json", false, "print JSON")
	return c
}

// domains returns the domains in args. If args is empty, it returns all domains that have keys.
func (d *app) domains(args []string) ([]string, error) {
	if len(args) == 0 {
		return d.store.Known()
	}
	var domains []string
	for _, a := range args {
		domain, err := domain.ParseArgument(a)
		if err != nil {
			return nil, cli.Usage(err)
		}
		set, err := d.store.LoadDomain(domain, nil)
		if err != nil {
			return nil, err
		}
		if len(set.Known()) == 0 {
			return nil, fmt.Errorf("%s has no keys\nhint: create one with dkimkey add %s", domain, domain)
		}
		domains = append(domains, domain)
	}
	return domains, nil
}

// planned is a step in `rotate --dry-run --json`.
type planned struct {
	Domain    string      `json:"domain"`
	Do        keys.Action `json:"action"`
	Algorithm string      `json:"algorithm"`
	Selector  string      `json:"selector,omitempty"` // empty for a new key
	Due       time.Time   `json:"due"`
}

func (d *app) dryRun(c *cobra.Command, domains []string, rotateNow bool) error {
	all := []planned{}
	for _, domain := range domains {
		steps, err := d.rotator.PlanOf(domain, rotateNow)
		if err != nil {
			return err
		}
		now := d.store.Now() // the clock is read after PlanOf, so a step that is due now has an earlier time
		for _, s := range steps {
			when := "now"
			if s.Due.After(now) {
				when = s.Due.UTC().Format(timeFormat)
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
		return term.WriteJSON(c.OutOrStdout(), all)
	}
	return nil
}

func (d *app) rotate(c *cobra.Command, domains []string, f rotateFlags, after func(time.Duration) <-chan time.Time) error {
	if f.now {
		if err := d.rotateNow(c, domains); err != nil {
			return err
		}
	}
	d.waits = f.wait
	for printed := ""; ; {
		failed := d.run(c.Context(), c.ErrOrStderr(), domains)
		waiting, err := d.waiting(c.Context(), domains)
		if err != nil {
			return err
		}
		if !f.wait || failed || waiting == "" && !d.busy {
			if f.now {
				if waiting != "" {
					fmt.Fprintln(c.ErrOrStderr(), waiting)
				}
				for _, domain := range domains {
					if err := d.rotator.NeedSelectors(domain); err != nil {
						return err
					}
				}
			}
			if err := d.needFailing(domains, c.ErrOrStderr()); err != nil {
				return err
			}
			return attention(failed || d.needed)
		}
		if waiting != printed {
			printed = waiting
			fmt.Fprintln(c.ErrOrStderr(), waiting)
		}
		select {
		case <-c.Context().Done():
			return c.Context().Err()
		case <-after(waitInterval):
		}
	}
}

// rotateNow requests a rotation of the keys of domains.
func (d *app) rotateNow(c *cobra.Command, domains []string) error {
	for _, domain := range domains {
		note, err := d.rotator.RequestRotation(c.Context(), domain)
		if err != nil {
			return fmt.Errorf("%s: %w", domain, err)
		}
		if note != "" {
			fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", domain, note)
		}
	}
	return nil
}

// waiting returns the condition that must be true before a key can be activated. It returns "" if no key waits for its activation.
func (d *app) waiting(ctx context.Context, domains []string) (waiting string, err error) {
	for _, domain := range domains {
		if waiting, err = d.rotator.Waiting(ctx, domain); err != nil || waiting != "" {
			break
		}
	}
	return waiting, err
}
