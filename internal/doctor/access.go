package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ServiceUser is the user of the daemon, as in dist/sysusers.conf.
const ServiceUser = "signpost"

// Account is a user with its groups, as initgroups(3) sets them. Postfix calls initgroups(3) too.
type Account struct {
	Name string
	UID  uint32
	GIDs []uint32 // the primary group first
}

// LookupAccount returns the account of the user with this name.
func LookupAccount(name string) (*Account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("looking up the groups of %s: %w", name, err)
	}
	var ids []uint32
	for _, id := range append([]string{u.Uid, u.Gid}, groups...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		ids = append(ids, uint32(n))
	}
	return &Account{Name: name, UID: ids[0], GIDs: ids[1:]}, nil
}

// The permission bits.
const (
	Search fs.FileMode = 1 // of a directory
	Write  fs.FileMode = 2 // a process also needs it for connect(2) to a socket
	Read   fs.FileMode = 4
)

// Permissions are the owner, group and mode of a file. They do not include access control lists.
type Permissions struct {
	UID, GID uint32
	Mode     fs.FileMode
}

// PermissionsOf returns the permissions in fi.
func PermissionsOf(fi fs.FileInfo) Permissions {
	st := fi.Sys().(*syscall.Stat_t)
	return Permissions{st.Uid, st.Gid, fi.Mode()}
}

// Class returns the class of permissions that applies to account a: its letter, as in chmod(1), and its permission bits.
func (a *Account) Class(p Permissions) (letter string, bits fs.FileMode) {
	mode := p.Mode.Perm()
	switch {
	case a.UID == p.UID:
		return "u", mode >> 6 & 7
	case slices.Contains(a.GIDs, p.GID):
		return "g", mode >> 3 & 7
	}
	return "o", mode & 7
}

// May reports whether a has all permissions in want.
func (a *Account) May(p Permissions, want fs.FileMode) bool {
	_, bits := a.Class(p)
	return a.UID == 0 || bits&want == want
}

// Barrier is the first directory on a path that an account cannot search.
type Barrier struct {
	Path        string
	Permissions Permissions
	Err         error // the error of stat(2); nil if stat succeeded and the permissions deny access
}

// Barrier checks the path from one directory to another below it. It returns the first directory that account a cannot search, or nil. It
// follows symbolic links and checks the directories of their targets too.
func (a *Account) Barrier(from, to string) *Barrier {
	dirs := dirsBetween(from, to)
	if real, err := filepath.EvalSymlinks(to); err == nil && real != filepath.Clean(to) {
		start := "/"
		if r, err := filepath.EvalSymlinks(from); err == nil && Within(r, real) {
			start = r
		}
		dirs = append(dirs, dirsBetween(start, real)...)
	}
	for _, d := range dirs {
		fi, err := os.Stat(d)
		if err != nil {
			return &Barrier{Path: d, Err: err}
		}
		if !fi.IsDir() {
			return &Barrier{Path: d, Err: syscall.ENOTDIR}
		}
		if p := PermissionsOf(fi); !a.May(p, Search) {
			return &Barrier{Path: d, Permissions: p}
		}
	}
	return nil
}

// dirsBetween returns the directories on the path from one directory to another below it, including the first and the last.
func dirsBetween(from, to string) []string {
	all := []string{to}
	for d := filepath.Clean(to); d != filepath.Clean(from) && d != "/" && d != "."; {
		d = filepath.Dir(d)
		all = append(all, d)
	}
	slices.Reverse(all)
	return all
}

// Within reports whether path is dir or lies below it.
func Within(dir, path string) bool {
	dir, path = filepath.Clean(dir), filepath.Clean(path)
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func (p Permissions) String() string {
	return fmt.Sprintf("owner %s, group %s, mode %s", UserName(p.UID), GroupName(p.GID), Octal(p.Mode))
}

// Octal returns a mode in octal, for chmod(1).
func Octal(m fs.FileMode) string {
	n := uint32(m.Perm())
	for bit, is := range map[uint32]bool{0o4000: m&fs.ModeSetuid != 0, 0o2000: m&fs.ModeSetgid != 0, 0o1000: m&fs.ModeSticky != 0} {
		if is {
			n |= bit
		}
	}
	return fmt.Sprintf("%04o", n)
}

// UserName returns the name of a user, or the UID if it has no name.
func UserName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// GroupName returns the name of a group, or the GID if it has no name.
func GroupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
