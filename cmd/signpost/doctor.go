package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

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
		Long: "Look at Postfix and at what the hosted domains publish, or at DOMAIN alone. Nothing is changed. Each finding says what,\n" +
			"where, why it matters, and the line that mends it. Exit code 1 where something is red.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := ofDomains.read(args); err != nil {
				return err
			}
			conf, err := load()
			if err != nil {
				return err
			}
			resolver, err := newResolver(conf, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			var found []doctor.Finding
			set, err := keys.Store{Dir: conf.KeysDir(), Observed: conf.ObservedDir()}.Load(nil)
			if err != nil && len(args) == 0 {
				return fmt.Errorf("reading the keys: %w", err)
			}
			checker, err := newChecker(conf, resolver, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			domains := args
			if len(args) == 0 {
				found = doctor.Postfix{Dir: dir, Config: conf, File: *file}.Check(c.Context())
				found = append(found, doctor.Sockets{Dir: dir, Config: conf, File: *file}.Check(c.Context())...)
				domains = set.Domains()
			}
			published, err := ofDomains.look(c.Context(), c.ErrOrStderr(), doctor.Domains{Resolver: checker.Resolver, Checker: checker}, dir, set, domains)
			if err != nil {
				return err
			}
			found = append(found, published...)
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
