package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/doctor"
	"signpost/internal/doctor/postfix"
	"signpost/internal/journal"
	"signpost/internal/owner"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/internal/trial"
	"signpost/keys"
)

// testOptions are the flags of signpost test.
type testOptions struct {
	trial.Options
	file, passwordFile, socket, postfix string
	addresses                           []string
	forge, json                         bool
	timeout                             time.Duration
}

// thisSocket is the value of --socket without an address.
const thisSocket = "listen"

func testCommand(load func() (*config.Config, error), file *string) *cobra.Command {
	o := testOptions{timeout: 20 * time.Second}
	c := &cobra.Command{
		Use:   "test [ADDRESS]",
		Short: "Send a test message through Postfix, and show what is wrong",
		Long: `Send a test message to ADDRESS with sendmail(1), and with --login another one by SMTP with this login. Wait for the records of both in
the journal, and show line by line: whether Postfix accepted the message, whether Signpost signed it, whether the records of the
keys are published, what receivers find, and whether Postfix delivered it. After the step that failed, the command shows the cause
and the fix, as doctor does.

The sender is --from, the login if it is an address, or else postmaster of the first hosted domain. Without ADDRESS, the message is sent to the
sender. Each run sends one message for each way, and never sends it again. Postfix sends no bounces of it. Run the command as root.

With --forge, send messages that have to be rejected: from an unauthenticated client, with a forged From. The recipient must be on
this host: if a table, alias or transport could send the message to another host, it is not sent.

With --socket, talk to the daemon alone, without Postfix: one message of a login and the forged messages. No mail is sent.

The Message-ID begins with "signpost-test.". docs/test.md describes the output.

Exit code 0: no finding is red; 1: at least one is; 2: usage or configuration error.`,
		Example: "  sudo signpost test\n  sudo signpost test ann@example.net --login bob@example.org --password-file /root/password\n  sudo signpost test --forge\n  sudo signpost test --socket",
		Args:    cobra.MaximumNArgs(1),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: loaded(load, func(c *cobra.Command, args []string, conf *config.Config) error {
			o.file = *file
			if len(args) > 0 {
				o.To = args[0]
			}
			if err := o.check(c.Flags().Changed("timeout")); err != nil {
				return cli.Usage(err)
			}
			site, err := newTrial(conf, &o, func(format string, a ...any) { term.Progress(c.ErrOrStderr(), format, a...) })
			if err != nil {
				return err
			}
			report, err := o.run(c.Context(), conf, site, c.InOrStdin(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			return printReport(c.OutOrStdout(), report, o.json)
		}),
	}
	f := c.Flags()
	f.StringVar(&o.From, "from", "", "`ADDRESS` of the sender")
	f.StringVar(&o.Login, "login", "", "also send by SMTP, with the SASL login `NAME`")
	f.StringVar(&o.passwordFile, "password-file", "", "read the password of the login from the first line of `FILE` (default: ask)")
	f.StringVar(&o.Server, "server", "", "`HOST:PORT` of the submission service or, with --forge, of the SMTP service (default: from master.cf)")
	f.BoolVar(&o.forge, "forge", false, "send messages that have to be rejected, to a local recipient")
	f.StringVar(&o.socket, "socket", "", "talk to the daemon alone, at the milter socket `ADDR` (default: the first of listen)")
	f.Lookup("socket").NoOptDefVal = thisSocket
	f.StringVar(&o.postfix, "postfix", "", "Postfix's configuration `DIR`")
	f.StringSliceVar(&o.addresses, "address", nil, "public address `ADDR` that this host sends from (repeatable)")
	f.DurationVar(&o.timeout, "timeout", o.timeout, "wait at most `TIME` for each message")
	f.BoolVar(&o.json, "json", false, "print everything as JSON (/usr/share/doc/signpost/docs/json.md)")
	cli.Complete(c, map[string]cobra.CompletionFunc{"from": cli.Any(), "login": cli.Any(), "password-file": cli.File(), "server": cli.Any(), "socket": cli.Any(),
		"postfix": cli.Directory(), "address": cli.Any(), "timeout": cli.Any()})
	return c
}

// check checks the flags.
func (o *testOptions) check(timeout bool) error {
	for _, address := range []*string{&o.From, &o.To} {
		if *address == "" {
			continue
		}
		var err error
		if *address, err = trial.Address(*address); err != nil {
			return err
		}
	}
	if o.Server != "" {
		if _, err := config.ParseListener("inet:" + o.Server); err != nil {
			return fmt.Errorf("--server: %q is not HOST:PORT", o.Server)
		}
	}
	if o.socket != "" && o.socket != thisSocket {
		if _, err := config.ParseListener(o.socket); err != nil {
			return fmt.Errorf("--socket: %w", err)
		}
	}
	for _, address := range o.addresses {
		if _, err := netip.ParseAddr(address); err != nil {
			return fmt.Errorf("--address: %q is not an IP address", address)
		}
	}
	switch {
	case timeout && (o.timeout < time.Second || o.timeout > time.Hour):
		return errors.New("--timeout: not between 1s and 1h")
	case o.forge && o.Login != "" && o.socket == "":
		return errors.New("--forge and --login exclude each other: forged mail comes from a client without a login")
	case o.passwordFile != "" && (o.Login == "" || o.socket != ""):
		return errors.New("--password-file requires --login")
	case strings.ContainsFunc(o.Login, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("--login contains a control character")
	}
	return nil
}

// run sends the messages.
func (o *testOptions) run(ctx context.Context, conf *config.Config, site *trial.Site, stdin io.Reader, stderr io.Writer) (trial.Report, error) {
	switch {
	case o.socket != "":
		ln := conf.Listen[0]
		if o.socket != thisSocket {
			ln, _ = config.ParseListener(o.socket) // check has parsed it
		}
		if o.Login == "" {
			o.Login = o.From
		}
		return site.Alone(ctx, o.Options, ln.Network, ln.Address)
	case o.forge:
		return site.Forge(ctx, o.Options)
	}
	if o.Login != "" {
		var err error
		if o.Password, err = o.password(ctx, stdin, stderr); err != nil {
			return trial.Report{}, err
		}
	}
	return site.Outbound(ctx, o.Options)
}

// password reads the password from the file or from the terminal.
func (o *testOptions) password(ctx context.Context, stdin io.Reader, stderr io.Writer) (string, error) {
	if o.passwordFile == "" {
		p, err := term.Password(ctx, stdin, stderr, "Password of "+term.Printable(o.Login)+": ")
		if errors.Is(err, term.ErrNoTerminal) {
			return "", cli.Usage(errors.New("--login needs a password: " + err.Error() + "\nhint: --password-file FILE"))
		}
		return p, err
	}
	return readPassword(o.passwordFile)
}

// maxPassword limits the first line of a password file, in bytes. waitForPassword limits the wait for another process that writes it.
const (
	maxPassword     = 1000
	waitForPassword = time.Minute
)

// readPassword returns the first line of a file that only this user, or root, can read and replace. The file may also be a pipe.
func readPassword(name string) (string, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // without waiting for a process that writes to a pipe
	if err != nil {
		return "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	if p := doctor.PermissionsOf(fi); fi.Mode().IsRegular() {
		path, err := filepath.Abs(name)
		var place owner.Place
		if err == nil {
			place, err = owner.Find(path)
		}
		switch {
		case err != nil:
			return "", err
		case place.Foreign:
			return "", fmt.Errorf("%s: another user owns the directory %s, and can replace the file\nhint: move it to a directory of root", name, place.Dir)
		case p.UID != 0 && int(p.UID) != os.Geteuid():
			return "", fmt.Errorf("%s: belongs to another user, who can change the password\nhint: chown %d %s", name, os.Geteuid(), doctor.Quote(name))
		case p.Mode.Perm()&0o077 != 0:
			return "", fmt.Errorf("%s: other users can read the password\nhint: chmod 600 %s", name, doctor.Quote(name))
		}
	}
	_ = f.SetReadDeadline(time.Now().Add(waitForPassword)) // not for a regular file
	line, err := bufio.NewReader(io.LimitReader(f, maxPassword)).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", fmt.Errorf("%s: timeout after %v", name, waitForPassword)
	case err != nil && err != io.EOF:
		return "", err
	case line == "" || len(line) >= maxPassword || strings.ContainsRune(line, 0):
		return "", fmt.Errorf("%s: the first line is no password: it is empty, has more than %d bytes, or contains a NUL", name, maxPassword)
	}
	return line, nil
}

// newTrial returns the site under test, and completes From and To.
func newTrial(conf *config.Config, o *testOptions, progress func(string, ...any)) (*trial.Site, error) {
	set, err := setup.KeyStore(conf).Load(nil)
	if err != nil {
		return nil, err
	}
	for _, k := range set.All() {
		if errors.Is(k.Err, fs.ErrPermission) && !k.Elsewhere {
			return nil, k.Err
		}
	}
	if o.From == "" {
		if o.From, err = trial.Address(o.Login); err != nil {
			domain := firstHosted(set)
			if domain == "" {
				return nil, errors.New("no domain has a key, so there is no sender\nhint: dkimkey add DOMAIN, or pass --from ADDRESS")
			}
			o.From = "postmaster@" + domain
		}
	}
	if o.To == "" {
		o.To = o.From
	}
	log := slog.New(slog.DiscardHandler)
	// Without a DNS server, the message is sent, and the steps about DNS fail.
	resolver, noResolver := setup.Resolver(conf, time.Now, log)
	authority, err := setup.Authority(conf, resolver, time.Now, log)
	noResolver = cmp.Or(noResolver, err)
	d := setup.Doctor{Config: conf, File: o.file, Postfix: o.postfix}
	for _, address := range o.addresses {
		d.Addresses = append(d.Addresses, netip.MustParseAddr(address))
	}
	checker := &keys.Checker{Authority: authority}
	return &trial.Site{
		Postfix: o.postfix, Postconf: postfix.Postconf(o.postfix), Ask: d.Table, Journal: conf.Journal.Enabled, Observe: conf.Observe, File: o.file,
		Timeout: o.timeout, Grace: o.timeout / 4, Progress: progress,
		Find: func(ctx context.Context, id string) ([]decision.Record, error) { return findRecords(ctx, conf, id) },
		Look: func(ctx context.Context, domain, selector string) (string, keys.Outcome) {
			if noResolver != nil {
				return "", keys.Outcome{Silent: true, Words: noResolver.Error()}
			}
			return look(ctx, checker, set, domain, selector)
		},
		DMARC: func(ctx context.Context, author string, signers []string) dmarc.Result {
			if noResolver != nil {
				return dmarc.Result{Status: dmarc.TempError, Failed: noResolver.Error()}
			}
			view := resolver.View(netip.Addr{})
			var ids []dmarc.Identifier
			for _, signer := range signers {
				ids = append(ids, dmarc.Identifier{Method: dmarc.DKIM, Domain: signer})
			}
			return dmarc.Discover(ctx, view, author).Evaluate(ctx, view, ids)
		},
		Doctor: d.Selected,
	}, nil
}

// firstHosted returns the first domain with an active key or, if there is none, the first domain with any key.
func firstHosted(set *keys.Set) string {
	all := set.Known()
	for _, domain := range all {
		if len(set.Signing(domain)) > 0 {
			return domain
		}
	}
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

// look compares the record of a key at all name servers with the key.
func look(ctx context.Context, checker *keys.Checker, set *keys.Set, domain, selector string) (string, keys.Outcome) {
	for _, k := range set.Of(domain) {
		if k.Selector != selector || k.Signer == nil {
			continue
		}
		metadata := k.Metadata
		if metadata == nil { // an unmanaged key
			text, err := dkim.FormatKeyRecord(k.Signer.Public())
			if err != nil {
				break
			}
			metadata = &keys.Metadata{Domain: domain, Selector: selector, Record: text}
		}
		return k.Algorithm, checker.Look(ctx, metadata, k.Signer).Outcome()
	}
	return "", keys.Outcome{Silent: true, Words: "the key is not in the keys directory"}
}

// findRecords returns the records of a message, the oldest first.
func findRecords(ctx context.Context, conf *config.Config, id string) ([]decision.Record, error) {
	back, err := owner.Act(conf.JournalFile())
	if err != nil {
		return nil, err
	}
	defer func() { _ = back() }()
	r, err := readJournal(conf)
	if errors.Is(err, journal.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	found, err := r.Find(ctx, id)
	var all []decision.Record
	for _, e := range slices.Backward(found) {
		all = append(all, e.Record)
	}
	return all, err
}

// printReport prints the messages and their findings. It returns an error if a finding is red.
func printReport(w io.Writer, r trial.Report, asJSON bool) error {
	if asJSON {
		if r.Other == nil {
			r.Other = []doctor.Finding{}
		}
		if err := term.WriteJSON(w, r); err != nil {
			return err
		}
	} else {
		for _, m := range r.Messages {
			fmt.Fprintln(w, term.Printable(fmt.Sprintf("%s: from %s to %s, Message-ID %s", m.Name, m.From, m.To, m.MessageID)))
			for _, edit := range m.Edits {
				fmt.Fprintf(w, "       %-5s  %s\n", "edit", term.Printable(term.Shorten(edit, 120)))
			}
			printEach(w, m.Findings)
			fmt.Fprintln(w)
		}
		if len(r.Other) > 0 {
			fmt.Fprintln(w, "other findings")
			printEach(w, r.Other)
		}
	}
	if r.Red() {
		return errors.New("action needed: at least one finding is red")
	}
	return nil
}
