package doctor

import (
	"errors"
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

// serviceUser is who runs the daemon, as dist/sysusers.conf has it.
const serviceUser = "signpost"

// person is a user as the kernel sees a process of his that has all of his groups: initgroups(3), which Postfix calls too.
type person struct {
	name string
	uid  uint32
	gids []uint32 // his own first
}

func lookupPerson(name string) (*person, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("looking up the groups of %s: %w", name, err)
	}
	p := &person{name: name}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	p.uid = uint32(uid)
	for _, g := range append([]string{u.Gid}, groups...) {
		gid, err := strconv.ParseUint(g, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("groups of %s: %w", name, err)
		}
		if !slices.Contains(p.gids, uint32(gid)) {
			p.gids = append(p.gids, uint32(gid))
		}
	}
	return p, nil
}

// The rights that are asked for.
const (
	toSearch fs.FileMode = 1 // a folder
	toWrite  fs.FileMode = 2 // to a socket: what connect(2) needs
	toRead   fs.FileMode = 4
)

// rightsOf are what the kernel decides by.
type rightsOf struct {
	uid, gid uint32
	mode     fs.FileMode
}

func rightsIn(fi fs.FileInfo) rightsOf {
	st := fi.Sys().(*syscall.Stat_t)
	return rightsOf{st.Uid, st.Gid, fi.Mode()}
}

// class is the letter of chmod for the bits that count for p; only one class ever does.
func (p *person) class(r rightsOf) (letter string, bits fs.FileMode) {
	mode := r.mode.Perm()
	switch {
	case p.uid == r.uid:
		return "u", mode >> 6 & 7
	case slices.Contains(p.gids, r.gid):
		return "g", mode >> 3 & 7
	}
	return "o", mode & 7
}

func (p *person) may(r rightsOf, want fs.FileMode) bool {
	_, bits := p.class(r)
	return p.uid == 0 || bits&want == want
}

// barrier is the first folder on a way that stops a person.
type barrier struct {
	path   string
	rights rightsOf
	err    error // it is not there, or we may not look ourselves
}

// way goes from a folder to another below it; nil: nothing stops p. Links are followed, and what they lead through counts.
func (p *person) way(from, to string) *barrier {
	dirs := foldersBetween(from, to)
	if real, err := filepath.EvalSymlinks(to); err == nil && real != filepath.Clean(to) {
		start := "/"
		if r, err := filepath.EvalSymlinks(from); err == nil && within(r, real) {
			start = r
		}
		dirs = append(dirs, foldersBetween(start, real)...)
	}
	for _, d := range dirs {
		fi, err := os.Stat(d)
		if err != nil {
			return &barrier{path: d, err: err}
		}
		if !fi.IsDir() {
			return &barrier{path: d, err: syscall.ENOTDIR}
		}
		if r := rightsIn(fi); !p.may(r, toSearch) {
			return &barrier{path: d, rights: r}
		}
	}
	return nil
}

// foldersBetween are from and all below it down to to.
func foldersBetween(from, to string) []string {
	all := []string{to}
	for d := filepath.Clean(to); d != filepath.Clean(from) && d != "/" && d != "."; {
		d = filepath.Dir(d)
		all = append(all, d)
	}
	slices.Reverse(all)
	return all
}

// within says whether a path lies in a folder, or is it.
func within(dir, path string) bool {
	dir, path = filepath.Clean(dir), filepath.Clean(path)
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func (r rightsOf) String() string {
	return fmt.Sprintf("owner %s, group %s, mode %s", userName(r.uid), groupName(r.gid), octal(r.mode))
}

// octal is a mode as chmod takes it.
func octal(m fs.FileMode) string {
	n := uint32(m.Perm())
	for bit, is := range map[uint32]bool{0o4000: m&fs.ModeSetuid != 0, 0o2000: m&fs.ModeSetgid != 0, 0o1000: m&fs.ModeSticky != 0} {
		if is {
			n |= bit
		}
	}
	return fmt.Sprintf("%04o", n)
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// hidden is for what we have no right to look at: nothing is known, so nothing is called wrong.
func hidden(err error) (Finding, bool) {
	if !errors.Is(err, fs.ErrPermission) {
		return Finding{}, false
	}
	return Finding{Level: Yellow, What: "not looked at: user " + userName(uint32(os.Geteuid())) + " has no right to", Where: printable(err.Error()),
		Why: "whether it is right is not known", Fix: "sudo signpost doctor"}, true
}
