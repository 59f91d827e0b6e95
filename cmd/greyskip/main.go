// Command greyskip writes an allow list for postscreen(8) from the SPF records of large senders.
package main

import (
	"bytes"
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

// errAttention causes exit code 1. All messages have already been printed.
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
		Long: fmt.Sprintf(`Write an allow list for postscreen(8) with the networks that the SPF records of large senders authorize. Large senders retry
from other addresses, so greylisting and the deep protocol tests of postscreen can delay their mail for hours. A listed
client skips all tests of postscreen, including DNS block lists; docs/postscreen.md explains when to use dnswl.org instead.

Without -f, greyskip prints the list for each DOMAIN on the command line. With -f FILE, it reads the domains from a file with
one domain per line; # starts a comment.

greyskip lists an address if it passes SPF for every message. It evaluates include, redirect, a, mx, ip4 and ip6. It does not
list addresses that depend on exists, ptr or macros. It does not list +all, private or reserved networks, or networks wider
than --widest. It prints a note for each term that it does not list. Terms beyond the lookup limits of RFC 7208 authorize
nothing, as in an SPF check.

With -o FILE, greyskip replaces the file atomically, and only if it has changed. It prints only new notes and needed actions,
so that it can run in cron. If the lookup of a domain fails, greyskip keeps the domain's last good answer, which is in
FILE.state. It warns after %d days and drops the answer after %d days. If the record of a domain permits no address any more,
greyskip keeps the last good answer as long, and warns at each run. greyskip keeps the previous file if half or more of the
lookups fail, or if the list would shrink or grow by more than half.

Exit code 0: done. 1: failed or action needed; standard error has one line for each. 2: usage or configuration error.`, allowlist.WarnAfter/day, allowlist.DropAfter/day),
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
	f.StringVarP(&e.DomainsFile, "file", "f", "", "read the domains from this `FILE`, one per line")
	f.StringVarP(&e.Output, "output", "o", "", "write the list to this `FILE` (default: print it)")
	f.StringVar(&e.Format, "format", allowlist.Formats()[0], "write the format of `PROGRAM`: "+strings.Join(allowlist.Formats(), ", "))
	f.StringVar(&e.Reload, "reload", "", "run this `COMMAND` when the file has changed; if the command fails, the next run repeats it")
	f.BoolVar(&e.Diff, "diff", false, "print the changes to the list")
	f.BoolVar(&e.DryRun, "dry-run", false, "print the planned changes, but change nothing")
	f.BoolVar(&e.Force, "force", false, "replace the file even if the list shrinks or grows by more than half")
	f.BoolVar(&e.OverLimit, "over-limit", false, "also list terms beyond the lookup limits of RFC 7208 section 4.6.4")
	f.StringVar(&e.Widest, "widest", allowlist.DefaultWidest, "shortest prefix lengths of listed networks: `BITS` for IPv4 and for IPv6, with a comma")
	f.StringVarP(&e.config, "config", "c", defaultConfig, "configuration `FILE` with the name servers")
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
	// The header of the list contains the paths of the domains file and of the list, so they must not depend on the working directory.
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

// resolver returns a resolver that queries the same name servers as the daemon. Without a configuration, it queries the name servers in
// /etc/resolv.conf.
func (e *env) resolver(configGiven bool) (*dns.Resolver, error) {
	conf, err := setup.Load(e.config, configGiven)
	if err != nil {
		return nil, err
	}
	return setup.Resolver(conf, e.Now, slog.New(slog.DiscardHandler))
}

// read returns the domains of the command line or of the domains file, in order. It omits repeated domains.
func (e *env) read(args []string) ([]string, error) {
	if e.DomainsFile != "" {
		data, err := os.ReadFile(e.DomainsFile)
		if err != nil {
			return nil, err
		}
		e.Lines = linesOf(string(data))
		return parseDomains(e.DomainsFile, bytes.NewReader(data))
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
			err = fmt.Errorf("%w; write one domain per line, and comments after #", err)
		}
		return name, err
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s: contains no domain", file)
	}
	return all, err
}

// linesOf returns the number of the first line of each domain, from 1.
func linesOf(text string) map[string]int {
	all, n := map[string]int{}, 0
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		n++
		line, _, _ = strings.Cut(line, "#")
		if name, err := domainName(strings.TrimSpace(line)); err == nil && all[name] == 0 {
			all[name] = n
		}
	}
	return all
}

// domainName parses the domain of a sender. It returns an error for an IP address and for a top-level domain.
func domainName(text string) (string, error) {
	name, err := domain.ParseArgument(text)
	if _, noAddress := netip.ParseAddr(text); err == nil && (noAddress == nil || !strings.Contains(name, ".")) {
		err = fmt.Errorf("%q is not a domain name", text)
	}
	return name, err
}

// page returns the manual page without the descriptions of the commands and flags.
func page() man.Page {
	return man.Page{
		Section: "1",
		Files: [][2]string{
			{"/etc/signpost/greyskip.domains", "The usual domains file; pass it with -f."},
			{"FILE.state", "State in the directory of the output FILE: the last good answer of each domain and its time, the date on which each network was listed, and whether the command of --reload is still due."},
			{".FILE.lock", "Lock file in the directory of the output FILE. greyskip locks it during a run. The file is empty and is not deleted."},
			{"/etc/signpost/signpost.toml, /etc/signpost/conf.d/*.toml", "The daemon's configuration. greyskip reads the name servers from it, or from /etc/resolv.conf if it does not exist."},
		},
		SeeAlso: []string{"postscreen(8)", "cidr_table(5)", "signpost(8)", "dkimkey(1)", "crontab(5)"},
	}
}
