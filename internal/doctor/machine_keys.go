package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// keyFile is one file of the keys folder.
type keyFile struct {
	path   string
	rights rightsOf
}

// keyFiles: who can read a private key can sign as its domain, and what the daemon cannot read does not sign. service is nil
// where he is not known.
func (m Machine) keyFiles(service *person) (found []Finding) {
	dir := m.Config.KeysDir()
	fi, err := os.Stat(dir)
	if err != nil {
		if f, ok := hidden(err); ok {
			return []Finding{f}
		}
		return []Finding{{Level: Red, What: printable("the keys folder " + dir + " is not there"), Where: printable(err.Error()), Why: "the daemon does not start without it",
			Fix: "install -d -o " + m.User + " -g " + m.User + " -m 0700 " + quoted(dir)}}
	}
	files, err := filesOfKeys(dir)
	if err != nil {
		if f, ok := hidden(err); ok {
			return []Finding{f}
		}
		return []Finding{{Level: Red, What: printable("the keys folder " + dir + " cannot be read"), Where: printable(err.Error()), Why: "nothing can be signed", Fix: "ls -la " + quoted(dir)}}
	}
	r := rightsIn(fi)
	if service != nil && service.uid != 0 {
		found = m.unreadable(service, dir, r, files)
	}
	foreign := func(gid uint32) bool { return service == nil || gid != service.gids[0] }
	if p := r.mode.Perm(); p&0o002 != 0 || p&0o020 != 0 && foreign(r.gid) {
		found = append(found, Finding{Level: Red, What: printable("others may write in the keys folder " + dir), Where: printable(dir + ": " + r.String()),
			Why: "who has a login here can put a key of his own there", Fix: "chmod 0700 " + quoted(dir)})
	}
	var open, mild []keyFile
	for _, f := range files {
		switch p := f.rights.mode.Perm(); {
		case !strings.HasSuffix(f.path, ".pem"):
		case p&0o007 != 0 || p&0o070 != 0 && foreign(f.rights.gid):
			open = append(open, f)
		case p&0o070 != 0:
			mild = append(mild, f)
		}
	}
	if len(open) > 0 {
		found = append(found, Finding{Level: Red, What: printable("others may read the private key " + open[0].path + andMore(open)), Where: printable(open[0].path + ": " + open[0].rights.String()),
			Why: "whoever reads it can sign as its domain; if others have logins here, take a new key: dkimkey rotate", Fix: shut(dir, open)})
	}
	if len(mild) > 0 {
		found = append(found, Finding{Level: Yellow, What: printable("the daemon's group may read the private key " + mild[0].path + andMore(mild)), Where: printable(mild[0].path + ": " + mild[0].rights.String()),
			Why: "whoever is put into that group can sign as its domain", Fix: shut(dir, mild)})
	}
	if len(found) == 0 && m.Keys != nil {
		found = append(found, Finding{Level: Red, What: "the keys cannot be read", Where: printable(m.Keys.Error()), Why: "nothing can be signed", Fix: "dkimkey status"})
	}
	return found
}

// unreadable is about what belongs to somebody else, as after a backup was put back by root. dkimkey gives what it makes the
// owner of the folder.
func (m Machine) unreadable(service *person, dir string, r rightsOf, files []keyFile) []Finding {
	if b := service.way("/", filepath.Dir(dir)); b != nil && b.err == nil {
		letter, _ := service.class(b.rights)
		fix := "chmod " + letter + "+x " + quoted(b.path)
		if b.path == m.Config.StateDir {
			fix = m.own(service, b.path)
		}
		return []Finding{m.closed(b.path, b.rights, "search", fix)}
	}
	all := "chown -R " + m.User + ":" + groupName(service.gids[0]) + " " + quoted(dir)
	if r.uid != service.uid || !service.may(r, toRead|toSearch) {
		return []Finding{{Level: Red, What: printable("the keys folder " + dir + " is not the daemon's"), Where: printable(dir + ": " + r.String()),
			Why: "the daemon cannot read the keys, or not those that dkimkey makes next: they belong to the owner of the folder", Fix: all + " && chmod 0700 " + quoted(dir)}}
	}
	files = slices.DeleteFunc(slices.Clone(files), func(f keyFile) bool {
		want := toRead
		if f.rights.mode.IsDir() {
			want |= toSearch
		}
		return service.may(f.rights, want)
	})
	if len(files) == 0 {
		return nil
	}
	f := m.closed(files[0].path, files[0].rights, "", all+" && chmod -R u+rX "+quoted(dir))
	f.What += andMore(files)
	f.Why = "the daemon cannot sign with it; what it cannot sign is put off"
	return []Finding{f}
}

func andMore(files []keyFile) string {
	if len(files) == 1 {
		return ""
	}
	return ", and others"
}

// shut closes one file, or all of the folder.
func shut(dir string, files []keyFile) string {
	if len(files) == 1 {
		return "chmod 0600 " + quoted(files[0].path)
	}
	return "find " + quoted(dir) + " -name '*.pem' -exec chmod 0600 {} +"
}

// filesOfKeys are the domains' folders, the keys in them and their lives. A link is what it leads to; one that leads nowhere, or
// to a credential, which systemd guards, is left out.
func filesOfKeys(dir string) (all []keyFile, err error) {
	domains, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range domains {
		folder := filepath.Join(dir, d.Name())
		fi, err := os.Stat(folder)
		if err != nil || !fi.IsDir() || strings.HasPrefix(d.Name(), ".") {
			continue
		}
		all = append(all, keyFile{folder, rightsIn(fi)})
		files, err := os.ReadDir(folder)
		if err != nil {
			return nil, err
		}
		for _, e := range files {
			path := filepath.Join(folder, e.Name())
			if ext := filepath.Ext(path); ext != ".pem" && ext != ".json" {
				continue
			}
			real, err := filepath.EvalSymlinks(path)
			if errors.Is(err, fs.ErrNotExist) || within("/run/credentials", real) {
				continue
			}
			fi, err := os.Stat(path)
			if err != nil {
				return nil, err
			}
			all = append(all, keyFile{path, rightsIn(fi)})
		}
	}
	return all, nil
}
