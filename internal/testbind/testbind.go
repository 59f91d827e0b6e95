// Package testbind runs a private BIND 9 or Knot DNS on loopback, for tests of publishing and of looking.
package testbind

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

	"github.com/miekg/dns"

	"signpost/internal/testport"
)

// Secret is the TSIG secret of the key "signpost", hmac-sha256, which may update every zone, and of the key "stranger", which
// BIND knows and which may update none.
const Secret = "c2lnbnBvc3QgdGVzdCBrZXksIG5vdCBhIHNlY3JldC4="

// Server is a running named(8), or knotd(8).
type Server struct {
	Host string // an address of 127.0.0.0/8
	Port uint16
	dir  string
	// release gives the port back.
	release func()
	argv    []string
	cmd     *exec.Cmd
	done    chan struct{}
}

// Start serves zones (name -> zone file) at host, an address that the loopback interface has, on a free port. A zone with
// an $INCLUDE, or "; static", takes no UPDATE. It returns when named answers.
func Start(ctx context.Context, host string, zones map[string]string) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp("", "testbind")
	if err != nil {
		return nil, err
	}
	s := &Server{Host: host, dir: dir}
	if err := s.takePort(); err != nil {
		return nil, err
	}
	if err := s.configure(zones); err != nil {
		return nil, err
	}
	s.argv = []string{"named", "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf")}
	if err := s.Restart(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) configure(zones map[string]string) error {
	var conf strings.Builder
	fmt.Fprintf(&conf, `options { directory "%s"; listen-on port %d { %s; }; listen-on-v6 { none; }; pid-file none; session-keyfile none;
	recursion no; dnssec-validation no; notify explicit; allow-transfer { any; }; empty-zones-enable no; minimal-responses no; };
controls { };
key "signpost" { algorithm hmac-sha256; secret "%[4]s"; };
key "stranger" { algorithm hmac-sha256; secret "%[4]s"; };
`, s.dir, s.Port, s.Host, Secret)
	for name, text := range zones {
		file := name + "zone"
		if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o644); err != nil {
			return err
		}
		update := "allow-update { key \"signpost\"; }; "
		if name == "example.org." {
			// As docs/rotation.md advises.
			update = "update-policy { grant signpost wildcard *._domainkey.example.org. TXT; }; "
		}
		if strings.Contains(text, "$INCLUDE") || strings.Contains(text, "; static") {
			update = "" // written by hand
		}
		fmt.Fprintf(&conf, "zone \"%s\" { type primary; file \"%s\"; %s};\n", name, file, update)
	}
	return os.WriteFile(filepath.Join(s.dir, "named.conf"), []byte(conf.String()), 0o644)
}

func (s *Server) takePort() error {
	port, release, err := testport.Take(s.Host)
	s.Port, s.release = uint16(port), release
	return err
}

// Restart starts named, again where it was stopped.
func (s *Server) Restart(ctx context.Context) error {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.argv[0], s.argv[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	for {
		q := new(dns.Msg).SetQuestion(".", dns.TypeSOA)
		if _, err := dns.ExchangeContext(ctx, q, s.Addr()); err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("the name server ended:\n%s", s.Log())
		case <-ctx.Done():
			return fmt.Errorf("the name server does not answer: %w\n%s", ctx.Err(), s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, fmt.Sprint(s.Port)) }

// Dir is its folder; a zone's file is there as NAMEzone.
func (s *Server) Dir() string { return s.dir }

// Log is what it printed so far.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// PID is named's.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Reload has it read its zones again.
func (s *Server) Reload() error { return s.cmd.Process.Signal(syscall.SIGHUP) }

// Halt ends named and keeps its folder.
func (s *Server) Halt() {
	if s.done == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// Stop ends it and removes its folder.
func (s *Server) Stop() error {
	s.Halt()
	s.release()
	return os.RemoveAll(s.dir)
}

// TXT gives the TXT records of a name as it serves them.
func (s *Server) TXT(name string) ([]string, error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT)
	m, _, err := (&dns.Client{Net: "tcp"}).Exchange(q, s.Addr())
	if err != nil {
		return nil, err
	}
	var all []string
	for _, rr := range m.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			all = append(all, strings.Join(txt.Txt, ""))
		}
	}
	return all, nil
}
