// Package publish gets the records of keys into DNS: by DNS UPDATE (RFC 2136), through a zone file, or by a program of the operator's.
package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"signpost/keys"
)

// Command runs a program of the operator's for each change, with the change as JSON on its standard input. Exit code 0 means that the
// change is made.
type Command struct {
	Argv    []string
	Timeout time.Duration
}

// Publish runs the program.
func (p Command) Publish(ctx context.Context, c keys.Change) error {
	input, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return runProgram(ctx, "publish.argv", p.Argv, p.Timeout, append(input, '\n'))
}

// runProgram runs a program of the operator's, in a process group of its own, which is ended with it.
func runProgram(ctx context.Context, key string, argv []string, timeout time.Duration, stdin []byte) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %v (publish.timeout)", timeout)
	}
	output := strings.TrimSpace(out.String())
	if len(output) > maxOutput {
		output = output[:maxOutput] + "..."
	}
	if output != "" {
		err = fmt.Errorf("%w: it said: %s", err, strings.ReplaceAll(output, "\n", " | "))
	}
	return fmt.Errorf("running %s (%s): %w", argv[0], key, err)
}

// OneAtATime keeps two publications from running at the same time, in any process: the operator's programs and zone files
// serve several domains, and a domain's lock does not protect them.
type OneAtATime struct {
	keys.Publisher
	Store   keys.Store
	Timeout time.Duration // of the wait; the publication has its own
}

// publishLock is the name of the lock. No domain has this name.
const publishLock = "publish~"

// Publish waits for other publications, and publishes.
func (p OneAtATime) Publish(ctx context.Context, c keys.Change) error {
	store := p.Store
	store.Lease, store.LockTimeout = nil, p.Timeout // the lease of the domain stays
	unlock, err := store.Lock(ctx, publishLock)
	if busy := (*keys.Busy)(nil); errors.As(err, &busy) {
		return fmt.Errorf("%s is still publishing after %v (publish.timeout)", busy.Holder(), p.Timeout)
	}
	if err != nil {
		return err
	}
	defer unlock()
	return p.Publisher.Publish(ctx, c)
}

// maxOutput is how many bytes of a program's output are in an error.
const maxOutput = 500
