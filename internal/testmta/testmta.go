// Package testmta runs a real, private Postfix on loopback for tests and for the demo. All its files are in one directory. It never
// changes the system's Postfix, its configuration or its queue.
//
// Peculiarities of Postfix that this package handles:
//   - virtual(8) quotes "From " lines in an mbox in a way that cannot be reversed, which would break body hashes. Mail is
//     therefore delivered to a maildir, byte for byte.
//   - in_flow_delay makes cleanup(8) pause for a second when mail arrives faster than it is delivered, which is always the
//     case for the first message after the start.
//   - permit_sasl_authenticated ignores the name of XCLIENT LOGIN unless smtpd_sasl_auth_enable is on. smtpd(8) then needs a
//     SASL server at the first connection: auth.go.
//   - smtpd(8) itself rejects a recipient whose transport is error(8). A recipient causes a bounce only
//     if smtpd(8) does not check it (smtpd_reject_unlisted_recipient = no).
package testmta

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"signpost/internal/testport"
)

const (
	// defaultWait is the timeout of every wait whose context has no deadline, so that a broken test fails instead of blocking.
	defaultWait = 30 * time.Second
	// tick is the time between checks of a condition.
	tick = 10 * time.Millisecond
	// startTries is the number of attempts to start, because another process may take the port before Postfix binds it.
	startTries = 3
	// stopGrace is the time after which Postfix's processes are killed.
	stopGrace = 10 * time.Second
)

// Options configure the Postfix. The zero value is valid and has no domain.
type Options struct {
	Milters         string            // smtpd_milters of every smtpd service, e.g. "unix:/path" or "inet:127.0.0.1:8891"
	NonSMTPDMilters string            // non_smtpd_milters
	Domains         []string          // domains whose mail is delivered here, for every local part; other mail bounces
	Unknown         []string          // addresses in Domains that are accepted and then bounce with 5.1.1
	MainCF          map[string]string // more main.cf settings; they take precedence
	MasterCF        string            // more services of master.cf
	Dir             string            // empty: a new temporary directory, which Stop removes; a directory of the caller is kept
}

// MTA is a running Postfix.
type MTA struct {
	Dir        string // holds etc, queue, data, mail and mail.log
	SMTP       string // host:port of the smtpd that represents port 25
	Submission string // of an smtpd with {daemon_name} ORIGINATING
	Reinject   string // of an smtpd for mail that a content filter returns, with milters and without content_filter

	temporary bool
	release   []func() // each releases a port
	auth      *authServer
	master    *os.Process
	gone      chan struct{} // closed when master has ended
	exit      error         // the reason; read it after gone is closed
	stop      sync.Once
	stopped   error
}

// Start returns when all services greet their clients, or when ctx ends.
func Start(ctx context.Context, o Options) (*MTA, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("starting Postfix: its master process needs root")
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var err error
	for range startTries {
		var m *MTA
		if m, err = start(ctx, o); err == nil {
			return m, nil
		}
		if !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	return nil, fmt.Errorf("starting Postfix: %w", err)
}

func start(ctx context.Context, o Options) (m *MTA, err error) {
	m = &MTA{Dir: o.Dir, gone: make(chan struct{})}
	if m.Dir == "" {
		if m.Dir, err = os.MkdirTemp("", "testmta"); err != nil {
			return nil, err
		}
		m.temporary = true
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w%s", err, m.logTail())
			err = errors.Join(err, m.Stop())
		}
	}()
	for _, addr := range []*string{&m.SMTP, &m.Submission, &m.Reinject} {
		port, release, err := testport.Take("127.0.0.1")
		if err != nil {
			return m, err
		}
		m.release = append(m.release, release)
		*addr = fmt.Sprintf("127.0.0.1:%d", port)
	}
	if m.auth, err = listenAuth(); err != nil {
		return m, err
	}
	if err = m.layOut(o); err != nil {
		return m, err
	}
	if err = m.launch(ctx); err != nil {
		return m, err
	}
	// master logs when it has bound every port; before that, another server might send the greeting.
	if err = m.WaitLog(ctx, "daemon started"); err != nil {
		return m, err
	}
	for _, addr := range []string{m.SMTP, m.Submission, m.Reinject} {
		if err = m.greeted(ctx, addr); err != nil {
			return m, err
		}
	}
	return m, nil
}

// launch runs master(8) as a child in its own session. When this process dies, even by SIGKILL, the kernel sends SIGTERM to master(8),
// which passes it on to its children. The kernel sends the signal when the thread that started the child ends, so the goroutine is locked
// to its thread.
func (m *MTA) launch(ctx context.Context) error {
	daemons, err := m.Run(ctx, "postconf", "-h", "daemon_directory")
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(strings.TrimSpace(daemons), "master"), "-c", m.etc())
	cmd.Env = cleanEnv()
	// master(8) reports errors only here until it has read its configuration.
	complaints, err := os.Create(m.complaints())
	if err != nil {
		return err
	}
	defer complaints.Close()
	cmd.Stderr = complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	started, gone := make(chan error), m.gone
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			m.exit = cmd.Wait()
			close(gone)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	m.master = cmd.Process
	return nil
}

// greeted waits for a 220 reply from addr.
func (m *MTA) greeted(ctx context.Context, addr string) error {
	for {
		s, err := Dial(ctx, addr)
		if err == nil {
			_, err = s.Expect(220)
			_ = s.Close()
		}
		if err == nil {
			return nil
		}
		if err := m.pause(ctx, "a greeting of "+addr); err != nil {
			return err
		}
	}
}

// Stop stops Postfix and all its processes and waits until they have ended. It removes the directory if Start created it. Stop may be
// called more than once.
func (m *MTA) Stop() error {
	m.stop.Do(func() { m.stopped = m.end() })
	return m.stopped
}

func (m *MTA) end() error {
	var errs []error
	if m.master != nil {
		errs = append(errs, m.endProcesses())
	}
	if m.auth != nil {
		m.auth.close()
	}
	if m.temporary {
		errs = append(errs, os.RemoveAll(m.Dir))
	}
	for _, release := range m.release {
		release()
	}
	return errors.Join(errs...)
}

// Restart stops Postfix, starts it again after a pause, and returns when all services greet their clients.
func (m *MTA) Restart(ctx context.Context, pause time.Duration) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := m.endProcesses(); err != nil {
		return err
	}
	time.Sleep(pause)
	m.gone = make(chan struct{})
	if err := m.launch(ctx); err != nil {
		return err
	}
	for _, addr := range []string{m.SMTP, m.Submission, m.Reinject} {
		if err := m.greeted(ctx, addr); err != nil {
			return err
		}
	}
	return nil
}

// endProcesses signals the process group, whose leader is master(8). The ID of the group remains valid after master(8) has crashed, and no
// other process can be in the group.
func (m *MTA) endProcesses() error {
	group := -m.master.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	limit := time.Now().Add(stopGrace)
	for {
		select {
		case <-m.gone:
			if errors.Is(syscall.Kill(group, 0), syscall.ESRCH) {
				return nil
			}
		default:
		}
		if time.Now().After(limit) {
			_ = syscall.Kill(group, syscall.SIGKILL)
			<-m.gone
			return fmt.Errorf("stopping Postfix: killed, not gone after %v", stopGrace)
		}
		time.Sleep(tick)
	}
}

// pause waits for a tick. It returns an error if Postfix or ctx has ended.
func (m *MTA) pause(ctx context.Context, what string) error {
	select {
	case <-m.gone:
		return fmt.Errorf("waiting for %s: Postfix has ended: %v", what, m.exit)
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
	case <-time.After(tick):
		return nil
	}
}

// bounded returns ctx with a deadline.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, defaultWait)
}

func (m *MTA) complaints() string       { return filepath.Join(m.Dir, "master.stderr") }
func (m *MTA) etc() string              { return filepath.Join(m.Dir, "etc") }
func (m *MTA) queue(name string) string { return filepath.Join(m.Dir, "queue", name) }
