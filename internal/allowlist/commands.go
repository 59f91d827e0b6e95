package allowlist

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go4.org/netipx"

	"signpost/internal/term"
)

// maxCommand is the timeout of a command. postfix reload takes about a second.
const maxCommand = time.Minute

// checkByPostfix checks a new list for postscreen with postmap(1). Postfix must return permit for the first address of each network, and
// nothing for unlisted addresses. If Postfix is not installed, checkByPostfix does nothing. Postfix reads a copy of the list, because
// Postfix opens files by their paths, and another user may own the directory of the list.
func (m *Maker) checkByPostfix(ctx context.Context, text string, set *netipx.IPSet) error {
	postmap := findPostmap()
	if m.Format != Formats()[0] || postmap == "" {
		return nil
	}
	// Postfix reads this configuration instead of the host's, which may have errors.
	conf, err := os.MkdirTemp("", "greyskip-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(conf)
	file := filepath.Join(conf, "main.cf")
	if err := os.WriteFile(file, []byte("myhostname = localhost\n"), 0o600); err != nil {
		return err
	}
	if err := os.Chtimes(file, time.Time{}, time.Now().Add(-time.Minute)); err != nil { // Postfix delays reading a file that was changed seconds ago
		return err
	}
	path := filepath.Join(conf, "list.cidr")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	var asked, want strings.Builder
	for _, p := range set.Prefixes() {
		fmt.Fprintf(&asked, "%s\n", p.Addr())
		fmt.Fprintf(&want, "%s\tpermit\n", p.Addr())
	}
	for _, unlisted := range []string{"192.0.2.1", "2001:db8::1"} { // these addresses are from documentation networks, which are never listed
		asked.WriteString(unlisted + "\n")
	}
	ctx, cancel := context.WithTimeout(ctx, maxCommand)
	defer cancel()
	cmd := exec.CommandContext(ctx, postmap, "-c", conf, "-q", "-", "cidr:"+path)
	cmd.Stdin = strings.NewReader(asked.String())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() == 1 && out.Len() == 0 { // no address was found, which is correct for an empty list
		err = nil
	}
	if err != nil || errs.Len() > 0 {
		return fmt.Errorf("%s cannot read the new list: %w", postmap, errors.Join(err, errors.New(firstLine(errs.String()))))
	}
	if out.String() != want.String() {
		return fmt.Errorf("%s does not return the results of the new list", postmap)
	}
	return nil
}

// sbin contains the directories that are missing in the PATH of cron.
const sbin = ":/usr/local/sbin:/usr/sbin:/sbin"

// findPostmap returns the path of postmap(1), or "" if Postfix is not installed.
func findPostmap() string {
	for _, dir := range filepath.SplitList(os.Getenv("PATH") + sbin) {
		if path, err := exec.LookPath(filepath.Join(dir, "postmap")); err == nil && filepath.IsAbs(path) {
			return path
		}
	}
	return ""
}

// runReload runs the command of --reload if the file has changed, or if the command failed in an earlier run.
func (m *Maker) runReload(ctx context.Context, s *state, stateAt *place) error {
	if !s.ReloadDue || m.Reload == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxCommand)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", m.Reload)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+sbin)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s was replaced, but the command of --reload failed (%w: %s); the next run retries it", m.Output, err, term.Printable(lastLine(string(out))))
	}
	s.ReloadDue = false
	return s.write(stateAt)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
