package postfix

import (
	"context"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"signpost/internal/doctor"
)

// entry is one milter of a list.
type entry struct {
	raw      string
	address  string            // unix:PATH or inet:HOST:PORT
	settings map[string]string // Postfix 3.0: { ADDRESS, default_action=tempfail }
}

func entries(list string) (all []entry) {
	for _, raw := range words(list) {
		e := entry{raw: raw, address: raw}
		if inner, ok := strings.CutPrefix(raw, "{"); ok {
			parts := words(strings.TrimSuffix(inner, "}"))
			if len(parts) == 0 {
				continue
			}
			e.address, e.settings = parts[0], map[string]string{}
			for _, s := range parts[1:] {
				name, value, _ := strings.Cut(strings.Trim(s, "{} "), "=")
				e.settings[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
		all = append(all, e)
	}
	return all
}

// with returns the entry with one of its settings changed.
func (e entry) with(name, value string) string {
	text := "{ " + e.address
	for _, k := range slices.Sorted(maps.Keys(e.settings)) {
		if k == name {
			text += ", " + k + "=" + value
		} else {
			text += ", " + k + "=" + e.settings[k]
		}
	}
	return text + " }"
}

// resolve returns the socket that a program opens. The program runs in the queue directory; in a chroot, absolute paths start there too.
func (l *site) resolve(address string, chroot bool) (network, at string) {
	kind, rest, _ := strings.Cut(address, ":")
	switch {
	case kind == "inet":
		return "tcp", rest
	case kind != "unix" && kind != "local":
		return "", address
	case chroot || !filepath.IsAbs(rest):
		return "unix", filepath.Join(l.postconf.main["queue_directory"], rest)
	}
	return "unix", filepath.Clean(rest)
}

// right reports whether an entry is the address of one of our sockets.
func (l *site) right(e entry, chroot bool) bool {
	network, at := l.resolve(e.address, chroot)
	for _, ln := range l.Listen {
		if ln.Network == network && (network == "unix" && filepath.Clean(ln.Address) == at || network == "tcp" && samePort(ln.Address, at)) {
			return true
		}
	}
	return false
}

// meant reports whether an entry is intended to be one of our sockets, even if its address is wrong.
func (l *site) meant(e entry, chroot bool) bool {
	if l.right(e, chroot) || strings.Contains(e.address, "signpost") {
		return true
	}
	_, rest, _ := strings.Cut(e.address, ":")
	port, host, _ := strings.Cut(rest, "@") // the form of sendmail: inet:PORT@HOST
	return slices.ContainsFunc(l.Listen, func(ln Listener) bool {
		return ln.Network == "unix" && ln.Address == rest || ln.Network == "tcp" && samePort(ln.Address, net.JoinHostPort(host, port))
	})
}

// samePort reports whether two addresses are the same. All names of localhost count as one.
func samePort(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && (hostA == hostB || local(hostA) && local(hostB))
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// name returns the value in main.cf for our first socket. It is empty if the chroot does not contain the socket. A relative path works
// with a chroot and without.
func (l *site) name() string {
	ln := l.Listen[0]
	if ln.Network != "unix" {
		host, port, _ := net.SplitHostPort(ln.Address)
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		return "inet:" + net.JoinHostPort(host, port)
	}
	if below, ok := strings.CutPrefix(filepath.Clean(ln.Address), filepath.Clean(l.postconf.main["queue_directory"])+"/"); ok {
		return "unix:" + below
	}
	for _, s := range slices.Concat(l.postconf.of("smtpd"), l.postconf.of("cleanup")) {
		if s.chroot {
			return ""
		}
	}
	return "unix:" + ln.Address
}

// list is a parameter that holds milters, and a program that reads it.
type list struct {
	name    string
	service *service
	at      *service // where it is set: nil is main.cf
	entries []entry
}

// lists returns smtpd_milters of each smtpd(8) that runs milters, or non_smtpd_milters of each cleanup(8). receive_override_options of
// cleanup(8) do not count: pickup(8) passes its own.
func (l *site) lists(name, command string) (all []list) {
	for _, s := range l.postconf.of(command) {
		if command == "smtpd" && l.off(s) {
			continue
		}
		one := list{name: name, service: s, at: l.postconf.at(s, name), entries: entries(l.postconf.get(s, name))}
		if one.at == nil && l.postconf.oneList {
			one.name = "smtpd_milters"
		}
		all = append(all, one)
	}
	return all
}

func (l *site) allLists() []list {
	return slices.Concat(l.lists("smtpd_milters", "smtpd"), l.lists("non_smtpd_milters", "cleanup"))
}

// ours returns the index of our entry, or -1.
func (l *site) ours(one list) int {
	return slices.IndexFunc(one.entries, func(e entry) bool { return l.meant(e, one.service.chroot) })
}

// replaced returns the list with another entry at i. An empty text removes it; an i past the end adds one.
func (one list) replaced(i int, text string) string {
	var all []string
	for j, e := range one.entries {
		switch {
		case j != i:
			all = append(all, e.raw)
		case text != "":
			all = append(all, text)
		}
	}
	if i >= len(one.entries) {
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// noMilters switches milters off for what a service receives.
const noMilters = "no_milters"

func (l *site) off(s *service) bool {
	return slices.Contains(words(l.postconf.get(s, overrides)), noMilters)
}

const overrides = "receive_override_options"

// switchedOff finds a service that runs no milters at all.
func (l *site) switchedOff(s *service, why string) (found []doctor.Finding) {
	if !l.off(s) {
		return nil
	}
	at := l.postconf.at(s, overrides)
	rest := slices.DeleteFunc(words(l.postconf.get(s, overrides)), func(w string) bool { return w == noMilters })
	return []doctor.Finding{{Level: doctor.Red, What: s.id + " runs no milters: " + overrides + " has " + noMilters,
		Where: l.postconf.where(s, overrides), Why: why, Fix: l.postconf.setAt(at, overrides, strings.Join(rest, ","))}}
}

const (
	whySMTP  = "what comes by SMTP is neither verified nor signed"
	whyLocal = "mail of sendmail(1), cron and web programs, and bounces, leave unsigned"
)

func (l *site) smtpdMilters(context.Context) (found []doctor.Finding) {
	all := l.postconf.of("smtpd")
	if len(all) == 0 {
		return []doctor.Finding{{Level: doctor.Red, What: "no service runs smtpd(8)", Where: "master.cf", Why: "no mail comes by SMTP, neither from users nor from strangers",
			Fix: l.postconf.command() + " -M 'smtp/inet=smtp inet n - - - - smtpd'"}}
	}
	for _, s := range all {
		if !l.reinjects(s) {
			found = append(found, l.switchedOff(s, whySMTP)...)
		}
	}
	return append(found, l.missing("smtpd_milters", "smtpd", whySMTP)...)
}

func (l *site) nonSMTPDMilters(context.Context) (found []doctor.Finding) {
	if len(l.postconf.of("cleanup")) == 0 {
		return []doctor.Finding{{Level: doctor.Red, What: "no service runs cleanup(8)", Where: "master.cf", Why: "Postfix takes no mail without it",
			Fix: l.postconf.command() + " -M 'cleanup/unix=cleanup unix n - - - 0 cleanup'"}}
	}
	for _, s := range l.postconf.of("pickup") {
		found = append(found, l.switchedOff(s, "mail of sendmail(1), cron and web programs leaves unsigned")...)
	}
	return append(found, l.missing("non_smtpd_milters", "cleanup", whyLocal)...)
}

// missing finds the programs that do not use Signpost. Those that accept reinjected mail need not.
func (l *site) missing(name, command, why string) (found []doctor.Finding) {
	inMain := entries(l.postconf.main[name])
	for _, one := range l.lists(name, command) {
		if l.ours(one) >= 0 || l.reinjects(one.service) {
			continue
		}
		fix := l.postconf.set(one.name, one.replaced(len(one.entries), l.name()))
		if one.at != nil {
			fix = l.postconf.setAt(one.at, name, one.replaced(len(one.entries), l.name()))
			if slices.ContainsFunc(inMain, func(e entry) bool { return l.meant(e, one.service.chroot) }) {
				fix = l.postconf.unset(one.at, name)
			}
		}
		if l.name() == "" {
			fix = l.listenLine()
		}
		found = append(found, doctor.Finding{Level: doctor.Red, What: "Signpost is not among the " + name + " of " + one.service.id,
			Where: l.postconf.where(one.at, one.name), Why: why, Fix: fix})
	}
	return found
}

// listenLine returns the line for signpost.toml that puts the socket into Postfix's chroot.
func (l *site) listenLine() string {
	return `listen = ["unix:` + filepath.Join(l.postconf.main["queue_directory"], "signpost/milter.sock") + `"]`
}

// socketPath finds addresses that are another socket for Postfix, such as an absolute path in a chroot.
func (l *site) socketPath(context.Context) (found []doctor.Finding) {
	for _, one := range l.allLists() {
		i := l.ours(one)
		if i < 0 || l.right(one.entries[i], one.service.chroot) {
			continue
		}
		e := one.entries[i]
		network, at := l.resolve(e.address, one.service.chroot)
		what := one.service.id + " looks for " + at + ", and the daemon listens on " + l.Listen[0].Address
		if one.service.chroot && network == "unix" {
			what += "; it runs chrooted in " + l.postconf.main["queue_directory"]
		}
		name := l.name()
		fix := l.postconf.setAt(one.at, one.name, one.replaced(i, name))
		if name == "" {
			fix = l.listenLine()
		} else if e.settings != nil {
			moved := entry{address: name, settings: e.settings}
			fix = l.postconf.setAt(one.at, one.name, one.replaced(i, moved.with("", "")))
		}
		found = append(found, doctor.Finding{Level: doctor.Red, What: what, Where: l.postconf.where(one.at, one.name),
			Why: "Postfix cannot reach the daemon, and does what milter_default_action says with every mail", Fix: fix})
	}
	return found
}
