package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/lookup"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/milter"
)

func tablesCommand(load func() (*config.Config, error)) *cobra.Command {
	c := &cobra.Command{
		Use:   "tables",
		Short: "Look up keys in Postfix lookup tables",
		Long: "Look up keys in Postfix lookup tables of every type that the installed Postfix supports. With domains.tables, the daemon looks\n" +
			"up your domains in these tables. docs/tables.md describes the setup.",
	}
	c.AddCommand(tablesServeCommand(load), tablesLookupCommand(load), tablesSuggestCommand())
	return c
}

// postfixDirectory returns an error if dir is not empty and has no main.cf.
func postfixDirectory(dir string) error {
	if dir == "" {
		return nil
	}
	if fi, err := os.Stat(filepath.Join(dir, "main.cf")); err != nil || !fi.Mode().IsRegular() {
		return cli.Usage(fmt.Errorf("--postfix: %s has no main.cf", dir))
	}
	return nil
}

func tablesServeCommand(load func() (*config.Config, error)) *cobra.Command {
	var postfixDir, answers string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the socketmap server that looks up keys with postmap(1)",
		Long: "Run the socketmap server (socketmap_table(5)) at domains.server, in the foreground. It looks up keys with postmap(1), and\n" +
			"keeps the answers. If a database fails, it returns the last known answer.\n\n" +
			"A program that can connect to the socket can look up any key in any table that the user of the server can read. If\n" +
			"Postfix is the client, it cannot send a colon in the name of a socketmap: write mysql=FILE instead of mysql:FILE.",
		Example: "  signpost tables serve",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load()
			if err != nil {
				return permitGroup(err, doctor.GroupName(uint32(os.Getegid())))
			}
			return serveTables(c.Context(), conf, postfixDir, answers, c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&postfixDir, "postfix", "", "the `DIRECTORY` of main.cf (default: that of postmap(1))")
	c.Flags().StringVar(&answers, "answers", "/var/lib/signpost-tables/answers", "the `FILE` for saved answers; empty: do not save them")
	cli.Complete(c, map[string]cobra.CompletionFunc{"postfix": cli.Any(), "answers": cli.Any()})
	return c
}

// permitGroup adds a hint to the error of a configuration file that the user of the server cannot read. The server runs as a user of its own
// in the daemon's group, so it can read the files that only root and this group can read.
func permitGroup(err error, group string) error {
	var denied *fs.PathError
	if !errors.As(err, &denied) || !errors.Is(denied, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w\nhint: chgrp %s %s && chmod g+rX %[3]s", err, group, doctor.Quote(denied.Path))
}

// tablesMode is the mode of the socket. Its group is that of the process: signpost-tables.service.
const tablesMode = 0o660

func serveTables(ctx context.Context, conf *config.Config, postfixDir, answers string, stderr io.Writer) error {
	if err := postfixDirectory(postfixDir); err != nil {
		return err
	}
	var level slog.LevelVar
	log, err := setup.Logger(conf.Log, &level, stderr)
	if err != nil {
		return err
	}
	cache := lookup.NewCache(lookup.Postmap{ConfigDir: postfixDir}, lookup.CacheOptions{Timeout: conf.Domains.Timeout, Log: log})
	if answers != "" {
		if err := cache.Load(answers); err != nil {
			return cli.Usage(fmt.Errorf("--answers: %w", err))
		}
	}
	at := conf.Domains.Server
	ln, err := milter.Listen(at.Network, at.Address, tablesMode, "")
	if err != nil {
		return cli.Usage(fmt.Errorf("domains.server: %w", err))
	}
	saved := make(chan struct{})
	saving, stop := context.WithCancel(ctx)
	go func() {
		defer close(saved)
		if answers != "" {
			cache.KeepSaved(saving, filepath.Clean(answers))
		}
	}()
	log.Info("table server started", "listen", ln.Addr().String())
	err = (&lookup.Server{Source: cache, Timeout: conf.Domains.Timeout, Log: log}).Serve(ctx, ln)
	stop()
	<-saved
	return err
}

func tablesLookupCommand(load func() (*config.Config, error)) *cobra.Command {
	var direct bool
	var postfixDir string
	c := &cobra.Command{
		Use:   "lookup TABLE KEY",
		Short: "Look up one key in a table, as the daemon does",
		Long: "Query the table server as the daemon does, and print the value. The server may return an answer that it has kept. For a\n" +
			"table of type socketmap, query the server that the table names. With --direct, run postmap(1) as the present user instead.\n\n" +
			"Exit code 0: found, 1: not found, or the lookup failed, 2: usage or configuration error.",
		Example: "  signpost tables lookup mysql:/etc/postfix/sql/domains.cf example.org\n  signpost tables lookup --direct texthash:/etc/postfix/domains example.org",
		Args:    cobra.ExactArgs(2),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			ctx, cancel := context.WithTimeout(c.Context(), conf.Domains.Timeout)
			defer cancel()
			source := setup.TableServers(conf)
			if err := postfixDirectory(postfixDir); err != nil {
				return err
			}
			if direct {
				source = lookup.Postmap{ConfigDir: postfixDir}
			}
			answer, err := source.Lookup(ctx, args[0], args[1])
			var failed *lookup.Error
			switch {
			case errors.As(err, &failed) && failed.Kind == lookup.Permanent:
				return cli.Usage(err)
			case err != nil:
				return err
			case !answer.Found:
				return fmt.Errorf("%s: not found in %s", args[1], args[0])
			}
			fmt.Fprintln(c.OutOrStdout(), term.PrintableLines(answer.Value))
			return nil
		}),
	}
	c.Flags().BoolVar(&direct, "direct", false, "run postmap(1) instead of querying the server")
	c.Flags().StringVar(&postfixDir, "postfix", "", "with --direct: the `DIRECTORY` of main.cf (default: that of postmap(1))")
	cli.Complete(c, map[string]cobra.CompletionFunc{"postfix": cli.Any()})
	return c
}
