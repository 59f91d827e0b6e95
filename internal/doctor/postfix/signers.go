package postfix

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"signpost/internal/doctor"
)

// signer is another milter that can sign.
type signer struct {
	name  string
	marks []string // parts of the milter's address that identify the program
	port  string   // the default port in the program's package
	// signs reports whether the program is configured to sign. It returns an error if this process has no permission to read the
	// configuration.
	signs func(l *site) (bool, error)
	// fix returns the command that stops the program from signing. fix is nil if the program does nothing but sign, so that it can be
	// removed from the list.
	fix func(l *site) string
}

func signers() []signer {
	return []signer{
		{name: "OpenDKIM", marks: []string{"opendkim"}, port: "8891", signs: opendkimSigns},
		{name: "dkimpy-milter", marks: []string{"dkimpy"}, port: "8892", signs: func(*site) (bool, error) { return true, nil }},
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

// signer returns the other program at an address. It recognizes a program by its name, or by its port. It ignores a port that Signpost
// uses.
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

// matches searches files for a regular expression. It returns the text of the first group of each match, in the order in which the program
// reads the files.
func (l *site) matches(expression string, patterns ...string) (all []string, err error) {
	for _, p := range patterns {
		files, _ := filepath.Glob(l.path(p)) // Glob sorts the files; its only possible error is a bad pattern
		for _, file := range files {
			text, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrPermission) {
				return nil, err
			}
			for _, m := range regexp.MustCompile(expression).FindAllSubmatch(text, -1) {
				all = append(all, string(m[1]))
			}
		}
	}
	return all, nil
}

// opendkimSigns reports whether OpenDKIM signs. OpenDKIM signs unless the setting Mode excludes signing.
func opendkimSigns(l *site) (bool, error) {
	modes, err := l.matches(`(?mi)^\s*Mode\s+(\w+)`, "etc/opendkim.conf")
	return len(modes) == 0 || strings.Contains(modes[len(modes)-1], "s"), err
}

// rspamdSigns reports whether rspamd signs. The signing module of rspamd is enabled by default, but needs settings or keys.
func rspamdSigns(l *site) (bool, error) {
	files := []string{"etc/rspamd/local.d/dkim_signing.conf", "etc/rspamd/override.d/dkim_signing.conf"}
	on, err := l.matches(`(?m)^\s*enabled\s*[=:]?\s*"?(\w+)`, files...)
	if len(on) > 0 || err != nil {
		last := append([]string{""}, on...)[len(on)]
		return last != "false" && last != "no" && last != "off", err
	}
	for _, p := range files {
		if _, err := os.Stat(l.path(p)); err == nil {
			return true, nil
		}
	}
	keys, err := os.ReadDir(l.path("var/lib/rspamd/dkim"))
	if errors.Is(err, fs.ErrPermission) {
		return false, err
	}
	return slices.ContainsFunc(keys, func(k fs.DirEntry) bool { return filepath.Ext(k.Name()) == ".key" }), nil
}

// amavisSigns reports whether amavis signs. By default it does not.
func amavisSigns(l *site) (bool, error) {
	on, err := l.matches(`(?m)^\s*\$enable_dkim_signing\s*=\s*(\d)`, "etc/amavis/conf.d/*", "etc/amavisd/amavisd.conf", "etc/amavisd.conf", "usr/local/etc/amavisd.conf")
	return len(on) > 0 && on[len(on)-1] != "0", err
}

// remote reports whether an entry is a milter on another host, whose configuration cannot be read here.
func (l *site) remote(e entry) bool {
	network, at := l.resolve(e.address, false)
	host, _, err := net.SplitHostPort(at)
	return network == "tcp" && err == nil && host != "localhost" && !slices.ContainsFunc(l.hosts[host], l.here)
}

// otherSigners finds other milters that sign the same mail as Signpost. In observe mode another signer is correct, because Signpost does
// not sign.
func (l *site) otherSigners(context.Context) (found []doctor.Finding) {
	var signing, unknown []string
	add := func(all []string, address string) []string {
		if slices.Contains(all, address) {
			return all
		}
		return append(all, address)
	}
	for _, one := range l.allLists() {
		ours := l.ours(one)
		for i, e := range one.entries {
			other, ok := l.signer(e, one.service.chroot)
			if !ok || l.remote(e) {
				if !l.meant(e, one.service.chroot) {
					unknown = add(unknown, e.address)
				}
				continue
			}
			signs, err := other.signs(l)
			switch {
			case err != nil:
				found = append(found, doctor.OrNotPermitted(err, doctor.Finding{}))
				continue
			case !signs:
				continue
			case l.Observe || ours < 0:
				signing = add(signing, other.name+" ("+e.address+")")
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
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: other.name + " (" + e.address + ") also signs: it comes " + where + " Signpost in " + one.name + " of " + one.service.id,
				Where: l.postconf.where(one.at, one.name),
				Why:   "the mail has two signatures, with two keys to rotate; a milter after Signpost may break the signature of Signpost",
				Fix:   fix})
		}
	}
	if len(found) > 0 {
		return found
	}
	good := doctor.Finding{Level: doctor.Green, What: "no other milter signs"}
	switch {
	case len(signing) > 0:
		good.What = strings.Join(signing, ", ") + " signs, but Signpost does not sign the same mail"
	case len(unknown) > 0:
		good.What = "doctor does not know whether these milters sign: " + strings.Join(unknown, ", ")
	}
	return []doctor.Finding{good}
}

// removed reports whether the fix of otherSigners removes a milter from the list.
func (l *site) removed(e entry, chroot bool) bool {
	other, ok := l.signer(e, chroot)
	if !ok || other.fix != nil {
		return false
	}
	signs, err := other.signs(l)
	return signs && err == nil
}

// milterOrder finds milters that Postfix calls after Signpost. Such a milter breaks the signature if it changes a signed field or the body.
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
				before, after = append(before, e.text()), append(after, e.address)
			default:
				before = append(before, e.text())
			}
		}
		if len(after) == 0 {
			continue // otherSigners reports these
		}
		found = append(found, doctor.Finding{Level: doctor.Yellow, What: "milters come after Signpost in " + one.name + " of " + one.service.id + ": " + strings.Join(after, ", "),
			Where: l.postconf.where(one.at, one.name), Why: "a later milter that changes the body or a signed field breaks the signature",
			Fix: l.postconf.setAt(one.at, one.name, strings.Join(append(before, one.entries[i].text()), ", "))})
	}
	return found
}
