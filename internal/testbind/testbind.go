// Package testbind runs a private BIND 9 or Knot DNS on loopback, for tests that publish records and look them up.
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

// Secret is the TSIG secret (hmac-sha256) of the keys "signpost" and "stranger". The key "signpost" may update every zone. BIND knows the
// key "stranger", but that key may not update any zone.
const Secret = "c2lnbnBvc3QgdGVzdCBrZXksIG5vdCBhIHNlY3JldC4="

// Server is a running named(8), or knotd(8).
type Server struct {
	Host    string // an address of 127.0.0.0/8
	Port    uint16
	dir     string
	release func() // releases the port
	argv    []string
	cmd     *exec.Cmd
	done    chan struct{}
}

// Start serves zones (name -> zone file) at host, an address of the loopback interface, on a free port. A zone with $INCLUDE or "; static"
// does not accept UPDATE. A zone with "; hidden" answers no query. Start returns when named answers.
func Start(ctx context.Context, host string, zones map[string]string) (*Server, error) {
	return start(ctx, host, 0, zones, (*Server).configure, "named", "-g", "-n", "1", "-c")
}

// StartAt is like Start, at a given port. It is for a network namespace, where no other test has this port. A zone whose text is
// "secondary of ADDRESS" is transferred from the server with this address and the same port, without NOTIFY: it lags by up to the refresh time of
// its SOA record.
func StartAt(ctx context.Context, host string, port uint16, zones map[string]string) (*Server, error) {
	return start(ctx, host, port, zones, (*Server).configure, "named", "-g", "-n", "1", "-c")
}

// start starts a name server with the file that configure writes. It appends the name of the file to argv. If port is 0, it takes a free port.
func start(ctx context.Context, host string, port uint16, zones map[string]string, configure func(*Server, map[string]string) error, argv ...string) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp("", "testbind")
	if err != nil {
		return nil, err
	}
	s := &Server{Host: host, Port: port, dir: dir, release: func() {}}
	if port == 0 {
		free, release, err := testport.Take(host)
		if err != nil {
			return nil, err
		}
		s.Port, s.release = uint16(free), release
	}
	if err := configure(s, zones); err != nil {
		return nil, err
	}
	s.argv = append(argv, s.conf())
	if err := s.Restart(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) conf() string { return filepath.Join(s.dir, "server.conf") }

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
		if primary, ok := strings.CutPrefix(text, "secondary of "); ok {
			fmt.Fprintf(&conf, "zone \"%s\" { type secondary; file \"%s\"; primaries port %d { %s; }; min-refresh-time 1; allow-notify { none; }; };\n", name, file, s.Port, primary)
			continue
		}
		if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o644); err != nil {
			return err
		}
		update := "allow-update { key \"signpost\"; }; "
		if name == "example.org." {
			// As docs/rotation.md recommends.
			update = "update-policy { grant signpost wildcard *._domainkey.example.org. TXT; }; "
		}
		if strings.Contains(text, "$INCLUDE") || strings.Contains(text, "; static") {
			update = "" // maintained by hand
		}
		if strings.Contains(text, "; hidden") {
			update += "allow-query { none; }; "
		}
		fmt.Fprintf(&conf, "zone \"%s\" { type primary; file \"%s\"; %s};\n", name, file, update)
	}
	return os.WriteFile(s.conf(), []byte(conf.String()), 0o644)
}

// Restart starts named again at the same address.
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

// Addr returns host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, fmt.Sprint(s.Port)) }

// Dir returns the directory of the server. The file of a zone there is named "example.org.zone", for example.
func (s *Server) Dir() string { return s.dir }

// Log returns the output of the server so far.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// PID returns the process ID of the name server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Halt stops the name server and keeps its directory.
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

// Stop stops the name server and removes its directory.
func (s *Server) Stop() error {
	s.Halt()
	s.release()
	return os.RemoveAll(s.dir)
}

// TXT returns the TXT records of a name.
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

// StartKnot is like Start, but uses Knot DNS. The key "signpost" may update all zones.
func StartKnot(ctx context.Context, host string, zones map[string]string) (*Server, error) {
	return start(ctx, host, 0, zones, (*Server).configureKnot, "knotd", "-c")
}

func (s *Server) configureKnot(zones map[string]string) error {
	var conf strings.Builder
	fmt.Fprintf(&conf, `server:
  rundir: "%[1]s"
  listen: %[2]s@%[3]d
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
log:
  - target: stderr
    any: info
database:
  storage: "%[1]s"
key:
  - id: signpost
    algorithm: hmac-sha256
    secret: "%[4]s"
acl:
  - id: update
    key: signpost
    action: update
zone:
`, s.dir, s.Host, s.Port, Secret)
	for name, text := range zones {
		file := filepath.Join(s.dir, name+"zone")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&conf, "  - domain: %q\n    file: %q\n    acl: update\n    storage: %q\n", name, file, s.dir)
	}
	return os.WriteFile(s.conf(), []byte(conf.String()), 0o644)
}
