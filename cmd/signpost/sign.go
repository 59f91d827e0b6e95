package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/explain"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

// signOptions are the flags of signpost sign.
type signOptions struct {
	ip, login, from string
	json            bool
}

func signCommand(load func() (*config.Config, error)) *cobra.Command {
	var o signOptions
	c := &cobra.Command{
		Use:   "sign FILE [--ip ADDRESS] [--login NAME] [--from ADDRESS]",
		Short: "Sign a message in a file as the daemon would, and print it",
		Long: `Sign a message in a file as the daemon would, and print it with its DKIM-Signature. FILE may be - for standard input.
If the daemon would not sign it, only the reason is printed, on standard error, and the exit code is 1.
Only an active key signs: a key that "dkimkey add" has just created does not (dkimkey status).

Without --ip and --login, the message counts as submitted with sendmail(1) on this machine. With --ip it comes by SMTP from that
address, with --login from a client that authenticated with that name. Keys and state are only read. No DNS queries are sent.`,
		Example: "  signpost sign mail.eml\n  signpost sign mail.eml --login ann@example.org\n  signpost sign mail.eml | signpost verify - --ip 192.0.2.25 --from ann@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			return sign(c.Context(), conf, args[0], o, c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		}),
	}
	f := c.Flags()
	f.StringVar(&o.ip, "ip", "", "the client's `ADDRESS`; the message comes by SMTP")
	f.StringVar(&o.login, "login", "", "the SASL login `NAME` of the client")
	f.StringVar(&o.from, "from", "", "MAIL FROM `ADDRESS`; empty for a bounce")
	f.BoolVar(&o.json, "json", false, "print everything as JSON instead of the message")
	cli.Complete(c, map[string]cobra.CompletionFunc{"ip": cli.Any(), "login": cli.Any(), "from": cli.Any()})
	return c
}

func (o signOptions) session() (milter.Session, error) {
	s := milter.Session{Client: netip.MustParseAddr("127.0.0.1"), SMTP: o.ip != "" || o.login != "", MTA: hostName()}
	if o.ip != "" {
		var err error
		if s.Client, err = netip.ParseAddr(o.ip); err != nil {
			return s, cli.Usage(fmt.Errorf("--ip %q is not an address", o.ip))
		}
	}
	return s, nil
}

func sign(ctx context.Context, conf *config.Config, file string, o signOptions, stdin io.Reader, stdout, stderr io.Writer) error {
	session, err := o.session()
	if err != nil {
		return err
	}
	input, err := openInput(file, stdin)
	if err != nil {
		return err
	}
	defer input.Close()
	text, err := io.ReadAll(input)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	fields, body, err := dkim.ReadMessage(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	snapshot, err := setup.Snapshot(conf)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	empty, err := dns.ParseZone(strings.NewReader(""), "")
	if err != nil {
		return err
	}
	var record decision.Record
	f := setup.Filter(conf, log)
	f.Observe = false
	f.Keys = func() *keys.Snapshot { return snapshot }
	f.Resolver = empty.Resolver(time.Now, log) // inbound mail is not verified here
	f.Finished = func(r *decision.Record) { record = *r }
	var signed bytes.Buffer // the part of the body that was read
	edits, reply, err := play(ctx, f, session, milter.Envelope{Sender: o.from, Login: o.login}, fields, io.TeeReader(body, &signed))
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if o.json {
		if err := term.WriteJSON(stdout, verified{record, edits}); err != nil {
			return err
		}
	}
	if record.Action != policy.Sign {
		return notSigned(&record, reply)
	}
	if conf.Observe {
		fmt.Fprintln(stderr, `signpost: warning: with mode = "observe" the daemon does not sign it`)
	}
	if long := policy.LongLines(record.LongLines); long != "" {
		fmt.Fprintf(stderr, "signpost: warning: %s\nhint: encode the text as quoted-printable or base64, and fold header fields\n", long)
	}
	if o.json {
		return nil
	}
	return write(stdout, edited(fields, edits), signed.Bytes(), !bytes.Contains(text, []byte("\r\n")))
}

func notSigned(r *decision.Record, reply milter.Reply) error {
	if reply.Code != 0 {
		return fmt.Errorf("not signed: role %s: %s; reply to the client: %d %s %s", r.Role, explain.Why(r), reply.Code, reply.Enhanced, reply.Text)
	}
	if r.Role == policy.RoleVerify {
		return fmt.Errorf("not signed: role %s: the client is neither authenticated nor in trusted_networks", r.Role)
	}
	return fmt.Errorf("not signed: role %s: %s", r.Role, explain.Why(r))
}

// edited applies the edits to the header in the same way as Postfix, and returns the new header.
func edited(fields []dkim.Field, edits milter.Edits) []dkim.Field {
	seen := map[string]int{}
	var all []dkim.Field
	for _, f := range fields {
		name := strings.ToLower(strings.TrimRight(f.Name, " \t"))
		seen[name]++
		if !slices.ContainsFunc(edits.Delete, func(d milter.Deletion) bool {
			return strings.EqualFold(d.Name, name) && d.Index == seen[name]
		}) {
			all = append(all, f)
		}
	}
	for _, in := range edits.Insert {
		all = slices.Insert(all, in.Index, dkim.Field{Name: in.Name, Value: in.Value})
	}
	return all
}

// write writes a message, with LF or CRLF at the end of each line.
func write(w io.Writer, fields []dkim.Field, body []byte, lf bool) error {
	var b bytes.Buffer
	for _, f := range fields {
		b.WriteString(f.Wire())
	}
	b.WriteString("\r\n")
	b.Write(body)
	out := b.Bytes()
	if lf {
		out = bytes.ReplaceAll(out, []byte("\r\n"), []byte("\n"))
	}
	_, err := w.Write(out)
	return err
}
