package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"signpost/internal/config"
	"signpost/milter"
)

// Sockets looks at the daemon's sockets: whether Postfix gets to them, and who answers.
type Sockets struct {
	Dir    string         // of Postfix's configuration; empty: what postconf takes by itself
	Config *config.Config // the daemon's
	File   string         // where that was read
	User   string         // who runs the daemon; empty: signpost
	Wait   time.Duration  // for an answer; 0: 5 s
}

// Check looks at every socket of listen.
func (s Sockets) Check(ctx context.Context) []Finding {
	all := make([]string, 0, len(s.Config.Listen))
	for _, ln := range s.Config.Listen {
		all = append(all, socketName(ln))
	}
	checks := []siteCheck{{"socket-answers", "Signpost answers at " + printable(strings.Join(all, ", ")), s.answers}}
	// Without Postfix there is nobody to look for; Postfix.Check says so.
	if facts, err := readFacts(ctx, s.Dir); err == nil {
		l := &ways{&site{Postfix: Postfix{Dir: s.Dir, Config: s.Config, File: s.File}, ctx: ctx, facts: facts, config: s.Config}, cmp.Or(s.User, serviceUser)}
		if line, err := facts.postconf(ctx, "-x", "mail_owner"); err == nil {
			_, owner, _ := strings.Cut(line, "=")
			facts.main["mail_owner"] = strings.TrimSpace(owner)
		}
		good := "Postfix's user " + printable(facts.main["mail_owner"]) + " gets to the sockets that Postfix names"
		checks = slices.Insert(checks, 0, siteCheck{"socket-access", good, l.socketAccess})
	}
	return run(checks)
}

// socketName is a socket in the words of the configuration.
func socketName(ln config.Listener) string {
	if ln.Network == "unix" {
		return "unix:" + ln.Address
	}
	return "inet:" + ln.Address
}

// ways are those of Postfix to the sockets.
type ways struct {
	*site
	user string // who runs the daemon
}

// socketAccess asks whether mail_owner, as whom smtpd(8) and cleanup(8) run, may connect.
func (l *ways) socketAccess() (found []Finding) {
	who, err := lookupPerson(l.facts.main["mail_owner"])
	if err != nil {
		return []Finding{{Level: Red, What: "Postfix runs as a user who does not exist", Where: l.facts.where(nil, "mail_owner") + printable(": "+err.Error()),
			Why: "Postfix does not start", Fix: l.facts.unset(nil, "mail_owner")}}
	}
	for _, ln := range l.config.Listen {
		from, chroot, named := l.entrance(ln)
		if !named || ln.Network != "unix" {
			continue
		}
		if f := l.leadsOut(ln.Address, from, chroot); f != nil {
			found = append(found, *f)
		} else if b := who.way(from, filepath.Dir(ln.Address)); b != nil {
			found = append(found, l.barred(who, ln, from, b))
		} else if f := l.socketRights(who, ln); f != nil {
			found = append(found, *f)
		}
	}
	return found
}

// entrance is the folder where Postfix's way to a socket begins: its programs work in the queue directory, and one that is
// chrooted sees nothing above it. Where Postfix names none of our sockets yet, the first one is meant.
func (l *ways) entrance(ln config.Listener) (from string, chroot, named bool) {
	from = l.facts.main["queue_directory"]
	anyOurs := false
	for _, one := range l.allLists() {
		for _, e := range one.entries {
			if !l.right(e, one.service.chroot) {
				continue
			}
			anyOurs = true
			_, path, _ := strings.Cut(e.address, ":")
			if _, at := l.resolve(e.address, one.service.chroot); filepath.Clean(ln.Address) != at {
				continue
			}
			named, chroot = true, chroot || one.service.chroot
			if !one.service.chroot && filepath.IsAbs(path) {
				from = "/"
			}
		}
	}
	if !anyOurs {
		named = ln == l.config.Listen[0]
	}
	if !within(from, ln.Address) {
		from = "/"
	}
	return from, chroot, named
}

// leadsOut is about a link below the chroot to a folder outside: the daemon follows it, and Postfix cannot.
func (l *ways) leadsOut(path, from string, chroot bool) *Finding {
	root, err := filepath.EvalSymlinks(from)
	real, err2 := filepath.EvalSymlinks(filepath.Dir(path))
	if !chroot || err != nil || err2 != nil || within(root, real) {
		return nil
	}
	return &Finding{Level: Red, What: printable("a link leads the way to " + path + " out of Postfix's chroot"), Where: printable(filepath.Dir(path) + " is " + real + "; chroot is " + from),
		Why: "chrooted, Postfix does not find what lies outside; every mail goes the way of milter_default_action", Fix: l.listenLine()}
}

// barred is about a folder that is closed, or is not there.
func (l *ways) barred(who *person, ln config.Listener, from string, b *barrier) Finding {
	if b.err != nil {
		if f, ok := hidden(b.err); ok {
			return f
		}
	}
	group, last := groupName(who.gids[0]), b.path == filepath.Dir(ln.Address) && b.path != from
	f := Finding{Level: Red, What: printable("user " + who.name + " does not get to " + ln.Address + ": the folder " + b.path + " is closed to him"),
		Where: printable(b.path + ": " + b.rights.String()), Why: "Postfix cannot connect, and does what milter_default_action says with every mail"}
	switch letter, _ := who.class(b.rights); {
	case b.err != nil:
		f.What, f.Where = printable("the folder "+b.path+" of the socket "+ln.Address+" is not to be had"), printable(b.err.Error())
		f.Fix = "install -d -o " + l.user + " -g " + group + " -m 2710 " + quoted(filepath.Dir(ln.Address))
	case last:
		f.Fix = "chgrp " + group + " " + quoted(b.path) + " && chmod 2710 " + quoted(b.path)
	default:
		f.Fix = "chmod " + letter + "+x " + quoted(b.path)
	}
	_, err := exec.LookPath("systemd-tmpfiles")
	if (last || b.err != nil) && err == nil && (within("/run", b.path) || within("/var/run", b.path)) {
		// /run is empty after a boot.
		const file = "signpost-socket.conf"
		f.Fix = "echo " + quoted("d "+filepath.Dir(ln.Address)+" 2710 "+l.user+" "+group) + " >/etc/tmpfiles.d/" + file + " && systemd-tmpfiles --create " + file
	}
	return f
}

// socketRights holds the socket, and what the daemon will make of it at its next start, against who connects.
func (l *ways) socketRights(who *person, ln config.Listener) *Finding {
	if _, err := os.Stat(ln.Address); err != nil {
		if f, ok := hidden(err); ok {
			return &f
		}
	}
	now, there := rightsAt(ln.Address, fs.ModeSocket)
	dir, _ := rightsAt(filepath.Dir(ln.Address), fs.ModeDir)
	daemon, err := lookupPerson(l.user)
	if there {
		daemon, err = lookupPerson(userName(now.uid))
	} else if err == nil {
		now = rightsOf{uid: daemon.uid, gid: daemon.gids[0]}
	} else {
		return nil // nobody who could make one
	}
	mode, group := l.config.Rights(ln)
	then := rightsOf{now.uid, now.gid, mode}
	if dir.mode&fs.ModeSetgid != 0 {
		then.gid = dir.gid
	}
	given := true
	if g, err2 := user.LookupGroup(group); err2 == nil {
		if gid, err2 := strconv.ParseUint(g.Gid, 10, 32); err2 == nil {
			then.gid = uint32(gid)
			given = err != nil || daemon.makes(dir, then.gid)
		}
	}
	f := &Finding{Level: Red, What: printable("user " + who.name + " may not write to the socket " + ln.Address), Where: printable(ln.Address + ": " + now.String()),
		Why: "Postfix cannot connect, and does what milter_default_action says with every mail"}
	open, lasts := there && who.may(now, toWrite), given && who.may(then, toWrite)
	switch {
	case lasts && (open || !there):
		return nil
	case lasts:
		f.Fix = "chgrp " + groupName(then.gid) + " " + quoted(ln.Address) + " && chmod " + octal(mode) + " " + quoted(ln.Address)
		return f
	case !given:
		f.What = printable("the daemon does not start: user " + daemon.name + " cannot give the socket " + ln.Address + " to the group " + group)
	case !there:
		f.What = printable("the socket " + ln.Address + " will be closed to user " + who.name)
	case open:
		f.What = printable("the socket " + ln.Address + " will be closed to user " + who.name + " when the daemon starts again")
	}
	if open {
		f.Level, f.What = Yellow, strings.Replace(f.What, "does not start:", "will not start again:", 1)
	}
	if !there {
		f.Where = printable(filepath.Dir(ln.Address) + ": " + dir.String())
	}
	f.Where += "; " + printable(l.File+fmt.Sprintf(": socket_mode = %q, socket_group = %q", octal(mode), group))
	f.Why += "; the daemon gives its socket these rights at each start"
	f.Fix = l.rightsLines(who, daemon, ln, then, dir)
	return f
}

// rightsAt are those of a file of a kind; false: there is none.
func rightsAt(path string, kind fs.FileMode) (rightsOf, bool) {
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Type() != kind {
		return rightsOf{}, false
	}
	return rightsIn(fi), true
}

// rightsLines are for signpost.toml: the rights of all sockets, or of this one where it has its own. The daemon has to be able
// to give them: see makes.
func (l *ways) rightsLines(who, daemon *person, ln config.Listener, then, dir rightsOf) string {
	mode, group := l.config.Rights(ln)
	postfix := groupName(who.gids[0])
	var lines []string
	own := mode != l.config.SocketMode || group != l.config.SocketGroup
	if !slices.Contains(who.gids, then.gid) {
		then.gid, group = who.gids[0], postfix
		lines = append(lines, fmt.Sprintf("socket_group = %q", group))
	}
	if !who.may(then, toWrite) {
		mode |= 0o660
		lines = append(lines, fmt.Sprintf("socket_mode = %q", octal(mode)))
	}
	if own && len(lines) > 0 {
		lines = []string{fmt.Sprintf("{ socket = %q, mode = %q, group = %q }", socketName(ln), octal(mode), group)}
	}
	fix := ""
	if daemon != nil && !daemon.makes(dir, then.gid) {
		fix = "chgrp " + postfix + " " + quoted(filepath.Dir(ln.Address)) + " && chmod 2710 " + quoted(filepath.Dir(ln.Address)) + " && "
	}
	fix += daemonLine("restart", l.File)
	if len(lines) == 0 {
		return fix
	}
	return strings.Join(lines, "\n") + " # then: " + fix
}

// makes says whether a process of p can make a file of a group in a folder: chown(2) wants him in it, unless it is so already.
func (p *person) makes(dir rightsOf, gid uint32) bool {
	return p.uid == 0 || slices.Contains(p.gids, gid) || dir.gid == gid && dir.mode&fs.ModeSetgid != 0
}

// answers asks each socket as Postfix does.
func (s Sockets) answers() (found []Finding) {
	for _, ln := range s.Config.Listen {
		err := milter.Probe(ln.Network, ln.Address, time.Now().Add(cmp.Or(s.Wait, 5*time.Second)))
		if err == nil {
			continue
		}
		if f, ok := hidden(err); ok {
			found = append(found, f)
			continue
		}
		found = append(found, s.silent(ln, err))
	}
	return found
}

func (s Sockets) silent(ln config.Listener, err error) Finding {
	f := Finding{Level: Red, Where: printable(socketName(ln) + ": " + err.Error()), Why: "every mail goes the way of milter_default_action", Fix: daemonLine("start", s.File)}
	if runsSystemd() {
		f.Why += "; journalctl -u signpost -n 20 shows how it ended"
	}
	fi, statErr := os.Lstat(ln.Address)
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.What = "the daemon does not run: there is no socket " + ln.Address
	case ln.Network == "unix" && statErr == nil && fi.Mode().Type() != fs.ModeSocket:
		f.What, f.Fix = ln.Address+" is no socket", "mv "+quoted(ln.Address)+" "+quoted(ln.Address+".old")+" && "+f.Fix
	case errors.Is(err, syscall.ECONNREFUSED) && ln.Network == "unix":
		f.What = "the daemon does not run: the socket " + ln.Address + " is what an earlier one left behind"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.What = "the daemon does not run: nobody listens on " + ln.Address
	case errors.Is(err, milter.ErrAnother):
		f.What, f.Fix = "another milter answers at "+ln.Address, whose(ln)+" # names it; give one of the two another address: listen in "+printable(s.File)
	case errors.As(err, &timeout) && timeout.Timeout():
		f.What, f.Fix = "nobody answers at "+ln.Address+" although the connection is taken", daemonLine("restart", s.File)
	default:
		f.What, f.Fix = "what answers at "+ln.Address+" is no milter", whose(ln)+" # names it; give one of the two another address: listen in "+printable(s.File)
	}
	f.What = printable(f.What)
	return f
}

// whose is the line that shows which program has a socket.
func whose(ln config.Listener) string {
	_, port, _ := strings.Cut(ln.Address, ":")
	switch {
	case runtime.GOOS != "linux":
		return "sockstat -l"
	case ln.Network == "unix":
		return "ss -lxp src " + quoted(ln.Address)
	}
	return "ss -ltnp sport = :" + quoted(port[strings.LastIndexByte(port, ':')+1:])
}

// daemonLine has the machine's own manager of services start or restart the daemon.
func daemonLine(verb, file string) string {
	if runsSystemd() {
		return "systemctl " + verb + " signpost"
	}
	if runtime.GOOS == "freebsd" {
		return "service signpost " + verb
	}
	line := "runuser -u " + serviceUser + " -- signpost serve -c " + quoted(file)
	if verb == "restart" {
		line = "pkill -x signpost; " + line
	}
	return line
}

// runsSystemd is sd_booted(3).
func runsSystemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}
