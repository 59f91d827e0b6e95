package keys

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
)

// Change is what is to be done to the TXT record of a key.
type Change struct {
	Action   string `json:"action"` // "add", "replace" or "remove"
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
	Name     string `json:"name"` // of the record, without a final dot
	Type     string `json:"type"` // "TXT"
	TTL      int    `json:"ttl"`  // seconds
	Text     string `json:"text,omitempty"`
	// Strings is Text as a TXT record has it, each of 255 octets at most.
	Strings []string `json:"strings,omitempty"`
}

// The actions. Each may be done again without harm.
const (
	Add     = "add"
	Replace = "replace"
	Remove  = "remove"
)

// Publisher gets records into DNS. Publish returns when the change is made where it is made; the world may see it later.
type Publisher interface {
	Publish(ctx context.Context, c Change) error
}

func newChange(action string, l *Life, ttl time.Duration, text string) Change {
	c := Change{Action: action, Domain: l.Domain, Selector: l.Selector, Name: RecordName(l.Domain, l.Selector), Type: "TXT", TTL: int(ttl / time.Second), Text: text}
	for rest := text; rest != ""; {
		n := min(len(rest), maxString)
		c.Strings = append(c.Strings, rest[:n])
		rest = rest[n:]
	}
	return c
}

// Command runs a program of the operator's for each change, with the change as JSON on its standard input. Exit code 0
// says that it is done.
type Command struct {
	Argv    []string
	Timeout time.Duration
}

// Publish runs the program.
func (p Command) Publish(ctx context.Context, c Change) error {
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
	said := strings.TrimSpace(out.String())
	if len(said) > maxSaid {
		said = said[:maxSaid] + "..."
	}
	if said != "" {
		err = fmt.Errorf("%w: it said: %s", err, strings.ReplaceAll(said, "\n", " | "))
	}
	return fmt.Errorf("running %s (%s): %w", argv[0], key, err)
}

// OneAtATime keeps two publications from running at the same time, in any process: the operator's programs and zone files
// serve several domains, and a domain's lock does not protect them.
type OneAtATime struct {
	Publisher
	Store   Store
	Timeout time.Duration // of the wait; the publication has its own
}

// publishLock is the name of the lock. No domain has it.
const publishLock = "publish~"

// Publish waits for other publications, and publishes.
func (p OneAtATime) Publish(ctx context.Context, c Change) error {
	store := p.Store
	store.Lease = nil // that of the domain stays
	unlock, err := store.lockWithin(ctx, publishLock, p.Timeout)
	if busy := (*Busy)(nil); errors.As(err, &busy) {
		return fmt.Errorf("%s is still publishing after %v (publish.timeout)", busy.holder(), p.Timeout)
	}
	if err != nil {
		return err
	}
	defer unlock()
	return p.Publisher.Publish(ctx, c)
}

// maxSaid is how much of what a program prints stands in an error.
const maxSaid = 500

func (r *Rotator) change(ctx context.Context, c Change) error {
	if err := r.Store.Lease.check(); err != nil {
		return err
	}
	p, err := r.Publisher(c.Domain)
	if err != nil {
		return err
	}
	r.Store.step("publish " + c.Action)
	return p.Publish(ctx, c)
}
