package postfix

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"signpost/internal/doctor"
)

// policyPrepend finds releases with a bug in field deletion. If Postfix itself has prepended a field, and a milter then deletes a field of
// the same name, Postfix deletes the wrong field or none. This is fixed in Postfix 3.9, and in the last patches of the four releases before
// 3.9.
func (l *site) policyPrepend(context.Context) (found []doctor.Finding) {
	version := l.postconf.main["mail_version"]
	if includes(version, []int{3, 9}, []int{3, 8, 6}, []int{3, 7, 11}, []int{3, 6, 15}, []int{3, 5, 25}) {
		return nil
	}
	for _, s := range l.postconf.of("smtpd") {
		for _, stage := range []string{"client", "helo", "sender", "relay", "recipient", "data", "end_of_data"} {
			name := "smtpd_" + stage + "_restrictions"
			if !prepends(words(l.postconf.get(s, name))) {
				continue
			}
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: "in Postfix " + version + ", milters delete the wrong field after a policy service or a table has prepended one", Where: l.postconf.where(s, name),
				Why: "a forged Authentication-Results may remain, and another field may be deleted; fixed in 3.5.25, 3.6.15, 3.7.11, 3.8.6 and 3.9", Fix: "apt-get install --only-upgrade postfix"})
		}
	}
	return found
}

// includes reports whether a version has a change of a release. Each patch is the first patch of an earlier release that has the change too.
func includes(version string, release []int, patches ...[]int) bool {
	return atLeast(version, release...) || slices.ContainsFunc(patches, func(first []int) bool {
		return atLeast(version, first...) && !atLeast(version, first[0], first[1]+1)
	})
}

// prepends reports whether restrictions may prepend a field. A policy service may prepend one. A table may also prepend one if its source
// contains PREPEND.
func prepends(restrictions []string) bool {
	return slices.ContainsFunc(restrictions, func(w string) bool {
		if w == "check_policy_service" {
			return true
		}
		kind, path, _ := strings.Cut(strings.TrimPrefix(w, "proxy:"), ":")
		text := []byte(w) // inline
		if slices.Contains([]string{"cidr", "regexp", "pcre", "texthash", "hash", "btree", "lmdb", "cdb"}, kind) && filepath.IsAbs(path) {
			text, _ = os.ReadFile(path) // a table that cannot be read counts as a table without PREPEND
		}
		return strings.Contains(strings.ToUpper(string(text)), "PREPEND")
	})
}

// bareNewline finds services that allow SMTP smuggling. If a bare LF may end a message, a client can hide a second message with any sender
// in it.
func (l *site) bareNewline(context.Context) (found []doctor.Finding) {
	const forbid, data, discard = "smtpd_forbid_bare_newline", "smtpd_data_restrictions", "smtpd_discard_ehlo_keywords"
	for _, s := range l.postconf.of("smtpd") {
		if l.loopback(s) {
			continue
		}
		f := doctor.Finding{Level: doctor.Yellow, What: s.id + " accepts a bare LF as the end of a line", Where: l.postconf.where(s, forbid),
			Why: "SMTP smuggling: a client can hide a second message in a message; the hidden one counts as mail of the same client and login, and passes SPF or is signed",
			// In releases that support the value normalize, yes has the same meaning as normalize. Older releases have only yes.
			Fix: l.postconf.setAt(l.postconf.at(s, forbid), forbid, "yes")}
		if _, known := l.postconf.main[forbid]; !known {
			const guard, chunking = "reject_unauth_pipelining", "chunking"
			restrictions, keywords := words(l.postconf.get(s, data)), words(l.postconf.get(s, discard))
			if slices.Contains(restrictions, guard) && slices.Contains(keywords, chunking) {
				continue
			}
			f.Where = "Postfix " + l.postconf.main["mail_version"] + " has no " + forbid
			f.Fix = l.postconf.setAt(l.postconf.at(s, data), data, strings.Join(with(restrictions, guard), ", ")) + " && " +
				l.postconf.setAt(l.postconf.at(s, discard), discard, strings.Join(with(keywords, chunking), ", "))
		} else if !strings.EqualFold(l.postconf.get(s, forbid), "no") {
			continue
		}
		found = append(found, f)
	}
	const stray = "cleanup_replace_stray_cr_lf"
	for _, s := range l.postconf.of("cleanup") {
		if l.postconf.get(s, stray) == "no" {
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: s.id + " forwards a bare CR or LF", Where: l.postconf.where(s, stray),
				Why: "the next server may interpret one message as two, or receive a text that differs from the signed one", Fix: l.postconf.unset(l.postconf.at(s, stray), stray)})
		}
	}
	return found
}

// with adds a word to a list if the word is missing. It returns the list.
func with(list []string, word string) []string {
	if slices.Contains(list, word) {
		return list
	}
	return append([]string{word}, list...)
}
