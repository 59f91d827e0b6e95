// Package host checks what the daemon needs on this host: its configuration, user, directories, clock and resolver. Checks returns
// the checks; Facts is their input.
package host

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"signpost/internal/doctor"
)

// Facts are what the checks need to know.
type Facts struct {
	File     string           // Signpost's configuration
	Missing  bool             // File does not exist, so the other facts are defaults
	Faults   []Fault          // the errors of the configuration; if there are any, the other facts are defaults
	Concerns []doctor.Finding // warnings about a valid configuration; an empty Level means Yellow, an empty Where means File
	Files    []string         // the files and directories of the configuration that the daemon reads
	User     string           // the user of the daemon; empty: signpost

	Observe   bool   // mode = "observe"
	ModePlace string // the file and line of mode; empty: File

	StateDir, KeysDir string
	Written           []string // the directories below StateDir in which the daemon writes
	KeysErr           error    // why the keys could not be read
	ResolverErr       error    // why no name server is known

	Inbound      Inbound
	Tables       Tables
	Cluster      Cluster
	SkipNetworks []netip.Prefix // verify.skip_networks
	Decided      []netip.Prefix // the networks for which the configuration sets an action for failed SPF
}

// Fault is an error of the configuration.
type Fault struct {
	Err  error
	File string // empty: the error has no file and line
	Line int
}

// Checks returns checks of the things that the daemon needs on this host, such as its configuration, its user, its directories and the
// clock.
func Checks(f Facts) []doctor.Check {
	m := &machine{Facts: f}
	m.User = cmp.Or(m.User, doctor.ServiceUser)
	m.service, m.serviceErr = doctor.LookupAccount(m.User)
	check := func(name, doc, good string, run func() []doctor.Finding) doctor.Check {
		return doctor.Check{Name: name, Doc: doc, Run: doctor.Or(good, func(context.Context) []doctor.Finding { return run() })}
	}
	return []doctor.Check{
		check("mode", "mode", "mail is signed and verified", m.mode),
		check("config", "signpost.toml and conf.d", m.File+" is valid", m.configuration),
		check("service-user", "user signpost", "user "+m.User+" exists", m.serviceUser),
		check("key-files", "the keys directory, each key and its metadata", "only the daemon can read the private keys", m.keyFiles),
		check("state-dir", "state_dir", "the daemon can write to state_dir", m.stateDir),
		check("clock", "the time, and on Linux whether it is synchronised (adjtimex(2))", "no error of the clock was found", clockNow),
		check("resolver", "dns.servers, /etc/resolv.conf", "a DNS server is configured", m.resolver),
		{Name: "tables", Doc: "a lookup in each table of domains.tables; the journal: code listed_no_key", Run: m.tables},
		{Name: "cluster", Doc: "the state that signpost-cluster writes (cluster/status.json in state_dir), cluster.key_file, and the file that sets cluster.database", Run: m.cluster},
		check("gateway", "the journal: a sample of inbound mail of the last 7 days, at most 1000 messages of each day", m.goodInbound(), m.gateway),
	}
}

// machine has the facts and the account of the daemon. service is nil if serviceErr is not nil.
type machine struct {
	Facts
	service    *doctor.Account
	serviceErr error
}

// mode reports observe mode. It is the first finding, because observe mode explains why nothing is signed or rejected.
func (m *machine) mode() []doctor.Finding {
	if !m.Observe {
		return nil
	}
	return []doctor.Finding{{Level: doctor.Yellow, First: true, What: `mode = "observe": Signpost signs, rejects and tags nothing`, Where: cmp.Or(m.ModePlace, m.File),
		Why: "the log states what enforce mode would do", Fix: `mode = "enforce" # when the log shows what you expect: docs/observe.md, "Observe mode"`}}
}

func (m *machine) configuration() (found []doctor.Finding) {
	if m.Missing {
		return []doctor.Finding{{Level: doctor.Red, What: "the configuration file does not exist; the other checks use the defaults", Where: m.File, Why: "the daemon does not start without a configuration file",
			Fix: "install -D -m 0644 /dev/null " + doctor.Quote(m.File) + " # with an empty file, the defaults apply"}}
	}
	for _, fault := range m.Faults {
		found = append(found, doctor.OrNotPermitted(fault.Err, m.faulty(fault)))
	}
	if len(found) > 0 {
		return found
	}
	for _, f := range m.Concerns {
		f.Level, f.Where = cmp.Or(f.Level, doctor.Yellow), cmp.Or(f.Where, m.File)
		found = append(found, f)
	}
	if m.service == nil {
		return found
	}
	return append(found, m.denied(append([]string{m.File}, m.Files...))...)
}

// Unreadable returns a finding for each path that a user cannot read according to owner, group and mode. gid is
// the group of a user whose uid has no name.
func Unreadable(uid, gid uint32, paths []string) []doctor.Finding {
	m := &machine{Facts: Facts{User: doctor.UserName(uid)}}
	var err error
	if m.service, err = doctor.LookupAccount(m.User); err != nil {
		m.service = &doctor.Account{Name: m.User, UID: uid, GIDs: []uint32{gid}}
	}
	found := m.denied(paths)
	for i, f := range found {
		found[i] = f.Printable()
	}
	return found
}

func (m *machine) denied(paths []string) (found []doctor.Finding) {
	for _, path := range paths {
		if f := m.readable(path); f != nil && !slices.ContainsFunc(found, func(other doctor.Finding) bool { return other.What == f.What }) {
			found = append(found, *f)
		}
	}
	return found
}

// readable returns a finding if the daemon cannot read a file or list a directory. Otherwise it returns nil.
func (m *machine) readable(path string) *doctor.Finding {
	fi, err := os.Stat(path)
	if err != nil {
		return nil
	}
	want, mode := doctor.Read, "0640"
	if fi.IsDir() {
		want, mode = doctor.Read|doctor.Search, "0750"
	}
	if f, at := m.barred(path); at != "" {
		return &f
	}
	if m.service.May(doctor.PermissionsOf(fi), want) {
		return nil
	}
	f := m.closed(path, doctor.PermissionsOf(fi), "", "chgrp "+doctor.GroupName(m.service.GIDs[0])+" "+doctor.Quote(path)+" && chmod "+mode+" "+doctor.Quote(path))
	return &f
}

// barred returns the first directory above path that the daemon may not search, and a finding about it. If there is no such directory, at
// is "".
func (m *machine) barred(path string) (f doctor.Finding, at string) {
	b := m.service.Barrier("/", filepath.Dir(path))
	if b == nil || b.Err != nil {
		return f, ""
	}
	letter, _ := m.service.Class(b.Permissions)
	return m.closed(b.Path, b.Permissions, "search", "chmod "+letter+"+x "+doctor.Quote(b.Path)), b.Path
}

// faulty returns the finding for an error of the configuration, with its line.
func (m *machine) faulty(fault Fault) doctor.Finding {
	f := doctor.Finding{Level: doctor.Red, What: fault.Err.Error(), Where: m.File,
		Why: "the daemon does not start, and a reload keeps the old configuration; the other checks use the defaults", Fix: "${EDITOR:-vi} " + doctor.Quote(m.File)}
	if fault.File == "" {
		return f
	}
	f.Where, f.Fix = fault.File, fmt.Sprintf("${EDITOR:-vi} +%d %s", fault.Line, doctor.Quote(fault.File))
	data, err := os.ReadFile(fault.File)
	if lines := strings.Split(string(data), "\n"); err == nil && fault.Line <= len(lines) {
		f.Where = fmt.Sprintf("%s:%d: %s", fault.File, fault.Line, strings.TrimSpace(lines[fault.Line-1]))
	}
	return f
}

func (m *machine) serviceUser() []doctor.Finding {
	if m.serviceErr == nil {
		return nil
	}
	f := doctor.Finding{Level: doctor.Red, What: "user " + m.User + " does not exist", Where: "the system's user database", Why: "the daemon must run as its own user, neither root nor a user of Postfix",
		Fix: "useradd --system --home-dir /var/lib/signpost --shell /usr/sbin/nologin " + m.User}
	if _, err := os.Stat("/usr/lib/sysusers.d/signpost.conf"); err == nil {
		f.Fix = "systemd-sysusers signpost.conf"
	} else if runtime.GOOS == "freebsd" {
		f.Fix = "pw useradd " + m.User + " -d /var/lib/signpost -s /usr/sbin/nologin"
	}
	return []doctor.Finding{f}
}

// closed returns the finding for a file that the daemon's user cannot access. what is the kind of access, by default "read".
func (m *machine) closed(path string, p doctor.Permissions, what, fix string) doctor.Finding {
	return doctor.Finding{Level: doctor.Red, What: "permission denied: user " + m.User + " cannot " + cmp.Or(what, "read") + " " + path, Where: path + ": " + p.String(),
		Why: "the daemon does not start; if it is running, it keeps its old configuration and keys", Fix: fix}
}

// chown returns the command that makes the daemon's user the owner of a directory.
func (m *machine) chown(path string) string {
	group := doctor.GroupName(m.service.GIDs[0])
	return "chown " + m.User + ":" + group + " " + doctor.Quote(path) + " && chmod 0700 " + doctor.Quote(path)
}

// stateDir checks the directory in which the daemon keeps its state.
func (m *machine) stateDir() (found []doctor.Finding) {
	dir := m.StateDir
	_, err := os.Stat(dir)
	if err != nil {
		return []doctor.Finding{doctor.OrNotPermitted(err, doctor.Finding{Level: doctor.Red, What: "the state directory " + dir + " does not exist", Where: err.Error(), Why: "the daemon does not start",
			Fix: "install -d -o " + m.User + " -g " + m.User + " -m 0700 " + doctor.Quote(dir)})}
	}
	if m.service != nil {
		if f, at := m.barred(dir); at != "" {
			return []doctor.Finding{f}
		}
		for _, d := range append([]string{dir}, m.Written...) {
			if fi, err := os.Stat(d); err == nil && !m.service.May(doctor.PermissionsOf(fi), doctor.Write|doctor.Search) {
				found = append(found, m.closed(d, doctor.PermissionsOf(fi), "write to", m.chown(d)))
			}
		}
	}
	if unix.Access(dir, unix.W_OK) == unix.EROFS {
		found = append(found, doctor.Finding{Level: doctor.Red, What: "the file system of " + dir + " is mounted read-only", Where: dir, Why: "keys cannot be created or rotated, and the journal and the observations of keys cannot be saved",
			Fix: writable(dir)})
	}
	for _, d := range append([]string{dir}, m.Written...) {
		fi, err := os.Stat(d)
		if err != nil || doctor.PermissionsOf(fi).Mode.Perm()&0o002 == 0 {
			continue
		}
		found = append(found, doctor.Finding{Level: doctor.Red, What: "any user can write to " + d, Where: d + ": " + doctor.PermissionsOf(fi).String(),
			Why: "any local user can add a key or a hosted domain", Fix: "chmod 0700 " + doctor.Quote(d)})
	}
	var room unix.Statfs_t
	if err := unix.Statfs(dir, &room); err != nil {
		return found
	}
	return append(found, freeSpace(dir, int64(room.Bavail)*int64(room.Bsize), int64(room.Files), int64(room.Ffree))...)
}

// writable returns the command that makes a file system writable.
func writable(dir string) string {
	if runtime.GOOS == "freebsd" {
		return `mount -uw "$(df ` + doctor.Quote(dir) + ` | awk 'END { print $NF }')"`
	}
	return `mount -o remount,rw "$(df --output=target ` + doctor.Quote(dir) + ` | tail -1)"`
}

// A key and its metadata take two blocks. With less than leastSpace or leastFiles the next rotation may fail; with less than enoughSpace
// or enoughFiles an administrator should act.
const (
	leastSpace, enoughSpace = 10 << 20, 100 << 20 // bytes
	leastFiles, enoughFiles = 100, 1000
)

// freeSpace checks the free space of the file system of dir. files is 0 if it has no fixed number of inodes.
func freeSpace(dir string, bytes, files, freeFiles int64) []doctor.Finding {
	f := doctor.Finding{Level: doctor.Yellow, Where: fmt.Sprintf("%s: %d MiB and %d files are free", dir, bytes>>20, freeFiles),
		Why: "on a full file system, new keys and the observations of keys cannot be saved", Fix: "df -h " + doctor.Quote(dir) + "; df -i " + doctor.Quote(dir) + " # then free some space"}
	switch {
	case bytes < leastSpace || files > 0 && freeFiles < leastFiles:
		f.Level, f.What = doctor.Red, "the file system of "+dir+" is full"
	case bytes < enoughSpace || files > 0 && freeFiles < enoughFiles:
		f.What = "the file system of " + dir + " is almost full"
	default:
		return nil
	}
	return []doctor.Finding{f}
}

func clockNow() []doctor.Finding {
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

// tooOld is an age that no version in use should reach. If the sources seem to be older, it is more likely that the clock is ahead.
const tooOld = 10 * 365 * 24 * time.Hour

// clock checks the time. Receivers compare t= and x= of a signature with their own time (RFC 6376 section 3.5), and the rotation of keys
// depends on the time.
func clock(now, built time.Time, synced bool) []doctor.Finding {
	f := doctor.Finding{Level: doctor.Red, What: "the clock is wrong", Where: "it is " + now.UTC().Format(time.RFC3339),
		Why: "receivers reject signatures that are expired or from the future (RFC 6376 section 3.5), and keys rotate at the wrong time", Fix: "apt-get install systemd-timesyncd"}
	if _, err := exec.LookPath("timedatectl"); err == nil && doctor.RunsSystemd() {
		f.Fix = "timedatectl set-ntp true"
	}
	if runtime.GOOS == "freebsd" {
		f.Fix = "sysrc ntpd_enable=YES ntpd_sync_on_start=YES && service ntpd start"
	}
	switch {
	case !built.IsZero() && now.Before(built):
		f.Where += "; the sources of this program are of " + built.UTC().Format(time.RFC3339)
	case !built.IsZero() && now.Sub(built) > tooOld:
		f.Level, f.What = doctor.Yellow, "the clock is far ahead, or this program is very old"
		f.Where += "; the sources of this program are of " + built.UTC().Format(time.RFC3339)
	case !synced:
		f.Level, f.What = doctor.Yellow, "the clock is not synchronised"
		f.Where += "; adjtimex(2): not synchronised"
	default:
		return nil
	}
	return []doctor.Finding{f}
}

func (m *machine) resolver() []doctor.Finding {
	if m.ResolverErr == nil {
		return nil
	}
	return []doctor.Finding{{Level: doctor.Red, What: "no DNS server is configured", Where: m.ResolverErr.Error(), Why: "no mail can be verified",
		Fix: `dns.servers = ["127.0.0.1"]`}}
}
