package postfix

import (
	"cmp"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"signpost/internal/doctor"
)

// signer is another milter that can sign.
type signer struct {
	name  string
	marks []string // parts of its address
	port  string   // the default of its package
	// signs reports whether it is configured to sign.
	signs func(l *site) bool
	// fix returns the command that stops it from signing; nil: remove it from the list, as it does nothing else.
	fix func(l *site) string
}

func signers() []signer {
	return []signer{
		{name: "OpenDKIM", marks: []string{"opendkim"}, port: "8891", signs: opendkimSigns},
		{name: "dkimpy-milter", marks: []string{"dkimpy"}, port: "8892", signs: func(*site) bool { return true }},
		{name: "rspamd", marks: []string{"rspamd"}, port: "11332", signs: rspamdSigns, fix: func(l *site) string {
			return "echo 'enabled = false;' > " + doctor.Quote(l.path("etc/rspamd/override.d/dkim_signing.conf"))
		}},
		{name: "amavis", marks: []string{"amavis"}, signs: amavisSigns, fix: func(l *site) string {
			return `printf '%s\n' '$enable_dkim_signing = 0;' '1;' > ` + doctor.Quote(l.path("etc/amavis/conf.d/99-dkim"))
		}},
	}
}

// path returns a file of another program, below Root.
func (l *site) path(name string) string { return filepath.Join(cmp.Or(l.Root, "/"), name) }

// signer returns the other program that has an address, by its name or, unless that is one of ours, by its port.
func (l *site) signer(e entry, chroot bool) (signer, bool) {
	if l.meant(e, chroot) {
		return signer{}, false
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(e.address, "inet:"))
	for _, s := range signers() {
		for _, mark := range s.marks {
			if strings.Contains(e.address, mark) {
				return s, true
			}
		}
		if s.port != "" && port == s.port {
			return s, true
		}
	}
	return signer{}, false
}

// matches returns what the first group of a regular expression matches in files, in the order in which their program reads them.
func (l *site) matches(expression string, patterns ...string) (all []string) {
	for _, p := range patterns {
		files, _ := filepath.Glob(l.path(p)) // sorted; its only error is a bad pattern
		for _, file := range files {
			text, _ := os.ReadFile(file) // an unreadable file has no matches
			for _, m := range regexp.MustCompile(expression).FindAllSubmatch(text, -1) {
				all = append(all, string(m[1]))
			}
		}
	}
	return all
}

// opendkimSigns reports whether OpenDKIM signs: it does unless it is configured to verify only.
func opendkimSigns(l *site) bool {
	modes := l.matches(`(?mi)^\s*Mode\s+(\w+)`, "etc/opendkim.conf")
	return len(modes) == 0 || strings.Contains(modes[len(modes)-1], "s")
}

// rspamdSigns reports whether rspamd signs: its module is on by default, and does nothing without settings or keys.
func rspamdSigns(l *site) bool {
	files := []string{"etc/rspamd/local.d/dkim_signing.conf", "etc/rspamd/override.d/dkim_signing.conf"}
	if on := l.matches(`(?m)^\s*enabled\s*[=:]?\s*"?(\w+)`, files...); len(on) > 0 {
		last := on[len(on)-1]
		return last != "false" && last != "no" && last != "off"
	}
	for _, p := range append(files, "var/lib/rspamd/dkim/*.key") {
		if found, _ := filepath.Glob(l.path(p)); len(found) > 0 {
			return true
		}
	}
	return false
}

// amavisSigns reports whether amavis signs: it does not by default.
func amavisSigns(l *site) bool {
	on := l.matches(`(?m)^\s*\$enable_dkim_signing\s*=\s*(\d)`, "etc/amavis/conf.d/*", "etc/amavisd/amavisd.conf", "etc/amavisd.conf", "usr/local/etc/amavisd.conf")
	return len(on) > 0 && on[len(on)-1] != "0"
}

// otherSigners finds other milters that sign. In observe mode, Signpost is compared with them.
func (l *site) otherSigners(context.Context) (found []doctor.Finding) {
	if l.Observe {
		return nil
	}
	for _, one := range l.allLists() {
		ours := l.ours(one)
		for i, e := range one.entries {
			other, ok := l.signer(e, one.service.chroot)
			if ours < 0 || !ok || !other.signs(l) {
				continue
			}
			where := "after"
			if i < ours {
				where = "before"
			}
			fix := l.postconf.setAt(one.at, one.name, one.replaced(i, ""))
			if other.fix != nil {
				fix = other.fix(l)
			}
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: other.name + " (" + e.address + ") stands " + where + " Signpost in " + one.name + " of " + one.service.id + ", and signs",
				Where: l.postconf.where(one.at, one.name),
				Why:   "the same mail is signed again: two signatures with two keys to look after; one after Signpost may break the first",
				Fix:   fix})
		}
	}
	return found
}

// removed reports whether the fix of otherSigners removes a milter from the list.
func (l *site) removed(e entry, chroot bool) bool {
	other, ok := l.signer(e, chroot)
	return ok && other.fix == nil && other.signs(l)
}

// milterOrder finds milters after Signpost: what they change in signed fields or the body breaks the signature.
func (l *site) milterOrder(context.Context) (found []doctor.Finding) {
	for _, one := range l.allLists() {
		i := l.ours(one)
		if i < 0 || i == len(one.entries)-1 {
			continue
		}
		var before, after []string
		for j, e := range one.entries {
			switch {
			case j == i:
			case j > i && !l.meant(e, one.service.chroot) && (l.Observe || !l.removed(e, one.service.chroot)):
				before, after = append(before, e.raw), append(after, e.address)
			default:
				before = append(before, e.raw)
			}
		}
		if len(after) == 0 {
			continue // otherSigners reports these
		}
		found = append(found, doctor.Finding{Level: doctor.Yellow, What: "milters stand after Signpost in " + one.name + " of " + one.service.id + ": " + strings.Join(after, ", "),
			Where: l.postconf.where(one.at, one.name), Why: "what a later milter changes in the body or in signed fields breaks the signature",
			Fix: l.postconf.setAt(one.at, one.name, strings.Join(append(before, one.entries[i].raw), ", "))})
	}
	return found
}
