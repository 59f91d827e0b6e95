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
)

// Secret is the TSIG secret of the key "signpost", hmac-sha256, which may update every zone.
const Secret = "c2lnbnBvc3QgdGVzdCBrZXksIG5vdCBhIHNlY3JldC4="

// Server is a running named(8), or knotd(8).
type Server struct {
	Host string // an address of 127.0.0.0/8
	Port uint16
	dir  string
	argv []string
	cmd  *exec.Cmd
	done chan struct{}
}

// Start serves zones (name -> zone file) at host, on a port that is free, or on port where that is not 0. A zone whose
// text begins with "secondary ADDRESS" is transferred from there; one with an $INCLUDE, or "; static", takes no UPDATE. It returns when named answers.
func Start(ctx context.Context, host string, port uint16, zones map[string]string) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp("", "testbind")
	if err != nil {
		return nil, err
	}
	s := &Server{Host: host, Port: port, dir: dir}
	if port == 0 {
		if s.Port, err = freePort(host); err != nil {
			return nil, err
		}
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

func freePort(host string) (uint16, error) {
	for range 20 {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return 0, err
		}
		port := ln.Addr().(*net.TCPAddr).Port
		udp, err := net.ListenPacket("udp", ln.Addr().String())
		ln.Close()
		if err == nil {
			udp.Close()
			return uint16(port), nil
		}
	}
	return 0, errors.New("no free port")
}

func (s *Server) configure(zones map[string]string) error {
	var conf strings.Builder
	fmt.Fprintf(&conf, `options { directory "%s"; listen-on port %d { %s; }; listen-on-v6 { none; }; pid-file none; session-keyfile none;
	recursion no; dnssec-validation no; notify explicit; allow-transfer { any; }; empty-zones-enable no; minimal-responses no; };
controls { };
key "signpost" { algorithm hmac-sha256; secret "%s"; };
`, s.dir, s.Port, s.Host, Secret)
	for name, text := range zones {
		file := name + "zone"
		if primary, ok := strings.CutPrefix(text, "secondary "); ok {
			fmt.Fprintf(&conf, "zone \"%s\" { type secondary; primaries port %d { %s; }; file \"%s\"; };\n", name, s.Port, primary, file)
			continue
		}
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
