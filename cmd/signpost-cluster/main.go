// Command signpost-cluster shares keys and rules between several hosts through a database.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/man"
	"signpost/internal/setup"
	"signpost/internal/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Execute(ctx, newRoot(), args, term.Clean(stdout), term.Clean(stderr))
}

// newRoot returns the command signpost-cluster with all its subcommands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "signpost-cluster",
		Short: "Share keys and rules between several hosts",
		Long: `Share keys, hosted domains, accepted forwarders, [[allow]] and [[deny]] between the hosts of a cluster, through a PostgreSQL or
MariaDB database. Each host works from its own files, and continues while the database is down. docs/cluster.md describes the
setup.

"run" is the process that synchronizes this host. The other commands set the cluster up, show its state, and handle faults.
"signpost cluster COMMAND" runs this program. Run the commands as root or as the owner of state_dir.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var file string
	root.PersistentFlags().StringVarP(&file, "config", "c", "/etc/signpost/signpost.toml", "configuration `FILE`")
	cli.Complete(root, map[string]cobra.CompletionFunc{"config": cli.ConfigFile()})
	load := func() (*config.Config, error) {
		conf, err := setup.Load(file, true)
		if err == nil && !conf.Clustered() {
			err = errNoCluster
		}
		if err != nil {
			return nil, cli.Usage(err)
		}
		return conf, nil
	}
	root.AddCommand(initCommand(load), joinCommand(load), runCommand(load), statusCommand(load), leaveCommand(load), rekeyCommand(load), restoreCommand(load))
	root.AddCommand(man.Command(root, page()))
	return root
}

// page returns the manual page without the descriptions of the commands and flags.
func page() man.Page {
	return man.Page{
		Section: "8",
		Files: [][2]string{
			{"/etc/signpost/conf.d/cluster.toml", "The settings of the cluster. They contain the password of the database, so only root and group signpost may read the file."},
			{"/etc/signpost/cluster.key", "The site key, the same on all hosts: one line of base64. It has mode 0600 and belongs to user signpost."},
			{"/var/lib/signpost/cluster/rules.toml", "The forwarders, [[allow]] and [[deny]] that the hosts share. You can edit it on any host."},
			{"/var/lib/signpost/cluster/state.json", "What this host has synchronized: versions, registered hosts and revoked selectors."},
			{"/var/lib/signpost/cluster/status.json", "The output of status --json, for the daemon and for monitoring."},
			{"/var/lib/signpost/cluster/messages.json", "Up to which message of the journal the messages were copied to the database."},
			{"/var/lib/signpost/cluster/hash.key", "The key of the words that replace addresses if journal.addresses is hash. It is derived from the site key."},
			{"/run/signpost-cluster/socket", "The control socket, which dkimkey, and searches with --all-hosts, use."},
		},
		SeeAlso: []string{"signpost(8)", "signpost.toml(5)", "dkimkey(1)"},
	}
}
