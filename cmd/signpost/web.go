package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/cluster/control"
	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/internal/glance"
	"signpost/internal/journal"
	"signpost/internal/owner"
	"signpost/internal/report/received"
	"signpost/internal/report/seen"
	"signpost/internal/report/summary"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/internal/web"
	"signpost/keys"
	"signpost/milter"
)

func webCommand(load func() (*config.Config, error), file *string) *cobra.Command {
	var listen, group string
	var names []string
	c := &cobra.Command{
		Use:   "web",
		Short: "Serve a web page about the journal, the keys and doctor's findings",
		Long: "Serve a read-only web page, in the foreground until SIGTERM: messages and actions over time, the sources of failing mail,\n" +
			"search, an explanation of each message, the keys, reports that were sent and received, and doctor's findings.\n\n" +
			"There is no login: everyone who can connect to the address can read the page, including each user of this machine. From\n" +
			"another machine, use ssh(1) as below and open http://localhost:9891, or put a web server with a login in front of a unix\n" +
			"socket (docs/metrics.md). Run it as user signpost, as signpost-web.service does.",
		Example: "  signpost web\n  signpost web --listen unix:/run/signpost-web/page.sock --group caddy\n  ssh -L 9891:127.0.0.1:9891 mail.example.org",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			program, err := os.Executable()
			if err != nil {
				return err
			}
			return serveWeb(c.Context(), newSite(conf, program, *file, names), listen, group, c.ErrOrStderr())
		}),
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:9891", "the `ADDRESS` and port to listen at, or unix:/PATH")
	c.Flags().StringVar(&group, "group", "", "the `GROUP` that can connect to a unix socket, such as that of the web server")
	c.Flags().StringSliceVar(&names, "name", nil, "accept requests for this host `NAME`, besides localhost and IP addresses (repeatable)")
	cli.Complete(c, map[string]cobra.CompletionFunc{"listen": cli.Any(), "group": cli.Any(), "name": cli.Any()})
	return c
}

// webCheckTimeout limits signpost check on the start page.
const webCheckTimeout = 3 * time.Second

// newSite returns the Site that the page shows. The parameter program is the path of the signpost executable.
func newSite(conf *config.Config, program, file string, names []string) web.Site {
	for i, n := range names {
		names[i] = domain.Fold(n)
	}
	var cluster *control.Client
	if client, err := clusterOf(conf); err == nil {
		cluster = &client
	}
	return web.Site{
		Cluster: cluster,
		File:    conf.JournalFile(),
		Open:    func() (*journal.Reader, error) { return readJournal(conf) },
		Keys:    func() ([]keys.Status, error) { return keyStatus(conf, time.Now()) },
		Seen:    func() (*seen.File, error) { return seen.Load(conf.StateDir, time.Now()) },
		Doctor:  func(ctx context.Context) ([]doctor.Finding, error) { return runDoctor(ctx, program, file) },
		Reports: func(ctx context.Context) (web.Reports, error) { return readReports(ctx, conf) },
		Received: func(ctx context.Context, f received.Filter) (o summary.Overview, err error) {
			s, err := openReceived(ctx, conf)
			if err != nil {
				return o, err
			}
			defer s.Close()
			return overviewOf(ctx, conf, s, f)
		},
		About: func(ctx context.Context, f received.Filter) (a received.About, err error) {
			hosted, err := setup.KeyStore(conf).Hosted()
			if err != nil || !hosted[f.Domain] {
				return a, cmp.Or(err, web.ErrNotHosted)
			}
			s, err := openReceived(ctx, conf)
			if err != nil {
				return a, err
			}
			defer s.Close()
			return aboutDomain(ctx, conf, s, f, mostShown, true)
		},
		Domain: func(ctx context.Context, name string) (glance.Domain, error) {
			all, err := localGlance(ctx, conf, name, time.Now())
			if err == nil && !all.Hosted {
				err = web.ErrNotHosted
			}
			if err != nil {
				return glance.Domain{}, err
			}
			return *all, nil
		},
		Examine: func(ctx context.Context, name string) (all glance.Domain, err error) {
			err = ownCommand(ctx, &all, program, "domain", "--json", "-c", file, "--", name)
			return all, err
		},
		Check: func(ctx context.Context) (problem string, err error) {
			ctx, cancel := context.WithTimeout(ctx, 2*webCheckTimeout)
			defer cancel()
			out, err := exec.CommandContext(ctx, program, "check", "-t", webCheckTimeout.String(), "-c", file).Output()
			if code := (*exec.ExitError)(nil); err == nil || errors.As(err, &code) && len(out) == 0 {
				return "", err
			}
			line, _, _ := strings.Cut(string(out), " | ") // performance data follow
			return strings.TrimSpace(line), ctx.Err()
		},
		Names: names,
		Now:   func() time.Time { return time.Now().UTC() },
	}
}

// readReports reads the database of the reports.
func readReports(ctx context.Context, conf *config.Config) (all web.Reports, err error) {
	s, err := openReports(ctx, conf, false, time.Now)
	if err != nil {
		return all, err
	}
	defer s.Close()
	if all.Deliveries, err = s.List(ctx); err != nil {
		return all, err
	}
	suppressed, err := suppressions(ctx, s)
	all.Suppressed = suppressed
	return all, err
}

// runDoctor runs doctor in a separate process. doctor reads private keys, which must not be in the memory of the page's process.
func runDoctor(ctx context.Context, program, file string) (found []doctor.Finding, err error) {
	err = ownCommand(ctx, &found, program, "doctor", "--json", "-c", file)
	return found, err
}

// ownCommand runs a command of signpost that prints JSON, and stores what it printed in the value result points to. The exit code is not 0 if a
// finding is red.
func ownCommand(ctx context.Context, result any, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if unread := json.Unmarshal(out, result); unread != nil {
		return fmt.Errorf("signpost %s: %w: %s", args[0], errors.Join(ctx.Err(), err, unread), strings.TrimSpace(complaint.String()))
	}
	return nil
}

// keyStatus returns the status of all keys. It reads no private key.
func keyStatus(conf *config.Config, now time.Time) ([]keys.Status, error) {
	set, err := setup.KeyStore(conf).LoadMetadata()
	if err != nil {
		return nil, err
	}
	return set.Status(setup.KeyRules(conf), now), nil
}

// serveWeb serves the page until ctx ends.
func serveWeb(ctx context.Context, site web.Site, listen, group string, stderr io.Writer) error {
	if listen == "" { // with "", Listen would use all addresses and a random port
		return cli.Usage(errors.New("--listen: ADDRESS required"))
	}
	var ln net.Listener
	var err error
	path, local := strings.CutPrefix(listen, "unix:")
	switch {
	case local && !filepath.IsAbs(path):
		return cli.Usage(fmt.Errorf("--listen: %s is not an absolute path", term.Printable(listen)))
	case local:
		site.AnyName = true // a proxy chooses the host names that it accepts
		ln, err = milter.Listen("unix", path, 0o660, group)
	default:
		ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	}
	if err != nil {
		return cli.Usage(fmt.Errorf("--listen: %w", err))
	}
	// Call this before the first request, because it changes the user of the whole process.
	if _, err := owner.Act(site.File); err != nil {
		return errors.Join(err, ln.Close())
	}
	r, err := site.Open()
	if errors.Is(err, fs.ErrPermission) {
		return errors.Join(err, ln.Close())
	}
	if err == nil { // after another error, the page shows the error until there is a journal
		r.Close()
	}
	if local {
		fmt.Fprintf(stderr, "signpost: the page is at the socket %s; a web server with a login belongs in front of it: docs/metrics.md, \"The page\"\n", path)
		return site.Serve(ctx, ln)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		fmt.Fprintf(stderr, "signpost: warning: %s is not a loopback address: everyone who can connect can read the journal, without a password\n", ln.Addr())
	}
	fmt.Fprintf(stderr, "signpost: the page is at http://%s/\n", ln.Addr())
	return site.Serve(ctx, ln)
}
