package allowlist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go4.org/netipx"

	"signpost/internal/cli"
	"signpost/internal/dns"
	"signpost/internal/spfset"
)

// Print writes the list of domains to Stdout.
func (m *Maker) Print(ctx context.Context, r *dns.Resolver, domains []string) error {
	found, err := m.look(ctx, r, domains)
	if err != nil {
		return err
	}
	var parts []listed
	for _, f := range found {
		if f.err != nil {
			m.warn("%s; %s", f.why(), f.rest())
		}
		if f.err != nil && f.answer.Empty() {
			continue
		}
		m.informNew(f, nil)
		parts = append(parts, listed{f.domain, f.answer.Networks, f.answer.Notes})
	}
	if len(parts) == 0 {
		return nil
	}
	l := newList(parts)
	four, six, _ := l.blocks(nil, m.Now())
	_, err = io.WriteString(m.Stdout, m.render(l, four, six, m.Now()))
	return err
}

// file is the current file.
type file struct {
	exists bool
	text   string
	set    *netipx.IPSet // not nil
}

// maxList is the maximum size of a list and of its state in bytes. greyskip does not create larger files.
const maxList = 64 << 20

// open reads the file that will be replaced. It returns an error if greyskip did not create the file.
func open(at *place) (f file, err error) {
	f.set = spfset.Of()
	data, err := at.read()
	if absent(err) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	f.text = string(data)
	if f.exists = f.text != ""; f.exists && !strings.HasPrefix(f.text, mark) {
		return f, fmt.Errorf("%s: not created by greyskip, according to its first line; move it, or pass another file", at.path())
	}
	f.set = networksIn(f.text)
	return f, nil
}

// Update replaces the file Output if its contents have changed, writes the state file beside it, and runs the reload command.
func (m *Maker) Update(ctx context.Context, r *dns.Resolver, domains []string) error {
	at, err := locate(m.Output)
	if err != nil {
		return err
	}
	defer at.close()
	old, err := open(at)
	if err != nil {
		return err
	}
	if !m.DryRun {
		unlock, err := at.lock()
		if err != nil {
			return err
		}
		defer unlock()
		if old, err = open(at); err != nil { // another run may have replaced the file before this run got the lock
			return err
		}
	}
	stateAt, err := locate(at.path() + ".state")
	if err != nil {
		return err
	}
	defer stateAt.close()
	s, lost := readState(stateAt)
	switch {
	case lost != nil && !absent(lost):
		m.warn("%s", cli.Text(lost))
	case lost != nil && old.exists:
		m.warn("%s does not exist, although %s does; it will be recreated", stateAt.path(), m.Output)
	}
	found, err := m.look(ctx, r, domains)
	if err != nil {
		return err
	}
	if err := manyFail(found); err != nil {
		return m.notChanged(err)
	}
	if i := slices.IndexFunc(found, func(f finding) bool { return f.err != nil }); i >= 0 && lost != nil && old.exists {
		return m.notChanged(fmt.Errorf("%s: %w, and its last good answer is unknown", found[i].domain, found[i].err))
	}
	before := list{s.parts(), old.set}
	l := newList(m.updateState(s, found))
	return m.replace(ctx, at, old, before, l, s, stateAt)
}

// notChanged adds "the file was not changed" to an error.
func (m *Maker) notChanged(err error) error {
	if _, none := os.Stat(m.Output); absent(none) {
		return fmt.Errorf("%w: %s was not created", err, m.Output)
	}
	return fmt.Errorf("%w: %s was not changed", err, m.Output)
}

// replace replaces the file if its contents have changed. It also writes the state.
func (m *Maker) replace(ctx context.Context, at *place, old file, before, l list, s *state, stateAt *place) error {
	four, six, days := l.blocks(s.Since, m.Now())
	if old.exists && m.render(l, four, six, s.Made) == old.text {
		return m.keepFile(ctx, s, stateAt)
	}
	text := m.render(l, four, six, m.Now())
	lines, more, fewer := changes(before, l)
	if m.Diff {
		for _, line := range lines {
			fmt.Fprintln(m.Stdout, line)
		}
	}
	if why := m.checkSize(old, l); why != nil {
		if !m.DryRun {
			why = errors.Join(why, s.write(stateAt))
		}
		return why
	}
	if m.DryRun {
		fmt.Fprintf(m.Stdout, "%s would be replaced; networks: %d added, %d removed\n", m.Output, more, fewer)
		return nil
	}
	if err := m.checkByPostfix(ctx, text, l.set); err != nil {
		return m.notChanged(err)
	}
	d, err := at.newDraft([]byte(text))
	if err != nil {
		return m.notChanged(err)
	}
	s.Made, s.Since, s.ReloadDue = m.Now().UTC(), days, m.Reload != ""
	if err := s.write(stateAt); err != nil {
		d.Discard()
		return m.notChanged(err)
	}
	if err := at.use(d); err != nil {
		return err
	}
	return m.runReload(ctx, s, stateAt)
}

// keepFile is called if the file is up to date. It writes only the state.
func (m *Maker) keepFile(ctx context.Context, s *state, stateAt *place) error {
	if m.DryRun {
		fmt.Fprintf(m.Stdout, "%s would not change\n", m.Output)
		return nil
	}
	if err := s.write(stateAt); err != nil {
		return err
	}
	return m.runReload(ctx, s, stateAt)
}

// checkSize returns an error if the size of the list changes by more than half, unless --force is set.
func (m *Maker) checkSize(old file, l list) error {
	if m.Force {
		return nil
	}
	four, six := size(old.set)
	now4, now6 := size(l.set)
	for _, f := range []struct {
		family   string
		was, now float64
	}{{"IPv4", four, now4}, {"IPv6", six, now6}} {
		word := "shrink"
		switch {
		case f.was > 0 && f.now > 1.5*f.was:
			word = "grow"
		case f.now < f.was/2:
		default:
			continue
		}
		return fmt.Errorf("the list would %s from %.4g to %.4g %s addresses, by more than half: %s was not changed; check the changes with --diff --dry-run, then pass --force",
			word, f.was, f.now, f.family, m.Output)
	}
	return nil
}
