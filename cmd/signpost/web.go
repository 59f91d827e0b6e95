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
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/cluster/control"
	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/internal/durable"
	"signpost/internal/glance"
	"signpost/internal/journal"
	"signpost/internal/monitor"
	"signpost/internal/owner"
	"signpost/internal/report/received"
	"signpost/internal/report/seen"
	"signpost/internal/report/status"
	"signpost/internal/report/summary"
	"signpost/internal/setup"
	"signpost/internal/web"
	"signpost/keys"
)

func webCommand(load func() (*config.Config, error), file *string) *cobra.Command {
	var at address
	var names []string
	c := &cobra.Command{
		Use:   "web",
		Short: "Serve a web page about the journal, the keys and doctor's findings",
		Long: "Serve a read-only web page, in the foreground until SIGTERM: messages and actions over time, the sources of failing mail,\n" +
			"search, an explanation of each message, the keys, reports that were sent and received, and doctor's findings.\n\n" +
			"There is no login: everyone who can connect to the address can read the page, including each user of this machine. From\n" +
			"another machine, use ssh(1) as below and open http://localhost:9891. With unix:PATH, only the users that the mode and group of\n" +
			"the socket admit can connect: use it behind a web server that asks for a password (docs/metrics.md, \"The page\"). Run\n" +
			"it as user signpost, as signpost-web.service does.",
		Example: "  signpost web\n  ssh -L 9891:127.0.0.1:9891 mail.example.org\n" +
			"  signpost web --listen unix:/run/signpost-web/page.sock --socket-group www-data --name page.example.org",
		Args: cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			program, err := os.Executable()
			if err != nil {
				return err
			}
			return serveWeb(c.Context(), newSite(conf, program, *file, names), at, c.ErrOrStderr())
		}),
	}
	c.Flags().StringVar(&at.listen, "listen", "127.0.0.1:9891", "the `ADDRESS` and port to listen at, or unix:PATH")
	c.Flags().StringVar(&at.mode, "socket-mode", "0660", "the `MODE` of the unix socket")
	c.Flags().StringVar(&at.group, "socket-group", "", "the `GROUP` of the unix socket; the user that runs this command must be in it")
	c.Flags().StringSliceVar(&names, "name", nil, "accept requests for this host `NAME`, besides localhost and IP addresses (repeatable)")
	cli.Complete(c, map[string]cobra.CompletionFunc{"listen": cli.Any(), "name": cli.Any(), "socket-mode": cli.Any(), "socket-group": cli.Any()})
	return c
}

// newSite returns the Site that the page shows. The parameter program is the path of the signpost executable.
func newSite(conf *config.Config, program, file string, names []string) web.Site {
	for i, n := range names {
		names[i] = domain.Fold(n)
	}
	var cluster *control.Client
	host := ""
	if client, err := clusterOf(conf); err == nil {
		cluster = &client
		host, _ = conf.ClusterName() // an error is a finding of doctor
	}
	return web.Site{
		Cluster: cluster,
		Host:    host,
		File:    conf.JournalFile(),
		Open:    func() (*journal.Reader, error) { return readJournal(conf) },
		Keys:    func() ([]keys.Status, error) { return keyStatus(conf, time.Now()) },
		Seen:    func() (*seen.File, error) { return seen.Load(conf.StateDir, time.Now()) },
		Doctor:  func(ctx context.Context) ([]doctor.Finding, error) { return runDoctor(ctx, program, file) },
		Check:   func(ctx context.Context) []doctor.Finding { return checkForPage(ctx, conf) },
		Latest: func() (status.Received, error) {
			if len(conf.Reports.Receive.Addresses) == 0 {
				return status.Received{}, fs.ErrNotExist
			}
			return status.Load(durable.Tree{conf.StateDir}, conf.ReceivedStatus())
		},
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

// checkForPage returns what signpost check finds. It reads no private key.
func checkForPage(ctx context.Context, conf *config.Config) []doctor.Finding {
	s := monitored(conf)
	s.Keys, s.ActAsOwner = setup.KeyStore(conf).LoadMetadata, nil
	s.RotateWarning, s.RotateCritical, s.Timeout = rotateWarning, rotateCritical, checkTimeout
	return monitor.Check(ctx, s).Findings()
}

// runDoctor runs doctor in a separate process. doctor reads private keys, which must not be in the memory of the page's process.
func runDoctor(ctx context.Context, program, file string) (found []doctor.Finding, err error) {
	err = ownCommand(ctx, &found, program, "doctor", "--json", "-c", file)
	return found, err
}

// ownCommand runs a command of signpost that prints JSON, and stores what it printed in the value that result points to. The exit code is not 0
// if a finding is red.
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
func serveWeb(ctx context.Context, site web.Site, at address, stderr io.Writer) error {
	ln, err := at.open(ctx)
	if err != nil {
		return err
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
	if warning := at.exposed(ln); warning != "" {
		fmt.Fprintf(stderr, "signpost: warning: %s can read the journal, without a password\n", warning)
	}
	fmt.Fprintf(stderr, "signpost: the page is at %s\n", at.url(ln))
	return site.Serve(ctx, ln)
}
