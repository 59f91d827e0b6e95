// Command signpost is the mail-authentication milter for Postfix.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/daemon"
	"signpost/internal/setup"
	"signpost/internal/term"
)

func main() {
	// The first SIGTERM or SIGINT stops the program cleanly, the second kills it.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Execute(ctx, newRoot(), args, stdout, stderr)
}

// newRoot returns the command signpost with all its subcommands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "signpost",
		Short: "Sign outbound mail and verify inbound mail: DKIM, SPF, DMARC and ARC for Postfix",
		Long: `Signpost is the mail-authentication milter for Postfix. It signs outbound mail (DKIM) and verifies inbound mail (SPF, DKIM,
DMARC, ARC). It adds the results to the message, removes forged results in the name of your server, and rejects or tags
forged mail by the policy of its domain. Each message has one line in the log.

"serve" is the daemon. The other commands show what it does or would do, and why. Of these, only "forwarders --accept" and
"journal forget" change a file. dkimkey(1) creates and rotates the keys.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var file string
	root.PersistentFlags().StringVarP(&file, "config", "c", "/etc/signpost/signpost.toml", "configuration `FILE`")
	cli.Complete(root, map[string]cobra.CompletionFunc{"config": cli.ConfigFile()})
	open := func(named bool) (*config.Config, error) {
		c, err := setup.Load(file, named)
		if err == nil {
			err = c.ReadShared()
		}
		if err != nil {
			return nil, cli.Usage(err)
		}
		return c, nil
	}
	load := func() (*config.Config, error) { return open(true) }
	// Without a configuration, most commands use the defaults, so that they work before anything is installed.
	loadOrDefault := func() (*config.Config, error) { return open(root.PersistentFlags().Changed("config")) }
	serveCmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the milter, in the foreground",
		Long: "Run the milter, in the foreground. SIGTERM stops it: messages in progress are completed first, for at most 30 seconds.\n\n" +
			"SIGHUP reloads the configuration and the keys. Messages in progress keep the old ones. If a file has an error, nothing\n" +
			"changes. The log names the changed keys that need a restart.\n\n" +
			"On Linux the daemon confines itself to the directories that it needs (Landlock). If the service manager passes a socket for\n" +
			"an address in listen (sd_listen_fds(3), signpost.socket), the daemon uses it and does not open that address itself.",
		Example: "  signpost serve\n  signpost serve -c /usr/local/etc/signpost/signpost.toml",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			return daemon.Run(c.Context(), daemon.Options{Config: conf, File: file, Stderr: c.ErrOrStderr(), Version: cli.Number(), Confine: true})
		}),
	}
	checkCmd := &cobra.Command{
		Use:   "check-config",
		Short: "Check the configuration",
		Long: "Check the configuration, and list the files that were read: FILE, then the *.toml files in the directory conf.d beside it.\n" +
			"If two files set a key, the lines of both are listed; the later one is in effect. If root runs the command, it also checks\n" +
			"that the owner of state_dir, who is the user of the daemon, can read the files.\n\n" +
			"Exit code 0: valid, 2: not valid.",
		Example: "  signpost check-config\n  signpost check-config -c NEW.toml",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			for _, f := range setup.Concerns(conf, time.Now()) {
				fmt.Fprintf(c.ErrOrStderr(), "signpost: warning: %s: %s\n", term.Printable(cmp.Or(f.Where, file)), term.PrintableLines(f.What))
				if !strings.HasPrefix(f.Fix, "#") {
					fmt.Fprintf(c.ErrOrStderr(), "hint: %s\n", term.PrintableLines(f.Fix))
				}
			}
			for _, name := range conf.Files {
				fmt.Fprintf(c.OutOrStdout(), "%s: ok\n", term.Printable(name))
			}
			for _, o := range conf.Overrides {
				fmt.Fprintf(c.OutOrStdout(), "%s\n", term.Printable(o.By+": "+o.Key+" overrides "+o.Of))
			}
			return setup.Unreadable(conf, file, c.Flags().Changed("config"))
		}),
	}
	root.AddCommand(serveCmd, checkCmd, verifyCommand(loadOrDefault), checkCommand(load))
	root.AddCommand(explainCommand(loadOrDefault), logCommand(loadOrDefault), whatIfCommand(loadOrDefault, &file))
	root.AddCommand(webCommand(loadOrDefault, &file), topCommand(loadOrDefault), forwardersCommand(loadOrDefault), journalCommand(loadOrDefault), clusterCommand())
	root.AddCommand(signCommand(load), spfCommand(loadOrDefault), dmarcCommand(loadOrDefault), trustedCommand(load), tablesCommand(loadOrDefault), pingCommand(load), reportsCommand(loadOrDefault), manualCommand(root), doctorCommand(loadOrDefault, &file), domainCommand(loadOrDefault, &file), digestCommand(loadOrDefault))
	root.AddCommand(testCommand(load, &file))
	return root
}

// loaded returns a function for the RunE field of a command. The function loads the configuration and passes it to run.
func loaded(load func() (*config.Config, error), run func(*cobra.Command, []string, *config.Config) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		conf, err := load()
		if err != nil {
			return err
		}
		return run(c, args, conf)
	}
}
