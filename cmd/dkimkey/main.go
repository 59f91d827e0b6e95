// Command dkimkey creates, publishes, rotates, revokes and removes DKIM keys.
package main

import (
	"context"
	"crypto/rsa"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/man"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/keys"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// env has the flags and dependencies that all commands share.
type env struct {
	file   string // --config
	json   bool   // --json
	now    func() time.Time
	after  func(time.Duration) <-chan time.Time
	newRSA func(bits int) (*rsa.PrivateKey, error)
	// authorityPort is the port of name servers: 53, except in tests.
	authorityPort uint16
	// authority and publisher, if set, replace the name servers and the publisher of the configuration. Tests set them.
	authority   keys.Authority
	publisher   keys.Publisher
	hook        func(step string) // keys.Store.Hook
	lockTimeout time.Duration     // keys.Store.LockTimeout
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	e := &env{now: time.Now, after: time.After, newRSA: keys.NewRSA, authorityPort: 53}
	return e.execute(ctx, args, stdout, stderr)
}

func (e *env) execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Execute(ctx, e.newRoot(), args, term.Clean(stdout), term.Clean(stderr))
}

// newRoot returns the command dkimkey with all its subcommands.
func (e *env) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dkimkey",
		Short: "Create, publish, rotate, revoke and remove DKIM keys",
		Long: `Create the DKIM keys that signpost(8) signs with, publish their DNS records and rotate them. A key signs only after its
record is visible in DNS. The record stays in DNS until the signatures of the key have expired. The running daemon reads new
keys within seconds. Run "dkimkey rotate" daily from cron: it runs all steps that are due.

Run dkimkey as the daemon's user or as root. New files get the owner of the keys directory.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVarP(&e.file, "config", "c", "/etc/signpost/signpost.toml", "configuration `FILE`")
	cli.Complete(root, map[string]cobra.CompletionFunc{"config": cli.ConfigFile()})
	root.AddCommand(e.addCommand(), e.rotateCommand(), e.statusCommand(), e.checkCommand(), e.showCommand(), e.revokeCommand(), e.importCommand(), e.removeCommand())
	root.AddCommand(man.Command(root, page()))
	e.complete(root)
	return root
}

// open reads the configuration and returns the store of keys.
func (e *env) open() (*config.Config, keys.Store, error) {
	conf, err := setup.Load(e.file, true)
	if err != nil {
		return nil, keys.Store{}, cli.Usage(err)
	}
	store := setup.KeyStore(conf)
	store.Now, store.Hook, store.LockTimeout, store.Lease = e.now, e.hook, e.lockTimeout, new(keys.Lease)
	store.Misnamed = new(keys.Misnamed)
	return conf, store, nil
}

// complete sets up shell completion of domains that have keys, and of their selectors.
func (e *env) complete(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "show", "revoke":
			c.ValidArgsFunction = e.words(2)
		case "add", "rotate", "check", "remove", "status":
			c.ValidArgsFunction = e.words(0)
		}
	}
}

// words returns a completion function. The parameter most is the maximum number of arguments: 1 for DOMAIN, 2 for DOMAIN SELECTOR, and 0,
// which means no maximum, for DOMAIN...
func (e *env) words(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const no = cobra.ShellCompDirectiveNoFileComp
		_, store, err := e.open()
		if err != nil || most > 0 && len(args) >= most {
			return nil, no
		}
		if most == 2 && len(args) == 1 {
			set, err := store.LoadMetadata()
			if err != nil {
				return nil, no
			}
			var selectors []string
			for _, k := range set.Of(args[0]) {
				selectors = append(selectors, k.Selector)
			}
			return selectors, no
		}
		known, err := store.Known()
		if err != nil {
			return nil, no
		}
		return slices.DeleteFunc(known, func(d string) bool { return slices.Contains(args, d) }), no
	}
}

// page returns the manual page without the descriptions of the commands and flags.
func page() man.Page {
	return man.Page{
		Section: "1",
		Files: [][2]string{
			{"/etc/signpost/signpost.toml", "The configuration, which the daemon also reads."},
			{"/etc/signpost/conf.d/*.toml", "Additional configuration files; see signpost.toml(5)."},
			{"/var/lib/signpost/keys/DOMAIN/SELECTOR.pem", "A private key. SELECTOR.json in the same directory is its metadata: the times at which it was created, published, found in DNS, activated, retired, revoked and removed."},
			{"/var/lib/signpost/hosted/DOMAIN", "Exists if mail of the domain must be signed."},
			{"/var/lib/signpost/locks/DOMAIN", "Locked while a command changes keys of the domain. It contains the process ID."},
			{"/var/lib/signpost/rotate.json", "The time of the last run of rotate, and of the last one without an error."},
		},
		SeeAlso: []string{"signpost(8)", "signpost.toml(5)", "crontab(5)"},
	}
}
