// Command dkimkey makes, publishes, rotates, revokes and removes DKIM keys, from cron or by hand.
package main

import (
	"context"
	"crypto/rand"
	"io"
	"os"
	"os/signal"
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
	file   string
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
	root := &cobra.Command{
		Use:   "dkimkey",
		Short: "The life of DKIM keys: make, publish, rotate, revoke, remove",
		Long: `Dkimkey makes the keys that signpost(8) signs with, publishes their records, and rotates them. None signs before the
whole world can verify it, and its record stays until the last mail that it signed is old. A running daemon sees new keys
within seconds. "dkimkey rotate", daily from cron, does all that is due.

Run it as the daemon's user, or as root: files get the owner of the keys directory.

` + cli.Completion("dkimkey"),
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVarP(&e.file, "config", "c", "/etc/signpost/signpost.toml", "configuration `FILE`")
	root.AddCommand(e.addCommand(), e.rotateCommand(), e.statusCommand(), e.checkCommand(), e.showCommand(), e.revokeCommand(), e.importCommand(), e.removeCommand())
	root.AddCommand(man.Command(root, page()))
	e.complete(root)
	return cli.Execute(ctx, root, args, term.Clean(stdout), term.Clean(stderr))
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
