package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"signpost/internal/doctor"
)

// keyFile is a file or a directory below the keys directory.
type keyFile struct {
	path        string
	permissions doctor.Permissions
}

// keyFiles checks the permissions of the keys. A user who can read a private key can sign for its domain, and the daemon cannot sign with a
// key that it cannot read.
func (m *machine) keyFiles() (found []doctor.Finding) {
	dir := m.KeysDir
	fi, err := os.Stat(dir)
	if err != nil {
		return []doctor.Finding{doctor.OrNotPermitted(err, doctor.Finding{Level: doctor.Red, What: "the keys directory " + dir + " does not exist", Where: err.Error(),
			Why: "the daemon does not start without it", Fix: "install -d -o " + m.User + " -g " + m.User + " -m 0700 " + doctor.Quote(dir)})}
	}
	files, err := filesOfKeys(dir)
	if err != nil {
		return []doctor.Finding{doctor.OrNotPermitted(err, doctor.Finding{Level: doctor.Red, What: "cannot read the keys directory " + dir, Where: err.Error(),
			Why: "no mail can be signed", Fix: "ls -la " + doctor.Quote(dir)})}
	}
	p := doctor.PermissionsOf(fi)
	if m.service != nil && m.service.UID != 0 {
		found = m.unreadable(p, files)
	}
	foreign := func(gid uint32) bool { return m.service == nil || gid != m.service.GIDs[0] }
	if bits := p.Mode.Perm(); bits&0o002 != 0 || bits&0o020 != 0 && foreign(p.GID) {
		found = append(found, doctor.Finding{Level: doctor.Red, What: "other users can write to the keys directory " + dir, Where: dir + ": " + p.String(),
			Why: "any local user can add a key", Fix: "chmod 0700 " + doctor.Quote(dir)})
	}
	found = append(found, m.changeable(files, foreign)...)
	var open, mild []keyFile
	for _, f := range files {
		switch p := f.permissions.Mode.Perm(); {
		case !strings.HasSuffix(f.path, ".pem"):
		case p&0o007 != 0 || p&0o070 != 0 && foreign(f.permissions.GID):
			open = append(open, f)
		case p&0o070 != 0:
			mild = append(mild, f)
		}
	}
	if len(open) > 0 {
		found = append(found, doctor.Finding{Level: doctor.Red, What: "other users can read the private key " + open[0].path + andMore(open), Where: open[0].path + ": " + open[0].permissions.String(),
			Why: "a user who has read the key can sign for its domain; if this host has other local users, replace the key: dkimkey rotate", Fix: shut(dir, open)})
	}
	if len(mild) > 0 {
		found = append(found, doctor.Finding{Level: doctor.Yellow, What: "the daemon's group can read the private key " + mild[0].path + andMore(mild), Where: mild[0].path + ": " + mild[0].permissions.String(),
			Why: "each member of this group can sign for its domain", Fix: shut(dir, mild)})
	}
	if len(found) == 0 && m.KeysErr != nil {
		found = append(found, doctor.Finding{Level: doctor.Red, What: "cannot read the keys", Where: m.KeysErr.Error(), Why: "no mail can be signed", Fix: "dkimkey status"})
	}
	return found
}

// unreadable finds files that belong to another user, for example after root restored a backup. p has the permissions of the keys
// directory. Its owner should own all keys, because dkimkey creates files for that owner.
func (m *machine) unreadable(p doctor.Permissions, files []keyFile) []doctor.Finding {
	dir := m.KeysDir
	if f, at := m.barred(dir); at != "" {
		if at == m.StateDir {
			f.Fix = m.chown(at)
		}
		return []doctor.Finding{f}
	}
	all := "chown -R " + m.User + ":" + doctor.GroupName(m.service.GIDs[0]) + " " + doctor.Quote(dir)
	if p.UID != m.service.UID || !m.service.May(p, doctor.Read|doctor.Search) {
		return []doctor.Finding{{Level: doctor.Red, What: "the keys directory " + dir + " does not belong to user " + m.User, Where: dir + ": " + p.String(),
			Why: "dkimkey gives each new key to the owner of the directory; the daemon cannot read a key of another user", Fix: all + " && chmod 0700 " + doctor.Quote(dir)}}
	}
	files = slices.DeleteFunc(slices.Clone(files), func(f keyFile) bool {
		want := doctor.Read
		if f.permissions.Mode.IsDir() {
			want |= doctor.Search
		}
		return m.service.May(f.permissions, want)
	})
	if len(files) == 0 {
		return nil
	}
	f := m.closed(files[0].path, files[0].permissions, "", all+" && chmod -R u+rX "+doctor.Quote(dir))
	f.What += andMore(files)
	f.Why = "the daemon cannot sign with this key; mail that it cannot sign is deferred"
	return []doctor.Finding{f}
}

// changeable finds metadata and directories of domains that users other than the daemon and root can change. Such users could add or
// replace keys. changeable also finds a world-writable directory above the keys.
func (m *machine) changeable(files []keyFile, foreign func(gid uint32) bool) (found []doctor.Finding) {
	const why = "a user who can write there can replace the domain's key, or stop the signing of its mail"
	var open, owned []keyFile
	for _, f := range files {
		switch p := f.permissions; {
		case filepath.Ext(f.path) == ".pem" && !p.Mode.IsDir():
		case p.Mode.Perm()&0o002 != 0 || p.Mode.Perm()&0o020 != 0 && foreign(p.GID):
			open = append(open, f)
		case m.service != nil && p.UID != 0 && p.UID != m.service.UID && m.service.May(p, doctor.Read):
			owned = append(owned, f)
		}
	}
	if n := len(open); n > 0 {
		fix := "chmod go-w " + doctor.Quote(open[0].path)
		if n > 1 {
			fix = "find -L " + doctor.Quote(m.KeysDir) + " -not -name '*.pem' -exec chmod go-w {} +"
		}
		found = append(found, doctor.Finding{Level: doctor.Red, What: "other users can write to " + open[0].path + andCount(n), Where: open[0].path + ": " + open[0].permissions.String(), Why: why, Fix: fix})
	}
	if n := len(owned); n > 0 {
		found = append(found, doctor.Finding{Level: doctor.Red, What: "a user other than " + m.User + " owns " + owned[0].path + andCount(n), Where: owned[0].path + ": " + owned[0].permissions.String(), Why: why,
			Fix: "chown -R " + m.User + ":" + doctor.GroupName(m.service.GIDs[0]) + " " + doctor.Quote(m.KeysDir)})
	}
	for dir := filepath.Dir(filepath.Clean(m.KeysDir)); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		fi, err := os.Stat(dir)
		if err != nil || dir == filepath.Clean(m.StateDir) {
			continue
		}
		if p := doctor.PermissionsOf(fi); p.Mode.Perm()&0o002 != 0 && p.Mode&fs.ModeSticky == 0 {
			found = append(found, doctor.Finding{Level: doctor.Red, What: "any user can replace the keys: " + dir + " is world-writable", Where: dir + ": " + p.String(), Why: why, Fix: "chmod o-w " + doctor.Quote(dir)})
		}
	}
	return found
}

// andCount returns the end of a line: how many further files there are.
func andCount(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(", and %d more", n-1)
}

func andMore(files []keyFile) string {
	if len(files) == 1 {
		return ""
	}
	return ", and others"
}

// shut returns a command that lets only the owner read a private key, or all private keys.
func shut(dir string, files []keyFile) string {
	if len(files) == 1 {
		return "chmod 0600 " + doctor.Quote(files[0].path)
	}
	return "find " + doctor.Quote(dir) + " -name '*.pem' -exec chmod 0600 {} +"
}

// filesOfKeys returns the directories of the domains, the keys in them and their metadata. A link has the permissions of its target. Links
// without a target are omitted. Links to credentials are also omitted, because systemd protects credentials.
func filesOfKeys(dir string) (all []keyFile, err error) {
	domains, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range domains {
		domain := filepath.Join(dir, d.Name())
		fi, err := os.Stat(domain)
		if err != nil || !fi.IsDir() || strings.HasPrefix(d.Name(), ".") {
			continue
		}
		all = append(all, keyFile{domain, doctor.PermissionsOf(fi)})
		files, err := os.ReadDir(domain)
		if err != nil {
			return nil, err
		}
		for _, e := range files {
			path := filepath.Join(domain, e.Name())
			if ext := filepath.Ext(path); ext != ".pem" && ext != ".json" {
				continue
			}
			real, err := filepath.EvalSymlinks(path)
			if errors.Is(err, fs.ErrNotExist) || doctor.Within("/run/credentials", real) {
				continue
			}
			fi, err := os.Stat(path)
			if err != nil {
				return nil, err
			}
			all = append(all, keyFile{path, doctor.PermissionsOf(fi)})
		}
	}
	return all, nil
}
