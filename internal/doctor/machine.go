package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"signpost/internal/config"
)

// Machine looks at what the daemon needs of this host: its configuration, its user, its folders, the clock.
type Machine struct {
	Config *config.Config // the defaults where Faulty says why
	File   string         // where it was read
	User   string         // who runs the daemon; empty: signpost
	// Faulty is what is wrong with File, a config.Errors for instance; nil: nothing.
	Faulty error
	// Concerns are findings about a valid configuration. Check is filled in; an empty Level means Yellow.
	Concerns []Finding
	Keys     error // why the keys could not be read; nil: they could
	Resolver error // why no name server is known
	Inbound  Inbound
}

// Check looks at everything.
func (m Machine) Check() []Finding {
	m.User = cmp.Or(m.User, serviceUser)
	service, err := lookupPerson(m.User)
	return run([]siteCheck{
		{"config", printable(m.File) + " is valid", func() []Finding { return m.configuration(service) }},
		{"service-user", "user " + m.User + " is there", func() []Finding { return m.serviceUser(err) }},
		{"key-files", "the private keys are the daemon's alone", func() []Finding { return m.keyFiles(service) }},
		{"state-dir", "the daemon can write what it remembers", func() []Finding { return m.stateDir(service) }},
		{"clock", "the clock is right, as far as this machine knows", clockNow},
		{"resolver", "a name server is known", m.resolver},
		{"gateway", m.goodInbound(), m.gateway},
	})
}

func (m Machine) configuration(service *person) (found []Finding) {
	if !config.Exists(m.File) {
		return []Finding{{Level: Red, What: "there is no configuration; the other checks use the defaults", Where: printable(m.File), Why: "the daemon does not start without one",
			Fix: "install -D -m 0644 /dev/null " + quoted(m.File) + " # an empty file means the defaults"}}
	}
	if m.Faulty != nil {
		if f, ok := hidden(m.Faulty); ok {
			return []Finding{f}
		}
		all := config.Errors{m.Faulty}
		errors.As(m.Faulty, &all)
		for _, err := range all {
			found = append(found, m.faulty(err))
		}
		return found
	}
	for _, f := range m.Concerns {
		f.Level, f.Where = cmp.Or(f.Level, Yellow), cmp.Or(f.Where, m.File)
		f.What, f.Where, f.Why, f.Fix = printable(f.What), printable(f.Where), printable(f.Why), printable(f.Fix)
		found = append(found, f)
	}
	if service == nil {
		return found
	}
	return append(found, m.denied(service, append([]string{m.File}, ConfigFiles(m.Config, m.File)...))...)
}

// ConfigFiles returns what the daemon must be able to read of a configuration: its files, their directory conf.d, and the file of
// accepted forwarders.
func ConfigFiles(conf *config.Config, file string) []string {
	return append(slices.Clone(conf.Files), config.DropIns(file), conf.DMARC.ForwardersFile)
}

// Unreadable returns a finding for each of these files and directories that a user may not read by owner, group and mode. gid is
// the group of a user whose uid has no name.
func Unreadable(uid, gid uint32, paths []string) []Finding {
	m := Machine{User: userName(uid)}
	p, err := lookupPerson(m.User)
	if err != nil {
		p = &person{name: m.User, uid: uid, gids: []uint32{gid}}
	}
	return m.denied(p, paths)
}

func (m Machine) denied(service *person, paths []string) (found []Finding) {
	for _, path := range paths {
		if f := m.readable(service, path); f != nil && !slices.Contains(found, *f) {
			found = append(found, *f)
		}
	}
	return found
}

// readable returns what keeps the daemon from reading a file, or from listing a directory; nil: nothing.
func (m Machine) readable(service *person, path string) *Finding {
	fi, err := os.Stat(path)
	if err != nil {
		return nil
	}
	want, mode := toRead, "0640"
	if fi.IsDir() {
		want, mode = toRead|toSearch, "0750"
	}
	var f Finding
	b := service.way("/", filepath.Dir(path))
	switch {
	case b != nil && b.err == nil:
		letter, _ := service.class(b.rights)
		f = m.closed(b.path, b.rights, "search", "chmod "+letter+"+x "+quoted(b.path))
	case !service.may(rightsIn(fi), want):
		f = m.closed(path, rightsIn(fi), "", "chgrp "+groupName(service.gids[0])+" "+quoted(path)+" && chmod "+mode+" "+quoted(path))
	default:
		return nil
	}
	return &f
}

// faulty returns the finding for one error of the configuration, with the line of the error.
func (m Machine) faulty(err error) Finding {
	f := Finding{Level: Red, What: printable(err.Error()), Where: printable(m.File),
		Why: "the daemon does not start with it, and a reload keeps the old one; the other checks use the defaults", Fix: "${EDITOR:-vi} " + quoted(m.File)}
	var at config.Error
	if !errors.As(err, &at) {
		return f
	}
	line := strconv.Itoa(at.Line)
	f.Where, f.Fix = printable(at.File), "${EDITOR:-vi} +"+line+" "+quoted(at.File)
	data, err := os.ReadFile(at.File)
	if lines := strings.Split(string(data), "\n"); err == nil && at.Line <= len(lines) {
		f.Where = printable(at.File+":"+line+": ") + printable(strings.TrimSpace(lines[at.Line-1]))
	}
	return f
}

func (m Machine) serviceUser(err error) []Finding {
	if err == nil {
		return nil
	}
	f := Finding{Level: Red, What: "there is no user " + m.User, Where: "the system's user database", Why: "the daemon is not to run as root, nor as a user of Postfix",
		Fix: "useradd --system --home-dir /var/lib/signpost --shell /usr/sbin/nologin " + m.User}
	if _, err := os.Stat("/usr/lib/sysusers.d/signpost.conf"); err == nil {
		f.Fix = "systemd-sysusers signpost.conf"
	} else if runtime.GOOS == "freebsd" {
		f.Fix = "pw useradd " + m.User + " -d /var/lib/signpost -s /usr/sbin/nologin"
	}
	return []Finding{f}
}

// closed is about what the daemon's user may not do with one of its files.
func (m Machine) closed(path string, r rightsOf, what, fix string) Finding {
	return Finding{Level: Red, What: printable("user " + m.User + " may not " + cmp.Or(what, "read") + " " + path), Where: printable(path + ": " + r.String()),
		Why: "the daemon does not start, or goes on with what it had", Fix: fix}
}

// own is the line that makes a folder the daemon's.
func (m Machine) own(service *person, path string) string {
	group := groupName(service.gids[0])
	return "chown " + m.User + ":" + group + " " + quoted(path) + " && chmod 0700 " + quoted(path)
}

// stateDir: the daemon keeps in it what it has seen.
func (m Machine) stateDir(service *person) (found []Finding) {
	dir := m.Config.StateDir
	fi, err := os.Stat(dir)
	if err != nil {
		if f, ok := hidden(err); ok {
			return []Finding{f}
		}
		return []Finding{{Level: Red, What: printable("the state folder " + dir + " is not there"), Where: printable(err.Error()), Why: "the daemon does not start",
			Fix: "install -d -o " + m.User + " -g " + m.User + " -m 0700 " + quoted(dir)}}
	}
	if service != nil {
		if b := service.way("/", filepath.Dir(dir)); b != nil && b.err == nil {
			letter, _ := service.class(b.rights)
			return []Finding{m.closed(b.path, b.rights, "search", "chmod "+letter+"+x "+quoted(b.path))}
		}
		for _, d := range []string{dir, m.Config.HostedDir(), m.Config.ObservedDir()} {
			if fi, err := os.Stat(d); err == nil && !service.may(rightsIn(fi), toWrite|toSearch) {
				found = append(found, m.closed(d, rightsIn(fi), "write in", m.own(service, d)))
			}
		}
	}
	if rightsIn(fi).mode.Perm()&0o002 != 0 {
		found = append(found, Finding{Level: Red, What: printable("everybody may write in " + dir), Where: printable(dir + ": " + rightsIn(fi).String()),
			Why: "who has a login here can put a key of his own there", Fix: "chmod 0700 " + quoted(dir)})
	}
	var room unix.Statfs_t
	if err := unix.Statfs(dir, &room); err != nil {
		return found
	}
	return append(found, freeSpace(dir, int64(room.Bavail)*int64(room.Bsize), int64(room.Files), int64(room.Ffree))...)
}

// A key and its life take two blocks. Below the least the next rotation may fail; below enough somebody should look.
const (
	leastSpace, enoughSpace = 10 << 20, 100 << 20 // octets
	leastFiles, enoughFiles = 100, 1000
)

// freeSpace judges a file system. files is 0 where it has no fixed number of them.
func freeSpace(dir string, octets, files, freeFiles int64) []Finding {
	f := Finding{Level: Yellow, Where: printable(fmt.Sprintf("%s: %d MiB and %d files are free", dir, octets>>20, freeFiles)),
		Why: "without room no new key is written, and what was seen of keys is forgotten", Fix: "df -h " + quoted(dir) + "; df -i " + quoted(dir) + " # and make room there"}
	switch {
	case octets < leastSpace || files > 0 && freeFiles < leastFiles:
		f.Level, f.What = Red, printable("the disk of "+dir+" is full")
	case octets < enoughSpace || files > 0 && freeFiles < enoughFiles:
		f.What = printable("the disk of " + dir + " is almost full")
	default:
		return nil
	}
	return []Finding{f}
}

func clockNow() []Finding {
	var built time.Time
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				built, _ = time.Parse(time.RFC3339, s.Value)
			}
		}
	}
	synced, err := synchronised()
	return clock(time.Now(), built, synced || err != nil)
}

// tooOld is longer than anybody runs a version: a clock that far ahead is likelier.
const tooOld = 10 * 365 * 24 * time.Hour

// clock judges the time: t= and x= of a signature are held against the receiver's (RFC 6376 section 3.5), and the lives of
// keys count in it.
func clock(now, built time.Time, synced bool) []Finding {
	f := Finding{Level: Red, What: "the clock is wrong", Where: "it is " + now.UTC().Format(time.RFC3339),
		Why: "a signature from the future or long expired does not verify (RFC 6376 section 3.5), and keys rotate at the wrong time", Fix: "apt-get install systemd-timesyncd"}
	if _, err := exec.LookPath("timedatectl"); err == nil && runsSystemd() {
		f.Fix = "timedatectl set-ntp true"
	}
	if runtime.GOOS == "freebsd" {
		f.Fix = "sysrc ntpd_enable=YES ntpd_sync_on_start=YES && service ntpd start"
	}
	switch {
	case !built.IsZero() && now.Before(built):
		f.Where += ", and this program was made of sources of " + built.UTC().Format(time.RFC3339)
	case !built.IsZero() && now.Sub(built) > tooOld:
		f.Level, f.What = Yellow, "the clock is far ahead, or this program very old"
		f.Where += ", and this program was made of sources of " + built.UTC().Format(time.RFC3339)
	case !synced:
		f.Level, f.What = Yellow, "nothing keeps the clock right"
		f.Where += "; adjtimex(2) says that it is not synchronised"
	default:
		return nil
	}
	return []Finding{f}
}

func (m Machine) resolver() []Finding {
	if m.Resolver == nil {
		return nil
	}
	return []Finding{{Level: Red, What: "no name server is known", Where: printable(m.Resolver.Error()), Why: "nothing can be verified",
		Fix: `dns.servers = ["127.0.0.1"]`}}
}
