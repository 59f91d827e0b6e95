package postfix

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"signpost/internal/doctor"
)

// policyPrepend: in these releases a milter that deletes a field hits the wrong one of its name, or none, once Postfix itself
// has put a field on top. Mended in Postfix 3.9, and in the last patches of the four releases before it.
func (l *site) policyPrepend(context.Context) (found []doctor.Finding) {
	version := l.postconf.main["mail_version"]
	for _, mended := range [][]int{{3, 8, 6}, {3, 7, 11}, {3, 6, 15}, {3, 5, 25}} {
		if atLeast(version, mended...) && !atLeast(version, mended[0], mended[1]+1) {
			return nil
		}
	}
	if atLeast(version, 3, 9) {
		return nil
	}
	for _, s := range l.postconf.of("smtpd") {
		for _, stage := range []string{"client", "helo", "sender", "relay", "recipient", "data", "end_of_data"} {
			name := "smtpd_" + stage + "_restrictions"
			if !prepends(words(l.postconf.get(s, name))) {
				continue
			}
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: "with Postfix " + version + " a field that a policy service or a table puts in confuses the milters", Where: l.postconf.where(s, name),
				Why: "a forged result may stay and another field be deleted in its place; mended in 3.5.25, 3.6.15, 3.7.11, 3.8.6 and 3.9", Fix: "apt-get install --only-upgrade postfix"})
		}
	}
	return found
}

// prepends says whether restrictions may put a field on top: a policy service may, a table where PREPEND stands in its source.
func prepends(restrictions []string) bool {
	return slices.ContainsFunc(restrictions, func(w string) bool {
		if w == "check_policy_service" {
			return true
		}
		kind, path, _ := strings.Cut(strings.TrimPrefix(w, "proxy:"), ":")
		text := []byte(w) // inline
		if slices.Contains([]string{"cidr", "regexp", "pcre", "texthash", "hash", "btree", "lmdb", "cdb"}, kind) && filepath.IsAbs(path) {
			text, _ = os.ReadFile(path) // what cannot be read says nothing
		}
		return strings.Contains(strings.ToUpper(string(text)), "PREPEND")
	})
}

// bareNewline is about SMTP smuggling: where a bare LF ends a message, a client writes a second one behind it that comes from
// whoever it likes.
func (l *site) bareNewline(context.Context) (found []doctor.Finding) {
	const forbid, data, discard = "smtpd_forbid_bare_newline", "smtpd_data_restrictions", "smtpd_discard_ehlo_keywords"
	for _, s := range l.postconf.of("smtpd") {
		if l.loopback(s) {
			continue
		}
		f := doctor.Finding{Level: doctor.Yellow, What: s.id + " takes a bare LF for the end of a line", Where: l.postconf.where(s, forbid),
			Why: "a message can be smuggled in behind another: it comes with the other's client and login, and is verified or signed as such",
			// yes is normalize where that is known, and known before it.
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
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: s.id + " sends a bare CR or LF on", Where: l.postconf.where(s, stray),
				Why: "the next server may see two messages in one, or another text than was signed", Fix: l.postconf.unset(l.postconf.at(s, stray), stray)})
		}
	}
	return found
}

// with is a list that has a word.
func with(list []string, word string) []string {
	if slices.Contains(list, word) {
		return list
	}
	return append([]string{word}, list...)
}
