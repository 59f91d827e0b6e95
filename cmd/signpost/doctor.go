package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/setup"
	"signpost/keys"
)

func doctorCommand(load func() (*config.Config, error), file *string) *cobra.Command {
	var dir string
	var asJSON bool
	var ofDomains domainFlags
	c := &cobra.Command{
		Use:   "doctor [DOMAIN]",
		Short: "Look at Postfix and at DNS, and say what to mend and how",
		Long: "Look at Postfix, at this machine and at what the hosted domains publish, or at DOMAIN alone. Nothing is changed. Each\n" +
			"finding says what, where, why it matters, and the line that mends it: docs/operations.md lists them. As root it sees\n" +
			"all; what another user has no right to look at is yellow. If the configuration has an error, doctor reports it in red and\n" +
			"checks the rest with the defaults; \"doctor DOMAIN\" then ends with exit code 2.\n\n" +
			"Exit code 0: nothing is red; 1: something is; 2: wrong usage.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := ofDomains.read(args); err != nil {
				return err
			}
			if len(args) > 0 && dir != "" {
				return cli.Usage(errors.New("--postfix is for a look at this machine, which is not looked at with a DOMAIN: leave one of the two out"))
			}
			conf, faulty := load()
			if faulty != nil && len(args) > 0 {
				return faulty
			}
			if faulty != nil {
				conf = config.Default()
			}
			found, err := ofDomains.examine(c.Context(), c.ErrOrStderr(), conf, faulty, *file, dir, args)
			if err != nil {
				return err
			}
			return tell(c.OutOrStdout(), found, asJSON)
		},
	}
	c.Flags().StringVar(&dir, "postfix", "", "Postfix's configuration `DIR`")
	ofDomains.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return c
}

// examine looks at the domains that are asked for, or at everything. faulty is what is wrong with the configuration, if conf
// stands in for it; progress is told what takes long.
func (d *domainFlags) examine(ctx context.Context, progress io.Writer, conf *config.Config, faulty error, file, dir string, asked []string) ([]doctor.Finding, error) {
	var found []doctor.Finding
	resolver, noResolver := setup.Resolver(conf, time.Now, slog.New(slog.DiscardHandler))
	if noResolver != nil && len(asked) > 0 {
		return nil, noResolver
	}
	set, unread := keys.Store{State: conf.StateDir, Dir: conf.KeysDir()}.Load(nil)
	domains := asked
	if len(asked) == 0 {
		cli.Progress(progress, "looking at this machine and at Postfix")
		found = doctor.Machine{Config: conf, File: file, Faulty: faulty, Concerns: concerns(conf, time.Now()), Keys: unread, Resolver: noResolver,
			Inbound: readInbound(ctx, conf, time.Now())}.Check()
		found = append(found, doctor.Postfix{Dir: dir, Config: conf, File: file}.Check(ctx)...)
		found = append(found, doctor.Sockets{Dir: dir, Config: conf, File: file}.Check(ctx)...)
		if unread == nil && noResolver == nil {
			domains = set.Domains()
		}
	}
	if len(domains) > 0 {
		authority, err := setup.Authority(conf, resolver, time.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		published, err := d.look(ctx, progress, doctor.Domains{Resolver: authority.Resolver, Checker: &keys.Checker{Authority: authority, Resolver: authority.Resolver}}, dir, set, domains)
		if err != nil {
			return nil, err
		}
		found = append(found, published...)
	}
	return found, nil
}

// tell prints the findings. Its error is that something is red.
func tell(w io.Writer, found []doctor.Finding, asJSON bool) error {
	red := 0
	for _, f := range found {
		if f.Level == doctor.Red {
			red++
		}
		if asJSON {
			continue
		}
		fmt.Fprintf(w, "%s %s: %s\n", light(w, f.Level), f.Check, printableLines(f.What))
		for _, line := range []struct{ name, text string }{{"where", f.Where}, {"why", f.Why}, {"fix", f.Fix}} {
			if f.Level != doctor.Green && line.text != "" {
				fmt.Fprintf(w, "       %-5s  %s\n", line.name, strings.ReplaceAll(printableLines(line.text), "\n", "\n              "))
			}
		}
	}
	if asJSON {
		if found == nil {
			found = []doctor.Finding{}
		}
		if err := printJSON(w, found); err != nil {
			return err
		}
	}
	if red > 0 {
		return errors.New("something is red")
	}
	return nil
}

// light is the level, coloured on a terminal.
func light(w io.Writer, level doctor.Level) string {
	text, p := fmt.Sprintf("%-6s", level), cli.Paint(w)
	switch level {
	case doctor.Green:
		return p.Good(text)
	case doctor.Yellow:
		return p.Middling(text)
	}
	return p.Bad(text)
}
