package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

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
