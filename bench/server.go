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

// These are the names of the builds of Signpost.
const (
	ours         = "signpost"
	baselineName = "baseline"
)

// server is a build of Signpost or an alternative to it. It consists of one milter, or of several that Postfix would use one after the
// other.
type server struct {
	name    string
	sockets []string
	roles   []string // the roles in which it is measured
	spf     bool     // the server checks SPF and DMARC as well as DKIM, and rejects forged mail
	slow    bool     // omitted from cells that would take minutes
	aside   bool     // a complete run measures this server only in the cells of targets
	cmds    []*exec.Cmd
}

func (s *server) does(role string) bool { return slices.Contains(s.roles, role) }

// pids returns the process IDs of all processes of the server.
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

// await waits until a server accepts connections at an address.
func await(ctx context.Context, network, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
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

// startSignpost starts a build of Signpost.
func (w *world) startSignpost(ctx context.Context, name, program string) (*server, error) {
	s := &server{name: name, roles: []string{signing, verifying}, spf: true}
	config, err := w.configure(s, "signpost.toml", `listen = ["unix:%DIR%/milter.sock"]
state_dir = "%DIR%/state"
authserv_id = "mx.example.net"
`)
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
