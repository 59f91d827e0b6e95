// Command demo shows Signpost at work: a private Postfix, the daemon, a name server on loopback, a user's mail, and what
// leaves. Nothing of the system is touched, and everything is gone at the end. `make demo` runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"signpost/internal/testdkim"
	"signpost/internal/testdns"
	"signpost/internal/testmta"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := demo(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Printf("\n== "+format+"\n", args...) }

func demo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "signpost-demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	config := filepath.Join(dir, "signpost.toml")
	socket := filepath.Join(dir, "milter.sock")
	if err := os.WriteFile(config, fmt.Appendf(nil, "listen = [\"unix:%s\"]\nstate_dir = \"%s/state\"\n", socket, dir), 0o644); err != nil {
		return err
	}

	say("dkimkey makes a key for example.org, and what belongs into DNS")
	zone, err := dkimkey(ctx, config, "add", "example.org", "--algorithm", "rsa,ed25519")
	if err != nil {
		return err
	}
	say("a name server on loopback gets the records")
	records, err := serveRecords(ctx, zone)
	if err != nil {
		return err
	}
	say("the records are there, so the keys may sign")
	if _, err := dkimkey(ctx, config, "add", "example.org", "--algorithm", "rsa,ed25519", "--unsafe-activate"); err != nil {
		return err
	}

	say("signpost serve, and a private Postfix with smtpd_milters = unix:%s", socket)
	daemon := exec.Command("bin/signpost", "serve", "-c", config)
	daemon.Stderr = os.Stdout
	if err := daemon.Start(); err != nil {
		return err
	}
	defer func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		err = errors.Join(err, daemon.Wait())
	}()
	if err := waitSocket(ctx, socket); err != nil {
		return err
	}
	mta, err := testmta.Start(ctx, testmta.Options{Milters: "unix:" + socket, NonSMTPDMilters: "unix:" + socket, Domains: []string{"example.net"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mta.Stop()) }()

	say("Ann, logged in, writes to Bob")
	transcript, err := testmta.Swaks(ctx, "--server", mta.SMTP, "--xclient", "ADDR=192.0.2.10 NAME=pc.example.org LOGIN=ann",
		"--from", "ann@example.org", "--to", "bob@example.net", "--h-From", "Ann <ann@example.org>", "--h-Subject", "Lunch?", "--body", "At noon?")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, transcript)
	}
	mails, err := mta.WaitMail(ctx, 1)
	if err != nil {
		return err
	}
	say("what Bob gets")
	fmt.Println(mails[0])

	say("what dkimpy, another implementation, says of it")
	wire := []byte(strings.ReplaceAll(mails[0], "\n", "\r\n"))
	opinions, err := testdkim.DKIMPyVerify(ctx, wire, records)
	if err != nil {
		return err
	}
	good := len(opinions) == 2
	for _, o := range opinions {
		fmt.Printf("d=%s s=%s: verifies: %v %s\n", o.Domain, o.Selector, o.OK, o.Detail)
		good = good && o.OK
	}
	if !good {
		return errors.New("the mail does not carry two signatures that verify")
	}

	say("a stranger writes in Ann's name: not signed")
	if transcript, err = testmta.Swaks(ctx, "--server", mta.SMTP, "--xclient", "ADDR=203.0.113.9 NAME=mail.stranger.example",
		"--from", "ann@example.org", "--to", "bob@example.net", "--h-From", "Ann <ann@example.org>"); err != nil {
		return fmt.Errorf("%w\n%s", err, transcript)
	}
	if mails, err = mta.WaitMail(ctx, 2); err != nil {
		return err
	}
	if strings.Contains(mails[1], "DKIM-Signature") {
		return errors.New("the stranger's mail was signed")
	}

	say("Summary\nAnn's mail left signed with an RSA and an Ed25519 key, and an independent program verified both against DNS.\n" +
		"The stranger's mail in her name was not signed. The daemon's log above says why, one line a message.")
	return nil
}

// dkimkey runs bin/dkimkey, shows what it prints, and gives its standard output.
func dkimkey(ctx context.Context, config string, args ...string) (string, error) {
	fmt.Println("$ dkimkey", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, "bin/dkimkey", append([]string{"-c", config}, args...)...)
	cmd.Stderr = os.Stdout
	out, err := cmd.Output()
	fmt.Print(string(out))
	return string(out), err
}

// serveRecords puts the zone text of dkimkey's output into a name server and reads the records back over the network.
func serveRecords(ctx context.Context, printed string) (map[string]string, error) {
	var zone strings.Builder
	var names []string
	open := false
	for line := range strings.Lines(printed) {
		if name, _, ok := strings.Cut(line, ". 3600 IN TXT ("); ok {
			names, open = append(names, name), true
		}
		if open {
			zone.WriteString(line)
		}
		open = open && !strings.HasSuffix(line, ")\n")
	}
	server, err := testdns.Start(zone.String())
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Addr())
	}}
	records := map[string]string{}
	for _, name := range names {
		txt, err := resolver.LookupTXT(ctx, name+".")
		if err != nil || len(txt) != 1 {
			return nil, fmt.Errorf("looking up %s at %s: %q, %w", name, server.Addr(), txt, err)
		}
		fmt.Printf("%s: %d octets at %s\n", name, len(txt[0]), server.Addr())
		records[name] = txt[0]
	}
	return records, nil
}

func waitSocket(ctx context.Context, path string) error {
	for {
		c, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the daemon: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
