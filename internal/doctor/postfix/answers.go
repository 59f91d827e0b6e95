package postfix

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"signpost/internal/doctor"
	"signpost/milter"
)

// socketAnswers connects to each of our sockets at the address that Postfix uses, and negotiates the protocol as Postfix does.
func (l *site) socketAnswers(ctx context.Context) (found []doctor.Finding) {
	peers := l.peers()
	for _, ln := range peers {
		within, cancel := context.WithTimeout(ctx, l.Wait)
		err := milter.Identify(within, l.network(ln), ln.Address)
		cancel()
		if err != nil {
			found = append(found, doctor.OrNotPermitted(err, l.silent(ln, err)))
		}
	}
	if found = append(found, l.deadMilters(ctx)...); len(found) == 0 {
		return []doctor.Finding{{Level: doctor.Green, What: "Signpost answers at " + doctor.Join(peers, ", ", Listener.name)}}
	}
	return found
}

// peers returns the sockets to connect to: those in Postfix's lists of milters, and the daemon's other sockets.
func (l *site) peers() (all []Listener) {
	var named []Listener
	add := func(ln Listener) {
		if !slices.Contains(all, ln) {
			all = append(all, ln)
		}
	}
	if l.postconf != nil {
		for _, one := range l.allLists() {
			for _, e := range one.entries {
				ln, ok := l.socketOf(e, one.service.chroot)
				if !ok {
					continue
				}
				named = append(named, ln)
				if ln.Network == "tcp" {
					_, ln.Address = l.resolve(e.address, one.service.chroot)
				}
				add(ln)
			}
		}
	}
	for _, ln := range l.Listen {
		if !slices.Contains(named, ln) {
			add(ln)
		}
	}
	return all
}

// network returns the network for a connection to a socket, such as tcp or tcp4. For an address in Postfix's lists, it allows only the IP
// versions in inet_protocols.
func (l *site) network(ln Listener) string {
	if ln.Network == "tcp" && l.postconf != nil && !slices.Contains(l.Listen, ln) {
		return l.protocol()
	}
	return ln.Network
}

// deadMilters finds other programs' milters in Postfix's lists that are not running. Postfix then applies milter_default_action to all mail.
func (l *site) deadMilters(ctx context.Context) (found []doctor.Finding) {
	if l.postconf == nil {
		return nil
	}
	for _, one := range l.allLists() {
		dead := func(e entry) bool {
			return e.fault == "" && !l.meant(e, one.service.chroot) && l.refuses(ctx, e, one.service.chroot)
		}
		i := slices.IndexFunc(one.entries, dead)
		if i < 0 {
			continue
		}
		var rest []string
		for _, e := range one.entries {
			if !dead(e) {
				rest = append(rest, e.text())
			}
		}
		if l.ours(one) < 0 && !l.reinjects(one.service) && l.name() != "" {
			rest = append(rest, l.name())
		}
		f := doctor.Finding{Level: doctor.Red, What: "nothing listens at " + one.entries[i].address + ", a milter in " + one.name + " of " + one.service.id, Where: l.postconf.where(one.at, one.name),
			Why: "Postfix applies milter_default_action to every message",
			Fix: l.postconf.setAt(one.at, one.name, strings.Join(rest, ", ")) + " # or start this milter"}
		if action := one.entries[i].settings["default_action"]; action == "accept" || action == "" && l.postconf.get(one.service, "milter_default_action") == "accept" {
			f.Level = doctor.Yellow
		}
		found = append(found, f)
	}
	return found
}

// refuses reports whether the socket of an entry refuses connections or does not exist. It ignores other errors.
func (l *site) refuses(ctx context.Context, e entry, chroot bool) bool {
	network, at := l.resolve(e.address, chroot)
	if network == "" {
		return false
	}
	if network == "tcp" {
		network = l.protocol()
	}
	ctx, cancel := context.WithTimeout(ctx, l.Wait)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, network, at)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

// reason returns the system's text for an error of a connection.
func reason(err error) string {
	var number syscall.Errno
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return err.Error()
}

// silent returns the finding for a socket on which Signpost does not answer.
func (l *site) silent(ln Listener, err error) doctor.Finding {
	f := doctor.Finding{Level: doctor.Red, Where: ln.name() + ": " + reason(err), Why: "Postfix applies milter_default_action to every message", Fix: daemonLine(l.File)}
	if doctor.RunsSystemd() {
		f.Why += "; journalctl -u signpost -n 20 shows why it stopped"
	}
	fi, statErr := os.Lstat(ln.Address)
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.What = "the socket " + ln.Address + " does not exist: the daemon is not running, or was not restarted after a change of listen"
	case ln.Network == "unix" && statErr == nil && fi.Mode().Type() != fs.ModeSocket:
		f.What, f.Fix = ln.Address+" is not a socket", "mv "+doctor.Quote(ln.Address)+" "+doctor.Quote(ln.Address+".old")+" && "+f.Fix
	case errors.Is(err, syscall.ECONNREFUSED) && ln.Network == "unix":
		f.What = "the daemon is not running: connection refused at the socket " + ln.Address
	case errors.Is(err, syscall.ECONNREFUSED):
		f.What = "connection refused at " + ln.Address + ": the daemon is not running, or was not restarted after a change of listen"
	case errors.Is(err, milter.ErrAnother):
		f.What, f.Fix = "another milter answers at "+ln.Address, showListener(ln)+" # shows the program; then change its address, or listen in "+l.File
	case errors.As(err, &timeout) && timeout.Timeout():
		f.What, f.Fix = "timeout: no answer at "+ln.Address+" after the connection was accepted", daemonLine(l.File)
	default:
		f.What, f.Fix = "the program that answers at "+ln.Address+" is not a milter", showListener(ln)+" # shows the program; then change its address, or listen in "+l.File
	}
	return f
}

// showListener returns the command that shows which program listens on a socket.
func showListener(ln Listener) string {
	_, port, _ := strings.Cut(ln.Address, ":")
	switch {
	case runtime.GOOS != "linux":
		return "sockstat -l"
	case ln.Network == "unix":
		return "ss -lxp src " + doctor.Quote(ln.Address)
	}
	return "ss -ltnp sport = :" + doctor.Quote(port[strings.LastIndexByte(port, ':')+1:])
}

// daemonLine returns the command that starts or restarts the daemon. It uses the service manager of this host. The command is always a
// restart, because a running daemon may still use older settings.
func daemonLine(file string) string {
	if doctor.RunsSystemd() {
		return "systemctl restart signpost"
	}
	if runtime.GOOS == "freebsd" {
		return "service signpost restart"
	}
	return "pkill -x signpost; runuser -u " + doctor.ServiceUser + " -- signpost serve -c " + doctor.Quote(file)
}
