// Command greyskip writes an allow list for postscreen(8): the networks of the SPF records of big senders.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/allowlist"
	"signpost/internal/cli"
	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/internal/man"
	"signpost/internal/setup"
	"signpost/internal/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	e := &env{Maker: allowlist.Maker{Now: time.Now}}
	os.Exit(e.execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// env has the flags and dependencies of a run.
type env struct {
	allowlist.Maker
	config string
}

const (
	defaultConfig = "/etc/signpost/signpost.toml"
	day           = 24 * time.Hour
)

// errAttention is the error of exit code 1 if all messages were printed already.
var errAttention = errors.New("action needed, see above")

func (e *env) execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	stdout, stderr = term.Clean(stdout), term.Clean(stderr)
	e.Stdout, e.Stderr = stdout, stderr
	return cli.Execute(ctx, e.newRoot(), args, stdout, stderr)
}

// newRoot returns the command greyskip.
func (e *env) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "greyskip [DOMAIN...]",
		Short: "Write an allow list for postscreen(8) from SPF records",
		Long: fmt.Sprintf(`Greyskip follows the SPF records of big senders, which try again from other addresses and so never come through greylisting
and postscreen(8)'s deep protocol tests in good time, and writes the networks that pass as an allow list. What it lists
skips every test of postscreen, DNS block lists too; docs/postscreen.md says when dnswl.org is the better choice.

A domains file has one domain a line; # begins a comment. DOMAIN on the command line prints the list for that one.

Listed is what passes SPF whatever the message: include, redirect, a, mx, ip4 and ip6 are followed with what takes away from
them; what exists, ptr and macros let send is said and not listed. So are networks that are private or reserved, or wider than
the limit, and +all. Records over the limits of RFC 7208 are followed as far as a check would go.

For cron: the file is replaced in one step, only where it changed, and quiet unless something needs a person. A domain that
cannot be looked up keeps its last good answer, from FILE.state beside the output; that is said after %d days, and after %d days
it is dropped. Where all domains fail, or half of them, or the list would shrink or grow by more than half, the old file
stays.

Exit code 0: nothing is wrong. 1: something needs a person; it is said in one line each. 2: wrong usage or configuration.`, allowlist.WarnAfter/day, allowlist.DropAfter/day),
		Example: `  greyskip example.org
  greyskip -f /etc/signpost/greyskip.domains -o /etc/postfix/postscreen_spf_allow.cidr --diff --dry-run
  25 5 * * *  root  /usr/sbin/greyskip -f /etc/signpost/greyskip.domains -o /etc/postfix/postscreen_spf_allow.cidr --reload 'postfix reload'`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && e.DomainsFile == "" {
				return c.Help()
			}
			return e.run(c.Context(), args, c.Flags().Changed("config"))
		},
	}
	f := root.Flags()
	f.SortFlags = false
	f.StringVarP(&e.DomainsFile, "file", "f", "", "the domains are in this `FILE`, one a line")
	f.StringVarP(&e.Output, "output", "o", "", "keep the list in this `FILE`; printed if not given")
	f.StringVar(&e.Format, "format", allowlist.Formats()[0], "the list is for `PROGRAM`: "+strings.Join(allowlist.Formats(), ", "))
	f.StringVar(&e.Reload, "reload", "", "run this `COMMAND` after the file has changed")
	f.BoolVar(&e.Diff, "diff", false, "print what changes in the file")
	f.BoolVar(&e.DryRun, "dry-run", false, "change nothing, and say what would be done")
	f.BoolVar(&e.Force, "force", false, "replace the file although it shrinks or grows by more than half")
	f.BoolVar(&e.OverLimit, "over-limit", false, "list what stands behind the limits of RFC 7208 section 4.6.4 too")
	f.StringVar(&e.Widest, "widest", allowlist.DefaultWidest, "refuse networks with a shorter prefix than these `BITS`, of IPv4 and of IPv6")
	f.StringVarP(&e.config, "config", "c", defaultConfig, "configuration `FILE`, for its name servers")
	cli.Complete(root, map[string]cobra.CompletionFunc{"file": cli.File(), "output": cli.File(), "format": cli.Words(allowlist.Formats()...),
		"reload": cli.Words("postfix reload"), "widest": cli.Any(), "config": cli.ConfigFile()})
	root.AddCommand(man.Command(root, page()))
	return root
}

// run carries out the command line.
func (e *env) run(ctx context.Context, args []string, configGiven bool) error {
	if err := e.check(args); err != nil {
		return cli.Usage(err)
	}
	domains, err := e.read(args)
	if err != nil {
		return cli.Usage(err)
	}
	resolver, err := e.resolver(configGiven)
	if err != nil {
		return cli.Usage(err)
	}
	if e.Output == "" {
		err = e.Print(ctx, resolver, domains)
	} else {
		err = e.Update(ctx, resolver, domains)
	}
	if err == nil && e.Action {
		return errAttention
	}
	return err
}

// check returns an error if flags cannot be combined.
func (e *env) check(args []string) error {
	switch {
	case e.DomainsFile != "" && len(args) > 0:
		return errors.New("pass DOMAIN or -f FILE, not both")
	case e.Output == "" && (e.Reload != "" || e.Diff || e.DryRun || e.Force):
		return errors.New("--reload, --diff, --dry-run and --force require -o FILE")
	case !slices.Contains(allowlist.Formats(), e.Format):
		return fmt.Errorf("--format: %q is not one of %s", e.Format, strings.Join(allowlist.Formats(), ", "))
	}
	// The header of the list names both files. It may be read from another directory.
	for _, path := range []*string{&e.DomainsFile, &e.Output} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	return e.readWidest()
}

func (e *env) readWidest() error {
	four, six, ok := strings.Cut(e.Widest, ",")
	var err4, err6 error
	e.Widest4, err4 = strconv.Atoi(four)
	e.Widest6, err6 = strconv.Atoi(six)
	if !ok || err4 != nil || err6 != nil || e.Widest4 < 0 || e.Widest4 > 32 || e.Widest6 < 0 || e.Widest6 > 128 {
		return fmt.Errorf("--widest: %q is not a number from 0 to 32, a comma and a number from 0 to 128", e.Widest)
	}
	return nil
}

// resolver returns a resolver that queries the same name servers as the daemon, or those of /etc/resolv.conf without a configuration.
func (e *env) resolver(configGiven bool) (*dns.Resolver, error) {
	conf, err := setup.Load(e.config, configGiven)
	if err != nil {
		return nil, err
	}
	return setup.Resolver(conf, e.Now, slog.New(slog.DiscardHandler))
}

// read returns the domains of the command line or of the domains file, each once, in their order.
func (e *env) read(args []string) ([]string, error) {
	if e.DomainsFile != "" {
		f, err := os.Open(e.DomainsFile)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return parseDomains(e.DomainsFile, f)
	}
	var all []string
	for _, a := range args {
		name, err := domainName(a)
		if err != nil {
			return nil, err
		}
		all = append(all, name)
	}
	return domain.Unique(all), nil
}

// parseDomains reads a domains file. A file without any domain is an error.
func parseDomains(file string, r io.Reader) ([]string, error) {
	all, err := domain.ReadList(r, file, func(text string) (string, error) {
		name, err := domainName(text)
		if err != nil {
			err = fmt.Errorf("%w; write one domain on each line, and comments after #", err)
		}
		return name, err
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s: names no domain", file)
	}
	return all, err
}

// domainName parses a domain from which mail can come. An IP address and a top-level domain are errors.
func domainName(text string) (string, error) {
	name, err := domain.ParseArgument(text)
	if _, noAddress := netip.ParseAddr(text); err == nil && (noAddress == nil || !strings.Contains(name, ".")) {
		err = fmt.Errorf("%q is not a domain name", text)
	}
	return name, err
}

// page returns what the manual page has in addition to the commands and their flags.
func page() man.Page {
	return man.Page{
		Section: "1",
		Files: [][2]string{
			{"/etc/signpost/greyskip.domains", "The domains, by custom: -f names the file."},
			{"FILE.state", "Beside the output FILE: the last good answer of each domain and when it was had, since when each network is listed, and whether the command of --reload is still to be run."},
			{".FILE.lock", "Beside the output FILE: held by the run that works on it; it is empty and stays."},
			{"/etc/signpost/signpost.toml, /etc/signpost/conf.d/*.toml", "The daemon's configuration: its name servers are asked. Where there is none, those of /etc/resolv.conf are."},
		},
		SeeAlso: []string{"postscreen(8)", "cidr_table(5)", "signpost(8)", "dkimkey(1)", "crontab(5)"},
	}
}
