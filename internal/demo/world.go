package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"signpost/internal/testdns"
	"signpost/internal/testmta"
)

// world has the servers of the demo.
type world struct {
	dir, config, socket string
	dns                 *testdns.Server
	daemon              *exec.Cmd
	mta                 *testmta.MTA
	mails               int
	summary             []string
}

func newWorld(ctx context.Context) (*world, error) {
	dir, err := os.MkdirTemp("", "signpost-demo")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, config: filepath.Join(dir, "signpost.toml"), socket: filepath.Join(dir, "milter.sock")}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if w.dns, err = testdns.Start(records); err != nil {
		return nil, err
	}
	return w, w.configure("")
}

func (w *world) configure(more string) error {
	return os.WriteFile(w.config, fmt.Appendf(nil, "listen = [\"unix:%s\"]\nstate_dir = \"%s/state\"\n%s[dns]\nservers = [%q]\n", w.socket, w.dir, more, w.dns.Addr()), 0o644)
}

func (w *world) close() (err error) {
	if w.mta != nil {
		err = w.mta.Stop()
	}
	if w.daemon != nil {
		err = errors.Join(err, w.stopDaemon())
	}
	w.dns.Stop()
	return errors.Join(err, os.RemoveAll(w.dir))
}

func (w *world) sum(line string) { w.summary = append(w.summary, line) }

// start runs the daemon and a Postfix in front of it.
func (w *world) start(ctx context.Context) (err error) {
	if err := w.startDaemon(ctx); err != nil {
		return err
	}
	w.mta, err = testmta.Start(ctx, testmta.Options{Milters: "unix:" + w.socket, NonSMTPDMilters: "unix:" + w.socket, Domains: []string{"example.net"}})
	return err
}

func (w *world) startDaemon(ctx context.Context) error {
	w.daemon = exec.Command("bin/signpost", "serve", "-c", w.config)
	w.daemon.Stderr = os.Stdout
	if err := w.daemon.Start(); err != nil {
		return err
	}
	for {
		c, err := new(net.Dialer).DialContext(ctx, "unix", w.socket)
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

func (w *world) stopDaemon() error {
	_ = w.daemon.Process.Signal(syscall.SIGTERM)
	err := w.daemon.Wait()
	w.daemon = nil
	return err
}

func (w *world) restart(ctx context.Context, more string) error {
	if err := errors.Join(w.stopDaemon(), w.configure(more)); err != nil {
		return err
	}
	return w.startDaemon(ctx)
}

// send sends a message to Bob with swaks, and returns the delivered message.
func (w *world) send(ctx context.Context, args ...string) (string, error) {
	transcript, err := testmta.Swaks(ctx, append([]string{"--server", w.mta.SMTP, "--to", "bob@example.net"}, args...)...)
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, transcript)
	}
	w.mails++
	mails, err := w.mta.WaitMail(ctx, w.mails)
	if err != nil {
		return "", err
	}
	mail := mails[w.mails-1]
	showResults(mail)
	return mail, nil
}

// bring sends an existing message. It first removes the fields that were added at the top when the message was delivered.
func (w *world) bring(ctx context.Context, mail string, args ...string) (string, error) {
	_, mail, _ = strings.Cut(mail, "\nDKIM-Signature:")
	file := filepath.Join(w.dir, "mail.eml")
	if err := os.WriteFile(file, []byte("DKIM-Signature:"+mail), 0o644); err != nil {
		return "", err
	}
	return w.send(ctx, append(args, "--data", "@"+file)...)
}

// refused sends a message to Bob with swaks, and returns the reply that rejects it.
func (w *world) refused(ctx context.Context, args ...string) (string, error) {
	transcript, err := testmta.Swaks(ctx, append([]string{"--server", w.mta.SMTP, "--to", "bob@example.net"}, args...)...)
	_, reply, found := strings.Cut(transcript, "<** 550 ")
	if err == nil || !found {
		return "", fmt.Errorf("not rejected:\n%s", transcript)
	}
	reply, _, _ = strings.Cut("550 "+reply, "\n")
	fmt.Println("the SMTP reply:", reply)
	return reply, nil
}

// showResults prints the fields that Signpost wrote.
func showResults(mail string) {
	written := false
	header, _, _ := strings.Cut(mail, "\n\n")
	for line := range strings.SplitSeq(header, "\n") {
		if !strings.HasPrefix(line, "\t") {
			written = strings.HasPrefix(line, "Authentication-Results: ") || strings.HasPrefix(line, "X-Signpost-Disposition: ")
		}
		if written {
			fmt.Println(line)
		}
	}
}

// dkimkey runs bin/dkimkey, shows its output, and returns its standard output.
func (w *world) dkimkey(ctx context.Context, args ...string) (string, error) {
	fmt.Println("$ dkimkey", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, "bin/dkimkey", append([]string{"-c", w.config}, args...)...)
	cmd.Stderr = os.Stdout
	out, err := cmd.Output()
	fmt.Print(string(out))
	return string(out), err
}

// publish adds the zone text of dkimkey's output to the name server, and looks up the records over the network.
func (w *world) publish(ctx context.Context, printed string) (map[string]string, error) {
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
	if err := w.dns.SetZone(records + zone.String()); err != nil {
		return nil, err
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, w.dns.Addr())
	}}
	keys := map[string]string{}
	for _, name := range names {
		txt, err := resolver.LookupTXT(ctx, name+".")
		if err != nil || len(txt) != 1 {
			return nil, fmt.Errorf("looking up %s at %s: %q, %w", name, w.dns.Addr(), txt, err)
		}
		fmt.Printf("%s: %d bytes at %s\n", name, len(txt[0]), w.dns.Addr())
		keys[name] = txt[0]
	}
	return keys, nil
}
