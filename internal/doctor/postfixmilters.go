package doctor

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
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

// with is the entry with one of its settings changed.
func (e entry) with(name, value string) string {
	text := "{ " + e.address
	for _, k := range sortedKeys(e.settings) {
		if k == name {
			text += ", " + k + "=" + value
		} else {
			text += ", " + k + "=" + e.settings[k]
		}
	}
	return text + " }"
}

// resolve is the socket that a program of this chroot would open: it runs in the queue directory, and in a chroot an
// absolute path starts there too.
func (l *site) resolve(address string, chroot bool) (network, at string) {
	kind, rest, _ := strings.Cut(address, ":")
	switch {
	case kind == "inet":
		return "tcp", rest
	case kind != "unix" && kind != "local":
		return "", address
	case chroot || !filepath.IsAbs(rest):
		return "unix", filepath.Join(l.facts.main["queue_directory"], rest)
	}
	return "unix", filepath.Clean(rest)
}

// right says whether an entry leads a program to one of our sockets.
func (l *site) right(e entry, chroot bool) bool {
	network, at := l.resolve(e.address, chroot)
	for _, ln := range l.config.Listen {
		if ln.Network == network && (network == "unix" && filepath.Clean(ln.Address) == at || network == "tcp" && samePort(ln.Address, at)) {
			return true
		}
	}
	return false
}

// meant says whether an entry is one of ours, be it written wrongly.
func (l *site) meant(e entry, chroot bool) bool {
	if l.right(e, chroot) || strings.Contains(e.address, "signpost") {
		return true
	}
	_, rest, _ := strings.Cut(e.address, ":")
	for _, ln := range l.config.Listen {
		if ln.Network == "unix" && ln.Address == rest {
			return true
		}
	}
	return false
}

// samePort: localhost has many names.
func samePort(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && (hostA == hostB || local(hostA) && local(hostB))
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// name is what to write into main.cf for our first socket; empty: no name leads there through the chroot. A relative one
// does with a chroot and without.
func (l *site) name() string {
	ln := l.config.Listen[0]
	if ln.Network != "unix" {
		host, port, _ := net.SplitHostPort(ln.Address)
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		return "inet:" + net.JoinHostPort(host, port)
	}
	if below, ok := strings.CutPrefix(filepath.Clean(ln.Address), filepath.Clean(l.facts.main["queue_directory"])+"/"); ok {
		return "unix:" + below
	}
	for _, s := range slices.Concat(l.facts.of("smtpd"), l.facts.of("cleanup")) {
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
	at      *service // where it stands: nil is main.cf
	entries []entry
}

// lists are smtpd_milters as each smtpd(8) that runs milters has it, then non_smtpd_milters as cleanup(8) does.
func (l *site) lists(name, command string) (all []list) {
	for _, s := range l.facts.of(command) {
		if slices.Contains(words(l.facts.get(s, "receive_override_options")), "no_milters") {
			continue
		}
		one := list{name: name, service: s, entries: entries(l.facts.get(s, name))}
		if _, ok := s.over[name]; ok {
			one.at = s
		}
		all = append(all, one)
	}
	return all
}

func (l *site) allLists() []list {
	return slices.Concat(l.lists("smtpd_milters", "smtpd"), l.lists("non_smtpd_milters", "cleanup"))
}

// ours is the place of our entry, -1: none.
func (l *site) ours(one list) int {
	return slices.IndexFunc(one.entries, func(e entry) bool { return l.meant(e, one.service.chroot) })
}

// replaced is the list with the entry at i written anew; empty takes it out, i past the end adds one.
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

func (l *site) smtpdMilters() (found []Finding) { return l.missing("smtpd_milters", "smtpd") }

func (l *site) nonSMTPDMilters() (found []Finding) {
	return l.missing("non_smtpd_milters", "cleanup")
}

// missing are the programs that never come to us.
func (l *site) missing(name, command string) (found []Finding) {
	why := "what comes by SMTP is neither verified nor signed"
	if command == "cleanup" {
		why = "mail of sendmail(1), cron and web programs, and bounces, leave unsigned"
	}
	inMain := entries(l.facts.main[name])
	for _, one := range l.lists(name, command) {
		if l.ours(one) >= 0 {
			continue
		}
		fix := l.facts.set(name, one.replaced(len(one.entries), l.name()))
		if one.at != nil {
			fix = l.facts.setAt(one.at, name, one.replaced(len(one.entries), l.name()))
			if slices.ContainsFunc(inMain, func(e entry) bool { return l.meant(e, one.service.chroot) }) {
				fix = l.facts.unset(one.at, name)
			}
		}
		if l.name() == "" {
			fix = l.listenLine()
		}
		found = append(found, Finding{Level: Red, What: printable("Signpost is not among the " + name + " of " + one.service.id),
			Where: l.facts.where(one.at, name), Why: why, Fix: fix})
	}
	return found
}

// listenLine is for signpost.toml: Debian's chroot, or any other, holds the socket.
func (l *site) listenLine() string {
	return `listen = ["unix:` + filepath.Join(l.facts.main["queue_directory"], "signpost/milter.sock") + `"]`
}

// socketPath is about names that lead a program elsewhere, such as an absolute path inside a chroot.
func (l *site) socketPath() (found []Finding) {
	for _, one := range l.allLists() {
		i := l.ours(one)
		if i < 0 || l.right(one.entries[i], one.service.chroot) {
			continue
		}
		e := one.entries[i]
		_, at := l.resolve(e.address, one.service.chroot)
		what := one.service.id + " looks for " + at + ", and the daemon listens on " + l.config.Listen[0].Address
		if one.service.chroot {
			what += "; it runs chrooted in " + l.facts.main["queue_directory"]
		}
		name := l.name()
		fix := l.facts.setAt(one.at, one.name, one.replaced(i, name))
		if name == "" {
			fix = l.listenLine()
		} else if e.settings != nil {
			moved := entry{address: name, settings: e.settings}
			fix = l.facts.setAt(one.at, one.name, one.replaced(i, moved.with("", "")))
		}
		found = append(found, Finding{Level: Red, What: printable(what), Where: l.facts.where(one.at, one.name),
			Why: "Postfix cannot reach the daemon, and does what milter_default_action says with every mail", Fix: fix})
	}
	return found
}

// signer says which other program an address belongs to, by its name or by the port that its package comes with.
func signer(address string) string {
	for _, k := range []struct{ mark, name string }{
		{"opendkim", "OpenDKIM"}, {"dkimpy", "dkimpy-milter"}, {"rspamd", "rspamd"}, {":11332", "rspamd"}, {":12301", "OpenDKIM"}, {":8891", "OpenDKIM"},
		{":8892", "dkimpy-milter"}, {"amavis", "amavis"},
	} {
		if strings.Contains(address, k.mark) {
			return k.name
		}
	}
	return ""
}

// otherSigners sign as we do. In observe mode they are what we are compared with.
func (l *site) otherSigners() (found []Finding) {
	if l.config.Observe {
		return nil
	}
	for _, one := range l.allLists() {
		ours := l.ours(one)
		for i, e := range one.entries {
			name := signer(e.address)
			if i == ours || ours < 0 || name == "" {
				continue
			}
			where := "after"
			if i < ours {
				where = "before"
			}
			found = append(found, Finding{Level: Yellow, What: printable(name + " (" + e.address + ") stands " + where + " Signpost in " + one.name + " of " + one.service.id),
				Where: l.facts.where(one.at, one.name),
				Why:   "it may sign and judge the same mail again: two signatures with two keys to look after, two sets of results; one after Signpost may break the first",
				Fix:   l.facts.setAt(one.at, one.name, one.replaced(i, ""))})
		}
	}
	return found
}

// milterOrder is about milters after us: what they change in signed fields or the body breaks the signature.
func (l *site) milterOrder() (found []Finding) {
	for _, one := range l.allLists() {
		i := l.ours(one)
		if i < 0 || i == len(one.entries)-1 {
			continue
		}
		var before, after []string
		for j, e := range one.entries {
			switch {
			case j == i:
			case j > i && signer(e.address) == "" || l.config.Observe:
				before, after = append(before, e.raw), append(after, printable(e.address))
			default:
				before = append(before, e.raw)
			}
		}
		if len(after) == 0 {
			continue // other signers are told of by themselves
		}
		found = append(found, Finding{Level: Yellow, What: "milters stand after Signpost in " + one.name + " of " + one.service.id + ": " + strings.Join(after, ", "),
			Where: l.facts.where(one.at, one.name), Why: "what a later milter changes in the body or in signed fields breaks the signature",
			Fix: l.facts.setAt(one.at, one.name, strings.Join(append(before, one.entries[i].raw), ", "))})
	}
	return found
}
