package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/explain"
	"signpost/internal/filter"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/internal/trace"
	"signpost/keys"
	"signpost/milter"
)

// verifyOptions are the flags of signpost verify.
type verifyOptions struct {
	ip, name, helo, from, zone string
	hasFrom, json              bool
}

func verifyCommand(load func() (*config.Config, error)) *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use:   "verify FILE [--ip ADDRESS] [--helo NAME] [--from ADDRESS]",
		Short: "Verify a message in a file as the daemon would, and show each step",
		Long: "Verify a message in a file as the daemon would, and show each step, each DNS answer and the action. FILE may be - for\n" +
			"standard input. Nothing is changed, and only DNS queries are sent.\n\n" +
			"Client, HELO name and envelope sender are read from the fields that Postfix adds at the top of a delivered message: the\n" +
			"topmost Received field, and Return-Path above it. They are printed on standard error. --ip, with --name and --helo,\n" +
			"overrides Received. --from overrides Return-Path. For a message without these fields, pass the flags.\n\n" +
			"verify uses the present DNS records and keys. \"signpost explain\" shows the DNS records of the time when a message\n" +
			"arrived. With --dns, a zone file answers all lookups, to try a record before it is published.",
		Example: "  signpost verify mail.eml\n" +
			"  signpost verify draft.eml --ip 192.0.2.1 --helo mail.example.com --from ann@example.com\n" +
			"  signpost verify bounce.eml --ip 192.0.2.1 --helo mail.example.com --from '' --dns draft.zone",
		Args: cobra.ExactArgs(1),
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			o.hasFrom = c.Flags().Changed("from")
			return verify(c.Context(), conf, args[0], o, c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		}),
	}
	f := c.Flags()
	f.StringVar(&o.ip, "ip", "", "the client's `ADDRESS` (default: from the Received field)")
	f.StringVar(&o.name, "name", "", "the client's verified host `NAME`, for iprev; \"unknown\" if it has none")
	f.StringVar(&o.helo, "helo", "", "the `NAME` that the client sent in HELO or EHLO")
	f.StringVar(&o.from, "from", "", "MAIL FROM `ADDRESS`; empty for a bounce")
	f.StringVar(&o.zone, "dns", "", "answer all DNS lookups from this zone `FILE`")
	f.BoolVar(&o.json, "json", false, "print everything as JSON")
	cli.Complete(c, map[string]cobra.CompletionFunc{"ip": cli.Any(), "name": cli.Words("unknown"), "helo": cli.Any(), "from": cli.Any(), "dns": cli.File()})
	return c
}

func verify(ctx context.Context, conf *config.Config, file string, o verifyOptions, stdin io.Reader, stdout, stderr io.Writer) error {
	client, err := o.client()
	if err != nil {
		return err
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
	var record decision.Record
	f := setup.Filter(conf, log)
	f.Keys = func() *keys.Snapshot { return &keys.Snapshot{Set: &keys.Set{}} }
	f.Resolver = resolver
	f.Finished = func(r *decision.Record) { record = *r; record.Lookups = r.Answered.Lookups() }
	session := milter.Session{Client: client, Name: o.name, HELO: o.helo, MTA: hostName(), SMTP: true}
	envelope := milter.Envelope{Sender: o.from}
	if fields, err = o.addTrace(&session, &envelope, fields, file, stderr); err != nil {
		return cli.Usage(err)
	}
	edits, _, err := play(ctx, f, session, envelope, fields, body)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if o.json {
		return term.WriteJSON(stdout, verified{record, edits})
	}
	explain.WriteRecord(stdout, &record, edits)
	return nil
}

// client returns the address of --ip, or an invalid address if the flag is not set.
func (o *verifyOptions) client() (client netip.Addr, err error) {
	if o.ip == "" {
		return client, nil
	}
	if client, err = netip.ParseAddr(o.ip); err != nil {
		return client, cli.Usage(fmt.Errorf("--ip %q is not an address", o.ip))
	}
	return client, nil
}

// addTrace reads values from the trace fields of the message and prints them on stderr. It does not replace a value that a flag sets.
// Without --ip, it returns only the fields that the daemon saw. It omits the fields that Postfix added after the milters had run.
func (o *verifyOptions) addTrace(s *milter.Session, e *milter.Envelope, fields []dkim.Field, file string, stderr io.Writer) ([]dkim.Field, error) {
	t := trace.Read(fields)
	var taken []string
	if !s.Client.IsValid() {
		if t.Received == nil {
			return nil, fmt.Errorf("%s: no client: the topmost Received field is not one of Postfix, or there is none\nhint: pass --ip, --helo and --from", file)
		}
		s.Client, s.Name, s.HELO = t.Received.Client, cmp.Or(s.Name, t.Received.Name), cmp.Or(s.HELO, t.Received.HELO)
		taken = append(taken, fmt.Sprintf("client %s (%s) and HELO %s from Received by %s", s.Client, s.Name, s.HELO, t.Received.By))
	}
	if !o.hasFrom {
		if t.Sender == nil {
			return nil, fmt.Errorf("%s: no envelope sender: there is no Return-Path above the Received fields\nhint: pass --from ADDRESS, or --from '' for a bounce", file)
		}
		e.Sender = *t.Sender
		taken = append(taken, fmt.Sprintf("sender <%s> from Return-Path", e.Sender))
	}
	if len(taken) > 0 {
		fmt.Fprintf(stderr, "signpost: %s\n", term.Printable(file+": "+strings.Join(taken, "; ")))
	}
	if o.ip != "" {
		return fields, nil
	}
	if t.Received.Authenticated() {
		fmt.Fprintf(stderr, "signpost: warning: the client was authenticated (%s): the daemon did not verify this message\n", t.Received.With)
	}
	return t.Rest, nil
}

// verified is the output of --json.
type verified struct {
	decision.Record
	Edits milter.Edits `json:"edits"`
}

// openInput opens the file of a message, or stdin if file is "-".
func openInput(file string, stdin io.Reader) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(stdin), nil
	}
	if fi, err := os.Stat(file); err == nil && fi.IsDir() {
		return nil, fmt.Errorf("%s is a directory", file)
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

// newResolver returns a resolver that answers from a zone file. If file is empty, the resolver queries the name servers of the daemon.
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
