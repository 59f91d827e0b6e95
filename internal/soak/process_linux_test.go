package soak

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"signpost/internal/soak/judge"
)

// process is a program that can be killed, stopped and started again. All its output is in one file.
type process struct {
	name  string // with its host
	args  []string
	ready string // a text in the output of this start
	log   string
	after func() error // is called after each start; may be nil

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

const startTime = time.Minute

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	file, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	before, err := file.Seek(0, 2)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(p.done)
	for limit := time.Now().Add(startTime); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		if bytes.Contains(text[before:], []byte(p.ready)) {
			if p.after != nil {
				return p.after()
			}
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended:\n%s", p.name, text[before:])
		default:
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%s is not ready:\n%s", p.name, text[before:])
		}
	}
}

// end sends a signal and waits until the process has ended.
func (p *process) end(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Signal(signal)
	select {
	case <-p.done:
		return nil
	case <-time.After(startTime):
		_ = p.cmd.Process.Kill()
		return errors.Join(err, errors.New(p.name+" does not end"))
	}
}

func (p *process) signal(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Signal(signal)
}

// pid returns the process ID of the last start.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// sample returns the size of the process. ok is false if it is not running.
func (p *process) sample() (s judge.Sample, ok bool) {
	dir := filepath.Join("/proc", strconv.Itoa(p.pid()))
	s = judge.Sample{At: time.Now(), Process: p.name}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return s, false
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			s.Memory = kib << 10
		}
	}
	open, err := os.ReadDir(filepath.Join(dir, "fd"))
	s.Descriptors = len(open)
	return s, err == nil && s.Memory > 0
}
