// Package publish publishes the records of keys in DNS. [Update] uses DNS UPDATE (RFC 2136), [ZoneFile] writes a file that a zone
// includes, and [Command] runs a program of the operator. Each implements [keys.Publisher]:
//
//	var p keys.Publisher = publish.Command{Argv: []string{"/usr/local/bin/publish-dkim"}, Timeout: time.Minute}
//	err := p.Publish(ctx, change)
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

// Command runs a program of the operator for each change, with the change as JSON on its standard input. Exit code 0 means success.
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

// runProgram runs a program of the operator in a new process group. At the timeout, it kills the group.
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
		err = fmt.Errorf("timeout after %v (publish.timeout)", timeout)
	}
	output := strings.TrimSpace(out.String())
	if len(output) > maxOutput {
		output = output[:maxOutput] + "..."
	}
	if output != "" {
		err = fmt.Errorf("%w: output: %s", err, strings.ReplaceAll(output, "\n", " | "))
	}
	return fmt.Errorf("running %s (%s): %w", argv[0], key, err)
}

// OneAtATime serializes publications across all processes. The operator's programs and zone files serve several domains, and the lock
// of one domain does not protect them.
type OneAtATime struct {
	keys.Publisher
	Store   keys.Store
	Timeout time.Duration // for the lock
}

// publishLock is the name of the lock. It is not a valid domain name.
const publishLock = "publish~"

// Publish waits for other publications to finish, and then publishes.
func (p OneAtATime) Publish(ctx context.Context, c keys.Change) error {
	store := p.Store
	store.Lease, store.LockTimeout = nil, p.Timeout // this copy gets its own lease; p.Store keeps the lease of the domain
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

// maxOutput is the maximum number of bytes of a program's output that an error quotes.
const maxOutput = 500
