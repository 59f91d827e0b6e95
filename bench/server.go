package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// The names of Signpost in the tables: as installed, without its journal, and another build of it.
const (
	ours          = "signpost"
	noJournalName = "signpost without journal"
	baselineName  = "baseline"
)

// server is a build of Signpost or an alternative to it. It consists of one milter, or of several that Postfix would use one after the
// other.
type server struct {
	name    string
	sockets []string
	roles   []string        // the roles in which it is measured
	spf     bool            // it checks SPF and DMARC as well as DKIM, and rejects forged mail
	slow    bool            // omitted from cells that would take minutes
	only    func(cell) bool // in a complete run, measured only in these cells; nil: in all
	cmds    []*exec.Cmd
}

func (s *server) does(role string) bool { return slices.Contains(s.roles, role) }

// measuredIn reports whether the server is measured in a cell. A selection that is not the complete run includes all its cells.
func (s *server) measuredIn(c cell, whole bool) bool {
	return s.does(c.role) && !(s.slow && c.tedious()) && !(whole && s.only != nil && !s.only(c))
}

// pids returns all its processes.
func (s *server) pids() []int {
	var all []int
	for _, cmd := range s.cmds {
		all = append(all, family(cmd.Process.Pid)...)
	}
	return all
}

// start runs a program in the background and waits until it accepts connections at a socket in dir. The output of the program is
// written to a log file in dir.
func (s *server) start(ctx context.Context, dir, socket string, argv ...string) error {
	socket = filepath.Join(dir, socket)
	logFile := filepath.Join(dir, filepath.Base(argv[0])+".log")
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmds = append(s.cmds, cmd)
	s.sockets = append(s.sockets, socket)
	if err := await(ctx, "unix", socket); err != nil {
		text, _ := os.ReadFile(logFile)
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// startTimeout is the time in which a server must accept connections. On a busy machine, rspamd compiles its patterns for half a minute.
const startTimeout = 2 * time.Minute

// await waits until a server accepts connections at an address.
func await(ctx context.Context, network, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		c, err := net.Dial(network, addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no process listens at %s: %w", addr, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop stops the server and waits until it has ended.
func (s *server) stop() {
	for _, cmd := range s.cmds {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}
}

// signpostConf has the default settings, so the journal is enabled.
const signpostConf = `listen = ["unix:%DIR%/milter.sock"]
state_dir = "%DIR%/state"
authserv_id = "mx.example.net"
`

const withoutJournal = `[journal]
enabled = false
`

// startSignpost starts a build of Signpost.
func (w *world) startSignpost(ctx context.Context, name, program string) (*server, error) {
	s := &server{name: name, roles: []string{signing, verifying}, spf: true}
	conf := signpostConf
	if name == noJournalName {
		s.only = ofJournal
		conf += withoutJournal
	}
	config, err := w.configure(s, "signpost.toml", conf)
	if err != nil {
		return nil, err
	}
	// The command reports that no name server has the record, because the record is not published. The check of the answers shows
	// whether the key signs.
	out, err := exec.CommandContext(ctx, "bin/dkimkey", "-c", config, "import", w.keyFile, "--domain", "example.org", "--selector", selector, "--unsafe-activate").CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("importing the key: %w\n%s", err, out)
	}
	return s, s.start(ctx, w.serverDir(s), "milter.sock", program, "serve", "-c", config)
}
