package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"signpost/internal/dns"
	"signpost/internal/ranges"
)

// print writes the list to standard output.
func (e *env) print(ctx context.Context, r *dns.Resolver, domains []string) error {
	found, err := e.look(ctx, r, domains)
	if err != nil {
		return err
	}
	var parts []listed
	for _, f := range found {
		if f.err != nil {
			e.need("%s; %s", f.why(), f.rest())
		}
		if f.err != nil && f.answer.Networks.Empty() {
			continue
		}
		e.sayNew(f, nil)
		parts = append(parts, listed{f.domain, f.answer.Networks, f.answer.Notes})
	}
	if len(parts) == 0 {
		return nil
	}
	l := newList(parts)
	four, six, _ := l.blocks(nil, e.now())
	_, err = io.WriteString(e.stdout, e.render(l, four, six, e.now()))
	return err
}

// file is the list that is there.
type file struct {
	path   string // behind symbolic links
	exists bool
	text   string
	set    ranges.Set
}

// maxList is more than any list has: what is larger is another file.
const maxList = 64 << 20

// open reads the file that is to be replaced. What is not ours is not touched.
func open(path string) (file, error) {
	f := file{path: path}
	fi, err := os.Stat(path)
	if absent(err) {
		if _, err := os.Lstat(path); err == nil {
			return f, fmt.Errorf("%s: is a symbolic link to nothing", path)
		}
		return f, nil
	}
	if err != nil {
		return f, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxList {
		return f, fmt.Errorf("%s: is no file that greyskip made", path)
	}
	if f.path, err = filepath.EvalSymlinks(path); err != nil {
		return f, err
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return f, err
	}
	f.text = string(data)
	if f.exists = f.text != ""; f.exists && !strings.HasPrefix(f.text, mark) {
		return f, fmt.Errorf("%s: greyskip did not make it, by its first line; move it away, or name another file", path)
	}
	f.set = networksIn(f.text)
	return f, nil
}

// update brings the file up to date.
func (e *env) update(ctx context.Context, r *dns.Resolver, domains []string) error {
	old, err := open(e.output)
	if err != nil {
		return err
	}
	if !e.dry {
		unlock, err := lock(old.path)
		if err != nil {
			return err
		}
		defer unlock()
		if old, err = open(e.output); err != nil { // another run may have ended in between
			return err
		}
	}
	statePath := old.path + ".state"
	s, lost := readState(statePath)
	switch {
	case lost != nil && !absent(lost):
		e.need("%v", lost)
	case lost != nil && old.exists:
		e.need("%s is not there, although %s is; a new one is made", statePath, e.output)
	}
	found, err := e.look(ctx, r, domains)
	if err != nil {
		return err
	}
	if err := manyFail(found); err != nil {
		return e.stays(err)
	}
	if i := slices.IndexFunc(found, func(f finding) bool { return f.err != nil }); i >= 0 && lost != nil && old.exists {
		return e.stays(fmt.Errorf("%s: %w, and what it answered before is not known", found[i].domain, found[i].err))
	}
	before := list{s.parts(), old.set}
	l := newList(e.fold(s, found))
	return e.bring(ctx, old, before, l, s, statePath)
}

// stays is for what leaves the old file in its place.
func (e *env) stays(err error) error {
	if _, none := os.Stat(e.output); absent(none) {
		return fmt.Errorf("%w: %s is not made", err, e.output)
	}
	return fmt.Errorf("%w: %s stays as it is", err, e.output)
}

// bring replaces the file where it has to be, and remembers.
func (e *env) bring(ctx context.Context, old file, before, l list, s *state, statePath string) error {
	four, six, days := l.blocks(s.Since, e.now())
	if old.exists && e.render(l, four, six, s.Made) == old.text {
		return e.leave(ctx, s, statePath)
	}
	text := e.render(l, four, six, e.now())
	lines, more, fewer := changes(before, l)
	if e.diff {
		for _, line := range lines {
			fmt.Fprintln(e.stdout, line)
		}
	}
	if why := e.jump(old, l); why != nil {
		if !e.dry {
			why = errors.Join(why, s.write(statePath))
		}
		return why
	}
	if e.dry {
		fmt.Fprintf(e.stdout, "%s would be replaced; networks: %d more, %d fewer\n", e.output, more, fewer)
		return nil
	}
	d, err := newDraft(old.path, []byte(text))
	if err != nil {
		return e.stays(err)
	}
	if err := e.ask(ctx, d.tmp, l.set); err != nil {
		d.drop()
		return e.stays(err)
	}
	s.Made, s.Since, s.ReloadDue = e.now().UTC(), days, e.reload != ""
	if err := s.write(statePath); err != nil {
		d.drop()
		return e.stays(err)
	}
	if err := d.use(); err != nil {
		return err
	}
	return e.reloaded(ctx, s, statePath)
}

// leave is for a file that is as it should be.
func (e *env) leave(ctx context.Context, s *state, statePath string) error {
	if e.dry {
		fmt.Fprintf(e.stdout, "%s would stay as it is\n", e.output)
		return nil
	}
	if err := s.write(statePath); err != nil {
		return err
	}
	return e.reloaded(ctx, s, statePath)
}

// jump says that a list differs by more than half from the one that is there; nil where that is allowed.
func (e *env) jump(old file, l list) error {
	if e.force {
		return nil
	}
	four, six := old.set.Size()
	now4, now6 := l.set.Size()
	for _, f := range []struct {
		family   string
		was, now float64
	}{{"IPv4", four, now4}, {"IPv6", six, now6}} {
		word := "less"
		switch {
		case f.was > 0 && f.now > 1.5*f.was:
			word = "more"
		case f.now < f.was/2:
		default:
			continue
		}
		return fmt.Errorf("the list would have %.4g %s addresses instead of %.4g, %s by more than half: %s stays as it is; --diff --dry-run shows it, and --force does it",
			f.now, f.family, f.was, word, e.output)
	}
	return nil
}
