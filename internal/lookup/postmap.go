package lookup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Postmap looks up keys with postmap(1), so it knows each table type of the installed Postfix. It runs one process for each lookup.
type Postmap struct {
	Program   string // default: postmap
	ConfigDir string // of Postfix; default: that of postmap
}

// killDelay limits the wait for the output of a process that was killed.
const killDelay = time.Second

// maxLog limits the messages of postmap, in bytes. If they are longer, the fatal one may be missing, because postmap writes it last.
const maxLog = 64 << 10

// Lookup implements Source. It kills postmap when ctx ends.
func (p Postmap) Lookup(ctx context.Context, table, key string) (Answer, error) {
	name, err := check(table, key)
	if err != nil {
		return Answer{}, err
	}
	if key == "-" { // postmap would read keys from its standard input
		return Answer{}, nil
	}
	args := []string{"-q", key, "--", name} // without "--", a table such as -c:x would be an option
	if p.ConfigDir != "" {
		args = append([]string{"-c", p.ConfigDir}, args...)
	}
	program := p.Program
	if program == "" {
		program = "postmap"
	}
	// The directory of postmap may be missing in PATH.
	for _, dir := range []string{"/usr/sbin/", "/usr/local/sbin/"} {
		if _, err := exec.LookPath(program); err == nil || strings.Contains(program, "/") {
			break
		}
		if _, err := exec.LookPath(dir + program); err == nil {
			program = dir + program
		}
	}
	c := exec.CommandContext(ctx, program, args...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	if dir := os.Getenv("MAIL_CONFIG"); dir != "" {
		c.Env = append(c.Env, "MAIL_CONFIG="+dir)
	}
	c.WaitDelay = killDelay
	out, log := limited{limit: maxReply + 1}, limited{limit: maxLog}
	c.Stdout, c.Stderr = &out, &log
	err = c.Run()
	if ctx.Err() != nil {
		return Answer{}, failed(table, ctx.Err())
	}
	var exit *exec.ExitError
	switch message := fatal(log.String()); {
	case message != "":
		return Answer{}, &Error{Temporary, table, message}
	case errors.As(err, &exit) && exit.ExitCode() == 1 && out.Len() == 0 && log.Len() < maxLog:
		return Answer{}, nil // postmap(1): "1 if no requested information was found"
	case err != nil:
		return Answer{}, &Error{Temporary, table, oneLine("postmap: " + err.Error())}
	case out.Len() > maxReply:
		return Answer{}, &Error{Permanent, table, "the value is longer than 100000 bytes, the limit of socketmap_table(5)"}
	}
	return Answer{strings.TrimSuffix(out.String(), "\n"), true}, nil
}

// fatal returns the fatal error in the output of postmap, or "". The exit code is not enough: it is 1 after a fatal error and if the key is
// not found. Warnings are not errors, because another server of the same table may have answered.
func fatal(log string) string {
	for line := range strings.Lines(log) {
		for _, mark := range []string{": fatal: ", ": panic: "} {
			if _, message, ok := strings.Cut(line, mark); ok {
				return oneLine(message)
			}
		}
	}
	return ""
}

// limited keeps the first limit bytes and discards the rest. It does not embed the buffer, because io.Copy would call the buffer's ReadFrom,
// which has no limit.
type limited struct {
	kept  bytes.Buffer
	limit int
}

var _ io.Writer = (*limited)(nil)

func (l *limited) Write(p []byte) (int, error) {
	l.kept.Write(p[:min(len(p), l.limit-l.kept.Len())])
	return len(p), nil
}

func (l *limited) Len() int       { return l.kept.Len() }
func (l *limited) String() string { return l.kept.String() }
