// Package owner finds out who owns the directories of a path. Root must not follow the links that another user can plant there.
package owner

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"signpost/internal/durable"
)

// Place is a path whose symbolic links are resolved as far as only root can change them.
type Place struct {
	Dir      string // has no symbolic link: the first directory on the way that another user owns, or else the parent of the path
	Rest     string // the path below Dir
	Foreign  bool   // for root: another user owns Dir, and decides what is below it
	UID, GID int    // of Dir
	info     fs.FileInfo
}

// maxLinks is the kernel's limit of symbolic links on the way to a file.
const maxLinks = 40

// Find resolves an absolute path. Its last element need not exist. Only root distinguishes owners: for other callers, no
// directory is foreign.
func Find(path string) (Place, error) {
	at, rest, links := "/", elements(path), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		fi, err := os.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) && len(rest) == 0 {
			at = next
			break
		}
		if err != nil {
			return Place{}, err
		}
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			if foreign(fi) {
				return Place{}, fmt.Errorf("%s: is a symbolic link that another user owns: not followed", next)
			}
			target, err := os.Readlink(next)
			if links++; err == nil && links > maxLinks {
				err = &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
			}
			if err != nil {
				return Place{}, err
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(elements(target), rest...)
		case fi.IsDir() && foreign(fi):
			return place(next, cmp.Or(filepath.Join(rest...), "."), fi), nil
		default:
			at = next
		}
	}
	dir := filepath.Dir(at)
	fi, err := os.Lstat(dir)
	if err != nil {
		return Place{}, err
	}
	return place(dir, filepath.Base(at), fi), nil
}

// elements splits a path. It keeps "..", which depends on the links before it.
func elements(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

func place(dir, rest string, fi fs.FileInfo) Place {
	p := Place{Dir: dir, Rest: rest, Foreign: foreign(fi), info: fi}
	if s, ok := fi.Sys().(*syscall.Stat_t); ok {
		p.UID, p.GID = int(s.Uid), int(s.Gid)
	}
	return p
}

func foreign(fi fs.FileInfo) bool {
	s, ok := fi.Sys().(*syscall.Stat_t)
	return os.Geteuid() == 0 && (!ok || s.Uid != 0)
}

// Open opens the directory of the path, and returns the name in it. Nothing below Dir leads out of it.
func (p Place) Open() (*os.Root, string, error) {
	root, err := durable.OpenDir(p.Dir)
	if err != nil {
		return nil, "", err
	}
	fi, err := root.Stat(".")
	if err == nil && !os.SameFile(fi, p.info) {
		err = fmt.Errorf("%s: was replaced in the meantime", p.Dir)
	}
	if dir := filepath.Dir(p.Rest); err == nil && dir != "." {
		var below *os.Root
		if below, err = durable.OpenDirIn(root, dir); err == nil {
			root.Close()
			return below, filepath.Base(p.Rest), nil
		}
	}
	if err != nil {
		root.Close()
		return nil, "", err
	}
	return root, p.Rest, nil
}

// Act has root act as the owner of the first directory on the way to path that another user owns, for programs such as SQLite
// that open files by their paths. The kernel then applies this user's permissions, so that the user's symbolic links lead to
// nothing that the user cannot reach. back makes the process act as root again. Both concern the whole process, all threads
// of it. For other callers, and where root owns all directories, Act does nothing.
func Act(path string) (back func() error, err error) {
	back = func() error { return nil }
	if os.Geteuid() != 0 {
		return back, nil
	}
	p, err := Find(path)
	if errors.Is(err, fs.ErrNotExist) { // root's own directories end before the path does
		return back, nil
	}
	if err != nil || !p.Foreign {
		return back, err
	}
	groups, err := os.Getgroups()
	if err != nil {
		return back, err
	}
	group := os.Getegid()
	undo := func() error {
		return errors.Join(syscall.Seteuid(0), syscall.Setegid(group), syscall.Setgroups(groups))
	}
	gid := p.primaryGroup()
	err = syscall.Setgroups([]int{gid})
	if err == nil {
		err = syscall.Setegid(gid)
	}
	if err == nil {
		err = syscall.Seteuid(p.UID)
	}
	if err != nil {
		return back, errors.Join(fmt.Errorf("acting as user %d, who owns %s: %w", p.UID, p.Dir, err), undo())
	}
	return undo, nil
}

// primaryGroup is that of the owner. The group of the directory may have more rights.
func (p Place) primaryGroup() int {
	if u, err := user.LookupId(strconv.Itoa(p.UID)); err == nil {
		if gid, err := strconv.Atoi(u.Gid); err == nil {
			return gid
		}
	}
	return p.GID
}

// User returns the user who owns a directory, or the directory of a file. If it does not exist, or the caller may not stat it, User
// returns the owner of the nearest directory above. uid is -1 if there is none. The name of a user without a passwd entry is "#UID".
func User(path string) (uid int, name string) {
	path, err := filepath.Abs(path)
	if err != nil {
		return -1, ""
	}
	for {
		fi, err := os.Stat(path)
		if s, ok := sys(fi, err); ok && fi.IsDir() {
			id := strconv.FormatUint(uint64(s.Uid), 10)
			if u, err := user.LookupId(id); err == nil {
				return int(s.Uid), u.Username
			}
			return int(s.Uid), "#" + id
		}
		if path == "/" {
			return -1, ""
		}
		path = filepath.Dir(path)
	}
}

func sys(fi fs.FileInfo, err error) (*syscall.Stat_t, bool) {
	if err != nil {
		return nil, false
	}
	s, ok := fi.Sys().(*syscall.Stat_t)
	return s, ok
}
