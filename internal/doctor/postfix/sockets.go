package postfix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/doctor"
)

// answerTimeout is the timeout for the daemon's answer. The daemon answers a negotiation immediately.
const answerTimeout = 5 * time.Second

// name returns the socket as it is written in the configuration.
func (ln Listener) name() string {
	if ln.Network == "unix" {
		return "unix:" + ln.Address
	}
	return "inet:" + ln.Address
}

// socketAccess checks whether mail_owner can connect, because smtpd(8) and cleanup(8) run as that user.
func (l *site) socketAccess(context.Context) (found []doctor.Finding) {
	who, err := doctor.LookupAccount(l.postconf.main["mail_owner"])
	if err != nil {
		return []doctor.Finding{{Level: doctor.Red, What: "the user mail_owner of Postfix does not exist", Where: l.postconf.where(nil, "mail_owner") + ": " + err.Error(),
			Why: "Postfix does not start", Fix: l.postconf.unset(nil, "mail_owner")}}
	}
	for _, ln := range l.Listen {
		from, chroot, named := l.entrance(ln)
		if !named || ln.Network != "unix" {
			continue
		}
		if f := l.leadsOut(ln.Address, from, chroot); f != nil {
			found = append(found, *f)
		} else if b := who.Barrier(from, filepath.Dir(ln.Address)); b != nil {
			found = append(found, l.barred(who, ln, from, b))
		} else if f := l.socketPermissions(who, ln); f != nil {
			found = append(found, *f)
		}
	}
	if len(found) == 0 {
		return []doctor.Finding{{Level: doctor.Green, What: "Postfix's user " + who.Name + " can connect to the sockets in Postfix's lists"}}
	}
	return found
}

// entrance returns the directory where Postfix's path to a socket begins, and whether Postfix's lists name the socket. The services run in
// the queue directory, and a chrooted service cannot access anything above it. If the lists name none of our sockets, the first socket
// counts as named.
func (l *site) entrance(ln Listener) (from string, chroot, named bool) {
	from = l.postconf.main["queue_directory"]
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
		named = ln == l.Listen[0]
	}
	if !doctor.Within(from, ln.Address) {
		from = "/"
	}
	return from, chroot, named
}

// leadsOut finds a link in the chroot to a directory outside: the daemon can follow it, but Postfix cannot.
func (l *site) leadsOut(path, from string, chroot bool) *doctor.Finding {
	root, err := filepath.EvalSymlinks(from)
	real, err2 := filepath.EvalSymlinks(filepath.Dir(path))
	if !chroot || err != nil || err2 != nil || doctor.Within(root, real) {
		return nil
	}
	return &doctor.Finding{Level: doctor.Red, What: "a symbolic link in the path " + path + " leads out of Postfix's chroot", Where: filepath.Dir(path) + " is " + real + "; chroot is " + from,
		Why: "a chrooted Postfix service cannot open files outside the chroot; Postfix applies milter_default_action to every message", Fix: l.listenLine()}
}

// barred returns the finding for a directory that does not exist, or that an account cannot search. The parameter who is the account.
func (l *site) barred(who *doctor.Account, ln Listener, from string, b *doctor.Barrier) doctor.Finding {
	group, last := doctor.GroupName(who.GIDs[0]), b.Path == filepath.Dir(ln.Address) && b.Path != from
	f := doctor.Finding{Level: doctor.Red, What: "permission denied: user " + who.Name + " cannot search " + b.Path + ", the path of the socket " + ln.Address,
		Where: b.Path + ": " + b.Permissions.String(), Why: "Postfix cannot connect, and applies milter_default_action to every message"}
	switch letter, _ := who.Class(b.Permissions); {
	case b.Err != nil:
		f.What, f.Where = "cannot open "+b.Path+", the directory of the socket "+ln.Address, b.Err.Error()
		f.Fix = "install -d -o " + l.User + " -g " + group + " -m 2710 " + doctor.Quote(filepath.Dir(ln.Address))
	case last:
		f.Fix = "chgrp " + group + " " + doctor.Quote(b.Path) + " && chmod 2710 " + doctor.Quote(b.Path)
	default:
		f.Fix = "chmod " + letter + "+x " + doctor.Quote(b.Path)
	}
	_, err := exec.LookPath("systemd-tmpfiles")
	if (last || b.Err != nil) && err == nil && (doctor.Within("/run", b.Path) || doctor.Within("/var/run", b.Path)) {
		// /run is empty after a boot.
		const file = "signpost-socket.conf"
		f.Fix = "echo " + doctor.Quote("d "+filepath.Dir(ln.Address)+" 2710 "+l.User+" "+group) + " >/etc/tmpfiles.d/" + file + " && systemd-tmpfiles --create " + file
	}
	return doctor.OrNotPermitted(b.Err, f)
}

// socketPermissions checks whether an account can connect to a socket, both now and after the next start of the daemon. The parameter who
// is the account.
func (l *site) socketPermissions(who *doctor.Account, ln Listener) *doctor.Finding {
	if _, err := os.Stat(ln.Address); errors.Is(err, fs.ErrPermission) {
		f := doctor.OrNotPermitted(err, doctor.Finding{})
		return &f
	}
	now, there := permissionsAt(ln.Address, fs.ModeSocket)
	dir, _ := permissionsAt(filepath.Dir(ln.Address), fs.ModeDir)
	daemon, err := doctor.LookupAccount(l.User)
	if there {
		daemon, err = doctor.LookupAccount(doctor.UserName(now.UID))
	} else if err == nil {
		now = doctor.Permissions{UID: daemon.UID, GID: daemon.GIDs[0]}
	} else {
		return nil // the daemon's user does not exist, which another check reports
	}
	mode, group := ln.Mode, ln.Group
	then := doctor.Permissions{UID: now.UID, GID: now.GID, Mode: mode}
	if dir.Mode&fs.ModeSetgid != 0 {
		then.GID = dir.GID
	}
	given := true
	if g, err2 := user.LookupGroup(group); err2 == nil {
		if gid, err2 := strconv.ParseUint(g.Gid, 10, 32); err2 == nil {
			then.GID = uint32(gid)
			given = err != nil || mayGive(daemon, dir, then.GID)
		}
	}
	f := &doctor.Finding{Level: doctor.Red, What: "permission denied: user " + who.Name + " cannot write to the socket " + ln.Address, Where: ln.Address + ": " + now.String(),
		Why: "Postfix cannot connect, and applies milter_default_action to every message"}
	open, lasts := there && who.May(now, doctor.Write), given && who.May(then, doctor.Write)
	switch {
	case lasts && (open || !there):
		return nil
	case lasts:
		f.Fix = "chgrp " + doctor.GroupName(then.GID) + " " + doctor.Quote(ln.Address) + " && chmod " + doctor.Octal(mode) + " " + doctor.Quote(ln.Address)
		return f
	case !given:
		f.What = "the daemon does not start: user " + daemon.Name + " cannot change the group of the socket " + ln.Address + " to " + group
	case !there:
		f.What = "user " + who.Name + " will not be able to write to the socket " + ln.Address
	case open:
		f.What = "after the next start of the daemon, user " + who.Name + " cannot write to the socket " + ln.Address
	}
	if open {
		f.Level, f.What = doctor.Yellow, strings.Replace(f.What, "does not start:", "will not start again:", 1)
	}
	if !there {
		f.Where = filepath.Dir(ln.Address) + ": " + dir.String()
	}
	f.Where += "; " + l.File + fmt.Sprintf(": socket_mode = %q, socket_group = %q", doctor.Octal(mode), group)
	f.Why += "; the daemon sets this mode and group at each start"
	f.Fix = l.permissionLines(who, daemon, ln, then, dir)
	return f
}

// permissionsAt returns the permissions of a file. It returns false if there is no file of this type.
func permissionsAt(path string, fileType fs.FileMode) (doctor.Permissions, bool) {
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Type() != fileType {
		return doctor.Permissions{}, false
	}
	return doctor.PermissionsOf(fi), true
}

// permissionLines returns the lines for signpost.toml that set the permissions of all sockets, or of only this socket if it has its own
// settings. The daemon must be able to set these permissions: see mayGive.
func (l *site) permissionLines(who, daemon *doctor.Account, ln Listener, then, dir doctor.Permissions) string {
	mode, group := ln.Mode, ln.Group
	postfix := doctor.GroupName(who.GIDs[0])
	var lines []string
	own := mode != l.SocketMode || group != l.SocketGroup
	if !slices.Contains(who.GIDs, then.GID) {
		then.GID, group = who.GIDs[0], postfix
		lines = append(lines, fmt.Sprintf("socket_group = %q", group))
	}
	if !who.May(then, doctor.Write) {
		mode |= 0o660
		lines = append(lines, fmt.Sprintf("socket_mode = %q", doctor.Octal(mode)))
	}
	if own && len(lines) > 0 {
		lines = []string{fmt.Sprintf("{ socket = %q, mode = %q, group = %q }", ln.name(), doctor.Octal(mode), group)}
	}
	fix := ""
	if daemon != nil && !mayGive(daemon, dir, then.GID) {
		fix = "chgrp " + postfix + " " + doctor.Quote(filepath.Dir(ln.Address)) + " && chmod 2710 " + doctor.Quote(filepath.Dir(ln.Address)) + " && "
	}
	fix += daemonLine(l.File)
	if len(lines) == 0 {
		return fix
	}
	return strings.Join(lines, "\n") + " # then: " + fix
}

// mayGive reports whether a process of account a can change the group of a file in a directory to gid. chown(2) requires the account to be
// a member of the group, unless new files in the directory already belong to it.
func mayGive(a *doctor.Account, dir doctor.Permissions, gid uint32) bool {
	return a.UID == 0 || slices.Contains(a.GIDs, gid) || dir.GID == gid && dir.Mode&fs.ModeSetgid != 0
}
