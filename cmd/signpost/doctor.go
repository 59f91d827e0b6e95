package main

import (
	"encoding/json"
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
			"all; what another user has no right to look at is yellow. Exit code 0 where nothing is red, 1 where something is: a\n" +
			"configuration with an error too, whose place the defaults take, but for DOMAIN, where it is 2.",
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
			var found []doctor.Finding
			resolver, noResolver := newResolver(conf, slog.New(slog.DiscardHandler))
			if noResolver != nil && len(args) > 0 {
				return noResolver
			}
			set, unread := keys.Store{Dir: conf.KeysDir(), Observed: conf.ObservedDir()}.Load(nil)
			domains := args
			if len(args) == 0 {
				cli.Progress(c.ErrOrStderr(), "looking at this machine and at Postfix")
				found = doctor.Machine{Config: conf, File: *file, Faulty: faulty, Concerns: concerns(conf, time.Now()), Keys: unread, Resolver: noResolver}.Check()
				found = append(found, doctor.Postfix{Dir: dir, Config: conf, File: *file}.Check(c.Context())...)
				found = append(found, doctor.Sockets{Dir: dir, Config: conf, File: *file}.Check(c.Context())...)
				if unread == nil && noResolver == nil {
					domains = set.Domains()
				}
			}
			if len(domains) > 0 {
				checker, err := newChecker(conf, resolver, slog.New(slog.DiscardHandler))
				if err != nil {
					return err
				}
				published, err := ofDomains.look(c.Context(), c.ErrOrStderr(), doctor.Domains{Resolver: checker.Resolver, Checker: checker}, dir, set, domains)
				if err != nil {
					return err
				}
				found = append(found, published...)
			}
			return tell(c.OutOrStdout(), found, asJSON)
		},
	}
	c.Flags().StringVar(&dir, "postfix", "", "Postfix's configuration `DIR`")
	ofDomains.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return c
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
		fmt.Fprintf(w, "%s %s: %s\n", light(w, f.Level), f.Check, f.What)
		for _, line := range []struct{ name, text string }{{"where", f.Where}, {"why", f.Why}, {"fix", f.Fix}} {
			if f.Level != doctor.Green && line.text != "" {
				fmt.Fprintf(w, "       %-5s  %s\n", line.name, strings.ReplaceAll(line.text, "\n", "\n              "))
			}
		}
	}
	if asJSON {
		if found == nil {
			found = []doctor.Finding{}
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(found); err != nil {
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
