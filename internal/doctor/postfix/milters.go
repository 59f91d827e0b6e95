package postfix

import (
	"context"
	"slices"
	"strings"

	"signpost/internal/doctor"
)

// list is a parameter with a list of milters, and a service that uses it.
type list struct {
	name    string
	service *service
	at      *service // the service that sets the parameter in master.cf; nil if main.cf sets it
	entries []entry
}

// lists returns smtpd_milters of each smtpd(8) that runs milters, or non_smtpd_milters of each cleanup(8). It ignores
// receive_override_options of cleanup(8), because pickup(8) passes its own options.
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

// ours returns the index of Signpost's entry, or -1.
func (l *site) ours(one list) int {
	return slices.IndexFunc(one.entries, func(e entry) bool { return l.meant(e, one.service.chroot) })
}

// replaced returns the list after a change of entry i. An empty text removes the entry. If i is past the end, replaced adds an entry.
func (one list) replaced(i int, text string) string {
	var all []string
	for j, e := range one.entries {
		switch {
		case j != i:
			all = append(all, e.text())
		case text != "":
			all = append(all, text)
		}
	}
	if i >= len(one.entries) {
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// noMilters disables the milters for mail that a service receives.
const noMilters = "no_milters"

func (l *site) off(s *service) bool {
	return slices.Contains(words(l.postconf.get(s, overrides)), noMilters)
}

const overrides = "receive_override_options"

// switchedOff finds a service that disables its milters.
func (l *site) switchedOff(s *service, why string) (found []doctor.Finding) {
	if !l.off(s) {
		return nil
	}
	at := l.postconf.at(s, overrides)
	rest := slices.DeleteFunc(words(l.postconf.get(s, overrides)), func(w string) bool { return w == noMilters })
	return []doctor.Finding{{Level: doctor.Red, What: s.id + " runs no milters: " + overrides + " contains " + noMilters,
		Where: l.postconf.where(s, overrides), Why: why, Fix: l.postconf.setAt(at, overrides, strings.Join(rest, ","))}}
}

const (
	whySMTP  = "mail that this service receives is neither verified nor signed"
	whyLocal = "bounces, and mail that sendmail(1), cron and web applications send, are not signed"
)

func (l *site) smtpdMilters(context.Context) (found []doctor.Finding) {
	all := l.postconf.of("smtpd")
	if len(all) == 0 {
		return []doctor.Finding{{Level: doctor.Red, What: "no service runs smtpd(8)", Where: "master.cf", Why: "Postfix accepts no mail by SMTP, neither from users nor from other servers",
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
		return []doctor.Finding{{Level: doctor.Red, What: "no service runs cleanup(8)", Where: "master.cf", Why: "without cleanup(8), Postfix accepts no mail",
			Fix: l.postconf.command() + " -M 'cleanup/unix=cleanup unix n - - - 0 cleanup'"}}
	}
	for _, s := range l.postconf.of("pickup") {
		found = append(found, l.switchedOff(s, "mail that sendmail(1), cron and web applications send is not signed")...)
	}
	return append(found, l.missing("non_smtpd_milters", "cleanup", whyLocal)...)
}

// missing finds the services that do not use Signpost. Services that accept mail back from a filter do not need it.
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
		found = append(found, doctor.Finding{Level: doctor.Red, What: "Signpost is not in " + name + " of " + one.service.id,
			Where: l.postconf.where(one.at, one.name), Why: why, Fix: fix})
	}
	return found
}

// socketPath finds addresses that Postfix resolves to another socket, such as an absolute path in a chroot, and entries that Postfix
// cannot parse.
func (l *site) socketPath(context.Context) (found []doctor.Finding) {
	for _, one := range l.allLists() {
		chroot := one.service.chroot
		report := func(e entry, i int, what, why string) {
			name := e.address
			if l.meant(e, chroot) && !l.right(e, chroot) {
				name = l.nameFor(e)
			}
			fix := l.postconf.setAt(one.at, one.name, one.replaced(i, e.at(name)))
			if name == "" {
				fix = l.listenLine()
			}
			found = append(found, doctor.Finding{Level: doctor.Red, What: what, Where: l.postconf.where(one.at, one.name), Why: why, Fix: fix})
		}
		if i := slices.IndexFunc(one.entries, func(e entry) bool { return e.fault != "" }); i >= 0 {
			e := one.entries[i]
			what := "Postfix cannot parse the milter " + e.address + " of " + one.service.id + ": " + e.fault
			e.fault = ""
			report(e, i, what, "Postfix replies 451 to every message, or does not reply at all")
			continue
		}
		i := l.ours(one)
		if i < 0 || l.right(one.entries[i], chroot) {
			continue
		}
		network, at := l.resolve(one.entries[i].address, chroot)
		what := one.service.id + " connects to " + at + ", but the daemon listens on " + doctor.Join(l.Listen, ", ", func(ln Listener) string { return ln.Address })
		switch {
		case chroot && network == "unix":
			what += "; the service is chrooted in " + l.postconf.main["queue_directory"]
		case network == "tcp" && l.protocol() != "tcp":
			what += "; inet_protocols = " + l.postconf.main["inet_protocols"]
		}
		report(one.entries[i], i, what, "Postfix cannot reach the daemon, and applies milter_default_action to every message")
	}
	return found
}
