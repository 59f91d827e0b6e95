package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/journal"
	"signpost/internal/term"
)

func journalCommand(load func() (*config.Config, error)) *cobra.Command {
	c := &cobra.Command{
		Use:   "journal",
		Short: "Delete messages from the journal",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(forgetCommand(load))
	return c
}

func forgetCommand(load func() (*config.Config, error)) *cobra.Command {
	var dryRun bool
	c := &cobra.Command{
		Use:   "forget ADDRESS",
		Short: "Delete the messages of an address from the journal",
		Long: "Delete the messages of an address from the journal: those with this MAIL FROM, recipient or login, and those whose\n" +
			"record mentions the address, for example in the identity of a signature. With journal.addresses = \"hash\", the messages are\n" +
			"found by the word that replaces the address. The files of the journal are overwritten, so that they no longer contain it.\n" +
			"The daemon may run. Later messages are recorded as before.\n\n" +
			"Text that the journal cut cannot be found. The journal keeps at most 50 recipients of a message, and cuts long addresses. A\n" +
			"message is not deleted if only the cut part could contain the address. The cut part may belong to another person.\n\n" +
			"With journal.addresses = \"omit\", the default, the journal has no local part of an address. A Message-ID is always kept as it is. Log\n" +
			"files and backups are not changed: docs/privacy.md.\n\n" +
			"In a cluster, the command also deletes the copies of all hosts in the database. Run it on each host, because it changes only the\n" +
			"journal of this host. Exit code 0: these messages are deleted, or there were none; 1: failed.",
		Example:           "  signpost journal forget ann@example.org --dry-run\n  signpost journal forget ann@example.org",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			address, err := addressToForget(args[0])
			if err != nil {
				return err
			}
			conf, err := load()
			if err != nil {
				return err
			}
			return forgetAddress(c.Context(), conf, address, dryRun, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "count the messages, and delete nothing")
	return c
}

// addressToForget returns the argument without angle brackets, if it is an address or a login.
func addressToForget(text string) (string, error) {
	address := strings.TrimSuffix(strings.TrimPrefix(text, "<"), ">")
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if address == "" || strings.HasPrefix(address, "@") || strings.HasSuffix(address, "@") || strings.ContainsFunc(address, odd) {
		return "", cli.Usage(fmt.Errorf("%q is not an address or a login", text))
	}
	return address, nil
}

func forgetAddress(ctx context.Context, conf *config.Config, address string, dryRun bool, stdout, stderr io.Writer) error {
	r, err := readJournal(conf)
	if err != nil {
		return err
	}
	forms, err := r.Forms(ctx, address)
	r.Close()
	file := conf.JournalFile()
	if err != nil {
		return journal.Reading(file, err)
	}
	n, err := journal.Forget(ctx, file, forms, dryRun)
	done := "deleted"
	if dryRun {
		done = "would be deleted"
	}
	plural := "s"
	if n == 1 {
		plural = ""
	}
	fmt.Fprintf(stdout, "%d message%s %s\n", n, plural, done)
	if conf.Journal.Addresses == string(journal.Omit) {
		fmt.Fprintln(stderr, `signpost: journal.addresses = "omit": the journal keeps no local part of an address; Message-IDs are kept as they are`)
	}
	if aside := file + ".broken"; exists(aside) {
		fmt.Fprintf(stderr, "signpost: not searched: %s: a damaged journal\nhint: delete this file\n", term.Printable(aside))
	}
	return errors.Join(err, forgetCopies(ctx, conf, forms, dryRun, stdout))
}

// forgetCopies deletes the copies in the database of the cluster, after those of the journal, so that they are not copied again.
func forgetCopies(ctx context.Context, conf *config.Config, forms []string, dryRun bool, stdout io.Writer) error {
	client, err := clusterOf(conf)
	if err != nil {
		return nil
	}
	n, err := client.Forget(ctx, forms, dryRun)
	if err != nil {
		return fmt.Errorf("the copies in the database of the cluster are not deleted: %w", err)
	}
	done := "deleted"
	if dryRun {
		done = "would be deleted"
	}
	fmt.Fprintf(stdout, "copies in the database of the cluster: %d %s\n", n, done)
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
