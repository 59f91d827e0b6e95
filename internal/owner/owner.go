// Package owner determines the owner of the directories of a path, so that root does not follow symbolic links of another user. Find
// returns a Place, which Open opens safely. Act makes root act as the owner:
//
//	back, err := owner.Act("/var/lib/signpost/journal/journal.db")
//	defer back()
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

// Place is a path whose symbolic links are resolved up to the first directory that another user owns.
type Place struct {
	Dir      string // without symbolic links: the first directory of the path that another user owns, or the parent of the path
	Rest     string // the path below Dir
	Foreign  bool   // root only: another user owns Dir and controls its content
	UID, GID int    // of Dir
	info     fs.FileInfo
}

// maxLinks is the kernel's limit of symbolic links in a path.
const maxLinks = 40

// Find resolves an absolute path. Its last element does not have to exist. Find returns an error for a symbolic link that another user
// owns. It distinguishes owners only if root calls it. If another user calls Find, it treats no directory as foreign.
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
				return Place{}, fmt.Errorf("%s: is a symbolic link owned by another user; root does not follow it", next)
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

// elements splits a path. It keeps "..", because the meaning of ".." depends on the links before it.
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

// Open opens the parent directory of the path and returns it with the name of the last element. Symbolic links below Dir cannot lead out
// of Dir. Open returns an error if Dir was replaced after Find.
func (p Place) Open() (*os.Root, string, error) {
	root, err := durable.OpenDir(p.Dir)
	if err != nil {
		return nil, "", err
	}
	fi, err := root.Stat(".")
	if err == nil && !os.SameFile(fi, p.info) {
		err = fmt.Errorf("%s: the directory was replaced while it was opened", p.Dir)
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

// Act makes root act as the owner of the first directory of path that another user owns. It is for libraries that open files by their
// paths, such as SQLite. The kernel then applies the permissions of this user, so the user's symbolic links lead only to files that the
// user can access. back makes the process act as root again. Act and back affect all threads of the process. For other callers, and if
// root owns all directories, Act does nothing.
func Act(path string) (back func() error, err error) {
	back = func() error { return nil }
	if os.Geteuid() != 0 {
		return back, nil
	}
	p, err := Find(path)
	if errors.Is(err, fs.ErrNotExist) { // the path does not exist, and root owns all its existing directories
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
		return back, errors.Join(fmt.Errorf("acting as user %d, the owner of %s: %w", p.UID, p.Dir, err), undo())
	}
	return undo, nil
}

// primaryGroup returns the primary group of the owner. It is used instead of the group of the directory, which may have more permissions.
func (p Place) primaryGroup() int {
	if u, err := user.LookupId(strconv.Itoa(p.UID)); err == nil {
		if gid, err := strconv.Atoi(u.Gid); err == nil {
			return gid
		}
	}
	return p.GID
}

// User returns the owner of a directory, or of the directory of a file. If the caller cannot stat that directory, User returns the owner of
// the nearest parent directory that the caller can stat. uid is -1 if there is none. The name of a user without a passwd entry is "#UID".
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
