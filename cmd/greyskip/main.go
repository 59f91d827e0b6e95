// Command greyskip writes an allow list for postscreen(8): the networks of the SPF records of big senders.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/man"
	"signpost/internal/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	e := &env{now: time.Now}
	os.Exit(e.execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// env has the flags and dependencies of a run.
type env struct {
	options
	now    func() time.Time
	stdout io.Writer
	stderr io.Writer
	action bool // action is needed, and the messages that state it were printed
}

// options are the flags.
type options struct {
	config, domains, output, format, reload string
	widest                                  string
	widest4, widest6                        int // the numbers of widest
	overLimit, force, diff, dry             bool
}

const (
	defaultConfig = "/etc/signpost/signpost.toml"
	defaultWidest = "12,28"
)

// errAttention is the error of exit code 1 if all messages were printed already.
var errAttention = errors.New("action needed, see above")

func (e *env) execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	stdout, stderr = term.Clean(stdout), term.Clean(stderr)
	e.stdout, e.stderr = stdout, stderr
	root := &cobra.Command{
		Use:   "greyskip [DOMAIN...]",
		Short: "Who may skip postscreen's deep tests: an allow list from SPF records",
		Long: fmt.Sprintf(`Greyskip follows the SPF records of big senders, which try again from other addresses and so never come through greylisting
and postscreen(8)'s deep protocol tests in good time, and writes the networks that pass as an allow list. What it lists
skips every test of postscreen, DNS block lists too; docs/operations.md says when dnswl.org is the better choice.

A domains file has one domain a line; # begins a comment. DOMAIN on the command line prints the list for that one.

Listed is what passes SPF whatever the message: include, redirect, a, mx, ip4 and ip6 are followed with what takes away from
them; what exists, ptr and macros let send is said and not listed. So are networks that are private or reserved, or wider than
the limit, and +all. Records over the limits of RFC 7208 are followed as far as a check would go.

For cron: the file is replaced in one step, only where it changed, and quiet unless something needs a person. A domain that
cannot be looked up keeps its last good answer, from FILE.state beside the output; that is said after %d days, and after %d days
it is dropped. Where all domains fail, or half of them, or the list would shrink or grow by more than half, the old file
stays.

Exit code 0: nothing is wrong. 1: something needs a person; it is said in one line each. 2: wrong usage or configuration.

`, warnAfter/day, dropAfter/day) + cli.Completion("greyskip"),
		Example: `  greyskip example.org
  greyskip -f /etc/signpost/greyskip.domains -o /etc/postfix/postscreen_spf_allow.cidr --diff --dry-run
  25 5 * * *  root  /usr/sbin/greyskip -f /etc/signpost/greyskip.domains -o /etc/postfix/postscreen_spf_allow.cidr --reload 'postfix reload'`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && e.domains == "" {
				return c.Help()
			}
			return e.run(c.Context(), args, c.Flags().Changed("config"))
		},
	}
	f := root.Flags()
	f.SortFlags = false
	f.StringVarP(&e.domains, "file", "f", "", "the domains are in this `FILE`, one a line")
	f.StringVarP(&e.output, "output", "o", "", "keep the list in this `FILE`; printed if not given")
	f.StringVar(&e.format, "format", formatNames()[0], "the list is for `PROGRAM`: "+strings.Join(formatNames(), ", "))
	f.StringVar(&e.reload, "reload", "", "run this `COMMAND` after the file has changed")
	f.BoolVar(&e.diff, "diff", false, "print what changes in the file")
	f.BoolVar(&e.dry, "dry-run", false, "change nothing, and say what would be done")
	f.BoolVar(&e.force, "force", false, "replace the file although it shrinks or grows by more than half")
	f.BoolVar(&e.overLimit, "over-limit", false, "list what stands behind the limits of RFC 7208 section 4.6.4 too")
	f.StringVar(&e.widest, "widest", defaultWidest, "refuse networks with a shorter prefix than these `BITS`, of IPv4 and of IPv6")
	f.StringVarP(&e.config, "config", "c", defaultConfig, "configuration `FILE`, for its name servers")
	// The only error is an unknown flag.
	_ = root.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formatNames(), cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(man.Command(root, page()))
	return cli.Execute(ctx, root, args, stdout, stderr)
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
	if e.output == "" {
		err = e.print(ctx, resolver, domains)
	} else {
		err = e.update(ctx, resolver, domains)
	}
	if err == nil && e.action {
		return errAttention
	}
	return err
}

// check returns an error if flags cannot be combined.
func (e *env) check(args []string) error {
	switch {
	case e.domains != "" && len(args) > 0:
		return errors.New("name domains, or a file of them with -f, not both")
	case e.output == "" && (e.reload != "" || e.diff || e.dry || e.force):
		return errors.New("--reload, --diff, --dry-run and --force are about a file: which? -o FILE")
	case !slices.Contains(formatNames(), e.format):
		return fmt.Errorf("--format: %q is none of %s", e.format, strings.Join(formatNames(), ", "))
	}
	// The header of the list names both files. It may be read from another directory.
	for _, path := range []*string{&e.domains, &e.output} {
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
	four, six, ok := strings.Cut(e.widest, ",")
	var err4, err6 error
	e.widest4, err4 = strconv.Atoi(four)
	e.widest6, err6 = strconv.Atoi(six)
	if !ok || err4 != nil || err6 != nil || e.widest4 < 0 || e.widest4 > 32 || e.widest6 < 0 || e.widest6 > 128 {
		return fmt.Errorf("--widest: %q is not a number from 0 to 32, a comma and a number from 0 to 128", e.widest)
	}
	return nil
}

// inform prints a message that needs no action.
func (e *env) inform(format string, args ...any) {
	fmt.Fprintln(e.stderr, "greyskip:", term.Printable(fmt.Sprintf(format, args...)))
}

// warn prints a message that needs action: the exit code is 1.
func (e *env) warn(format string, args ...any) {
	e.action = true
	e.inform(format, args...)
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
