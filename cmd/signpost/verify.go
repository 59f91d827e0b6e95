package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/explain"
	"signpost/internal/filter"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/keys"
	"signpost/milter"
)

// verifyOptions are the flags of signpost verify.
type verifyOptions struct {
	ip, name, helo, from, zone string
	json                       bool
}

func verifyCommand(load func() (*config.Config, error)) *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use:   "verify FILE --ip ADDRESS [--helo NAME] [--from ADDRESS]",
		Short: "Judge a message in a file as the daemon would, and show each step",
		Long: "Judge a message in a file as the daemon would, had a stranger at --ip sent it, and show each step, each DNS answer\n" +
			"and the verdict. FILE may be - for standard input. Nothing is sent anywhere but DNS queries; with --dns not even\n" +
			"those: a zone file answers, for trying records out before they are published.",
		Example: "  signpost verify mail.eml --ip 192.0.2.1 --helo mail.example.com --from ann@example.com\n" +
			"  signpost verify mail.eml --ip 192.0.2.1 --helo mail.example.com --from '' --dns draft.zone",
		Args: cobra.ExactArgs(1),
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			return verify(c.Context(), conf, args[0], o, c.InOrStdin(), c.OutOrStdout())
		}),
	}
	f := c.Flags()
	f.StringVar(&o.ip, "ip", "", "the client's `ADDRESS` (required)")
	f.StringVar(&o.name, "name", "", "the client's verified host `NAME`, for iprev; \"unknown\" if it has none")
	f.StringVar(&o.helo, "helo", "", "the `NAME` that the client said in HELO or EHLO")
	f.StringVar(&o.from, "from", "", "MAIL FROM `ADDRESS`; empty for a bounce")
	f.StringVar(&o.zone, "dns", "", "answer DNS from this zone `FILE` alone")
	f.BoolVar(&o.json, "json", false, "print everything as JSON")
	cli.Complete(c, map[string]cobra.CompletionFunc{"ip": cli.Any(), "name": cli.Words("unknown"), "helo": cli.Any(), "from": cli.Any(), "dns": cli.File()})
	return c
}

func verify(ctx context.Context, conf *config.Config, file string, o verifyOptions, stdin io.Reader, stdout io.Writer) error {
	if o.ip == "" {
		return cli.Usage(fmt.Errorf("--ip is missing: whose message is it? See signpost verify --help"))
	}
	client, err := netip.ParseAddr(o.ip)
	if err != nil {
		return cli.Usage(fmt.Errorf("--ip %q is no address", o.ip))
	}
	log := slog.New(slog.DiscardHandler)
	resolver, err := newResolver(conf, o.zone, log)
	if err != nil {
		return err
	}
	input, err := openInput(file, stdin)
	if err != nil {
		return err
	}
	defer input.Close()
	fields, body, err := dkim.ReadMessage(input)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	var report filter.Report
	f := setup.Filter(conf, log)
	f.Keys = func() *keys.Snapshot { return &keys.Snapshot{Set: &keys.Set{}} }
	f.Resolver = resolver
	f.Judged = func(r filter.Report) { report = r }
	session := milter.Session{Client: client, Name: o.name, HELO: o.helo, MTA: hostName(), SMTP: true}
	edits, reply, err := play(ctx, f, session, milter.Envelope{Sender: o.from}, fields, body)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if o.json {
		return term.WriteJSON(stdout, verified{report, edits, reply})
	}
	explain.WriteReport(stdout, report, edits)
	return nil
}

// verified is the output of --json.
type verified struct {
	filter.Report
	Edits milter.Edits `json:"edits"`
	Reply milter.Reply `json:"smtp_reply,omitzero"`
}

// openInput opens the file of a message, or stdin if file is "-".
func openInput(file string, stdin io.Reader) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(stdin), nil
	}
	return os.Open(file)
}

// hostName returns the name of the MTA that a command acts for.
func hostName() string {
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "localhost"
}

// newResolver returns a resolver that answers from a zone file, or, without one, that queries the daemon's name servers.
func newResolver(conf *config.Config, file string, log *slog.Logger) (*dns.Resolver, error) {
	if file == "" {
		return setup.Resolver(conf, time.Now, log)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zone, err := dns.ParseZone(f, file)
	if err != nil {
		return nil, err
	}
	return zone.Resolver(time.Now, log), nil
}

// play passes a message through the filter as Postfix does.
func play(ctx context.Context, f *filter.Filter, s milter.Session, e milter.Envelope, fields []dkim.Field, body io.Reader) (milter.Edits, milter.Reply, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := f.Begin(ctx, s, e)
	for _, field := range fields {
		m.Header(field.Name, field.Value)
	}
	m.EndHeaders("")
	var chunk [64 << 10]byte
	for {
		n, err := body.Read(chunk[:])
		m.Body(chunk[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return milter.Edits{}, milter.Reply{}, err
		}
	}
	edits, reply := m.Finish(ctx)
	return edits, reply, nil
}
