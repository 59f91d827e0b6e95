// Command demo demonstrates Signpost with a private Postfix, the daemon and a name server on loopback. It sends outbound and inbound
// mail and shows how the mail is handled. It changes nothing on the system, and removes all its files at the end. `make demo` runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/testdkim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := demo(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Printf("\n== "+format+"\n", args...) }

// records are the DNS records of the domains of the demo, except for their keys.
const records = `
example.org.                IN TXT "v=spf1 ip4:192.0.2.25 -all"
_dmarc.example.org.         IN TXT "v=DMARC1; p=reject"
_dmarc.quarantine.example.  IN TXT "v=DMARC1; p=quarantine"
_dmarc.none.example.        IN TXT "v=DMARC1; p=none"
stranger.example.           IN TXT "v=spf1 ip4:203.0.113.9 -all"
`

func demo(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("starting Postfix needs root")
	}
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	signed, err := sending(ctx, w)
	if err != nil {
		return err
	}
	if err := receiving(ctx, w, signed); err != nil {
		return err
	}
	say("the same daemon with mode = \"observe\", as in the first week, in parallel with existing filters")
	if err := w.restart(ctx, "mode = \"observe\"\n"); err != nil {
		return err
	}
	if err := observing(ctx, w); err != nil {
		return err
	}
	say("Summary")
	for _, line := range w.summary {
		fmt.Println(line)
	}
	fmt.Println("Each log line of the daemon above states the action for one message, and the reason.")
	return nil
}

// sending demonstrates outbound mail: keys, DNS, a user's message.
func sending(ctx context.Context, w *world) (signed string, err error) {
	say("dkimkey creates keys for example.org, and prints their DNS records")
	printed, err := w.dkimkey(ctx, "add", "example.org", "--algorithm", "rsa,ed25519")
	if err != nil {
		return "", err
	}
	say("a name server on loopback serves these records, and those of the other domains")
	fmt.Print(strings.TrimPrefix(records, "\n"))
	keys, err := w.publish(ctx, printed)
	if err != nil {
		return "", err
	}
	say("the records are in DNS, so the keys may sign")
	if _, err := w.dkimkey(ctx, "add", "example.org", "--algorithm", "rsa,ed25519", "--unsafe-activate"); err != nil {
		return "", err
	}
	say("signpost serve, and a private Postfix with smtpd_milters = unix:%s", w.socket)
	if err := w.start(ctx); err != nil {
		return "", err
	}

	say("Ann logs in and writes to Bob")
	mail, err := w.send(ctx, "--xclient", "ADDR=192.0.2.10 NAME=pc.example.org LOGIN=ann", "--from", "ann@example.org",
		"--h-From", "Ann <ann@example.org>", "--h-Subject", "Lunch?", "--body", "At noon?")
	if err != nil {
		return "", err
	}
	say("the signed message")
	fmt.Println(mail)
	say("the result of dkimpy, another implementation")
	opinions, err := testdkim.DKIMPyVerify(ctx, []byte(dkim.CRLF(mail)), keys)
	if err != nil {
		return "", err
	}
	good := len(opinions) == 2
	for _, o := range opinions {
		fmt.Printf("d=%s s=%s: verifies: %v %s\n", o.Domain, o.Selector, o.OK, o.Detail)
		good = good && o.OK
	}
	if !good {
		return "", errors.New("the message does not have two signatures that verify")
	}
	w.sum("Ann's mail                      signed with an RSA and an Ed25519 key; dkimpy verified both")
	return mail, nil
}

// receiving demonstrates inbound mail.
func receiving(ctx context.Context, w *world, signed string) error {
	say("Ann's message arrives at another server like this one, from 192.0.2.25")
	mail, err := w.bring(ctx, signed, "--xclient", "ADDR=192.0.2.25 NAME=mail.example.org", "--helo", "mail.example.org", "--from", "ann@example.org")
	if err != nil {
		return err
	}
	if err := want(mail, "spf=pass", "dkim=pass", "dmarc=pass"); err != nil {
		return err
	}
	w.sum("the same message, inbound       spf=pass dkim=pass dmarc=pass")

	say("an unauthenticated client forges Ann's address; example.org has p=reject")
	reply, err := w.refused(ctx, append(forger(), "--h-From", "Ann <ann@example.org>", "--body", "Pay this.")...)
	if err != nil {
		return err
	}
	w.sum("forged, p=reject                rejected: " + reply[:9] + ", with the reason in the reply")

	say("an unauthenticated client forges results of this server")
	mail, err = w.send(ctx, append(forger(), "--h-From", "Eve <x@stranger.example>", "--body", "Trust me.",
		"--add-header", "Authentication-Results: mx.example.net; dmarc=pass header.from=bank.example",
		"--add-header", "Authentication-Results: (hidden) MX.Example.NET 1; dkim=pass header.d=bank.example")...)
	if err != nil {
		return err
	}
	if strings.Contains(mail, "bank.example") {
		return fmt.Errorf("a forged result was not removed:\n%s", mail)
	}
	w.sum("forged Authentication-Results   both removed; the field of this server is at the top")

	say("an unauthenticated client forges an address of a domain with p=none")
	if mail, err = w.send(ctx, append(forger(), "--h-From", "a@none.example")...); err != nil {
		return err
	}
	if err := want(mail, "dmarc=fail", "policy.dmarc=none"); err != nil {
		return err
	}
	w.sum("forged, p=none                  delivered, with dmarc=fail in its results")

	say("an unauthenticated client forges an address of a domain with p=quarantine")
	if mail, err = w.send(ctx, append(forger(), "--h-From", "a@quarantine.example")...); err != nil {
		return err
	}
	if err := want(mail, "dmarc=fail", "X-Signpost-Disposition: quarantine; "); err != nil {
		return err
	}
	w.sum("forged, p=quarantine            delivered, tagged X-Signpost-Disposition: quarantine")
	return nil
}

func observing(ctx context.Context, w *world) error {
	for _, author := range []string{"ann@example.org", "a@quarantine.example"} {
		mail, err := w.send(ctx, append(forger(), "--h-From", author)...)
		if err != nil {
			return err
		}
		if err := want(mail, "Authentication-Results: observe.mx.example.net;", "dmarc=fail"); err != nil {
			return err
		}
		if strings.Contains(mail, "X-Signpost-Disposition") {
			return fmt.Errorf("tagged in observe mode:\n%s", mail)
		}
	}
	w.sum("both forgeries, observe mode    delivered; results with authserv-id observe.mx.example.net; the log states the action of enforce mode")
	return nil
}

func forger() []string {
	return []string{"--xclient", "ADDR=203.0.113.9 NAME=mail.stranger.example", "--helo", "mail.stranger.example", "--from", "x@stranger.example"}
}

func want(mail string, parts ...string) error {
	for _, p := range parts {
		if !strings.Contains(mail, p) {
			return fmt.Errorf("the message does not contain %q:\n%s", p, mail)
		}
	}
	return nil
}
