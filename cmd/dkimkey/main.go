// Command dkimkey makes, publishes, rotates, revokes and removes DKIM keys, from cron or by hand.
package main

import (
	"context"
	"crypto/rand"
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

// env is what every command works with.
type env struct {
	file   string // --config
	json   bool   // --json
	now    func() time.Time
	after  func(time.Duration) <-chan time.Time
	random io.Reader
	// authorityPort is where name servers listen; tests have theirs elsewhere.
	authorityPort uint16
	// authority and publisher replace those of the configuration in tests.
	authority   keys.Authority
	publisher   keys.Publisher
	hook        func(step string) // keys.Store.Hook
	lockTimeout time.Duration     // keys.Store.LockTimeout
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	e := &env{now: time.Now, after: time.After, random: rand.Reader, authorityPort: 53}
	return e.execute(ctx, args, stdout, stderr)
}

func (e *env) execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Execute(ctx, e.newRoot(), args, term.Clean(stdout), term.Clean(stderr))
}

// newRoot returns the command dkimkey with all commands below it.
func (e *env) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dkimkey",
		Short: "Make, publish, rotate, revoke and remove DKIM keys",
		Long: `Dkimkey makes the keys that signpost(8) signs with, publishes their records, and rotates them. None signs before the
whole world can verify it, and its record stays until the last mail that it signed is old. A running daemon sees new keys
within seconds. "dkimkey rotate", daily from cron, does all that is due.

Run it as the daemon's user, or as root: files get the owner of the keys directory.`,
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
	return conf, store, nil
}

// complete completes the domains that have keys, and their selectors, if the keys directory can be read.
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

// words returns a function that completes a DOMAIN and, if most is 2, a SELECTOR. If most is 0, each argument is a domain.
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

// page returns what the manual page has in addition to the commands and their flags.
func page() man.Page {
	return man.Page{
		Section: "1",
		Files: [][2]string{
			{"/etc/signpost/signpost.toml", "The configuration, that of the daemon."},
			{"/etc/signpost/conf.d/*.toml", "Files that are read after it: signpost.toml(5)."},
			{"/var/lib/signpost/keys/DOMAIN/SELECTOR.pem", "A private key. Its life is in SELECTOR.json beside it: when it was made, published, seen, made to sign, retired, revoked and removed."},
			{"/var/lib/signpost/hosted/DOMAIN", "Says that mail of the domain has to be signed."},
			{"/var/lib/signpost/locks/DOMAIN", "Locked while a command works on the domain; it holds the process ID."},
			{"/var/lib/signpost/rotate.json", "When rotate ran last."},
		},
		SeeAlso: []string{"signpost(8)", "signpost.toml(5)", "crontab(5)"},
	}
}
