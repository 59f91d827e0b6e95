package postfix

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"signpost/internal/doctor"
)

const eightBitMIME = "8bitmime"

// eightBit finds settings that re-encode bodies between signing and verification. A client must re-encode a body if the server does not
// offer 8BITMIME (RFC 6152 section 3).
func (l *site) eightBit(context.Context) (found []doctor.Finding) {
	discards := func(s *service, name, what, why string) {
		all := words(l.postconf.get(s, name))
		rest := slices.DeleteFunc(slices.Clone(all), func(w string) bool { return strings.EqualFold(w, eightBitMIME) })
		if len(rest) < len(all) {
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: what, Where: l.postconf.where(s, name), Why: why,
				Fix: l.postconf.setAt(l.postconf.at(s, name), name, strings.Join(rest, ", "))})
		}
	}
	for _, s := range l.postconf.of("smtp") {
		if l.postconf.get(s, "disable_mime_output_conversion") != "yes" {
			discards(s, "smtp_discard_ehlo_keywords", s.id+" ignores 8BITMIME of other servers, and converts 8-bit text after signing", "the conversion breaks the signature of each message with 8-bit text")
		}
		const limit = "smtp_line_length_limit"
		if n, err := strconv.Atoi(l.postconf.get(s, limit)); err == nil && n > 0 && n < 990 {
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: s.id + " breaks lines after " + strconv.Itoa(n) + " bytes, after signing", Where: l.postconf.where(s, limit),
				Why: "this breaks the signature of each message with a longer line; SMTP allows 998 bytes", Fix: l.postconf.unset(l.postconf.at(s, limit), limit)})
		}
	}
	for _, s := range l.publicServices() {
		discards(s, "smtpd_discard_ehlo_keywords", s.id+" does not offer 8BITMIME: other servers convert 8-bit text after signing", "the signatures of such mail fail verification")
		const force = "force_mime_input_conversion" // Postfix 3.9
		if c := l.cleanup(s); c != nil && l.postconf.get(c, force) == "yes" {
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: c.id + " converts the 8-bit text of inbound mail before verification", Where: l.postconf.where(c, force),
				Why: "the signatures of such mail fail verification; the parameter is for mail that is not yet signed", Fix: l.postconf.unset(l.postconf.at(c, force), force)})
		}
	}
	return found
}

// publicServices returns the services that accept mail from unauthenticated clients on any host.
func (l *site) publicServices() []*service {
	return slices.DeleteFunc(l.postconf.of("smtpd"), func(s *service) bool { return l.loopback(s) || l.closed(s) })
}

// cleanup returns the cleanup(8) service of a service, or nil if master.cf has none.
func (l *site) cleanup(s *service) *service {
	name := l.postconf.get(s, "cleanup_service_name") + "/unix"
	all := l.postconf.of("cleanup")
	if i := slices.IndexFunc(all, func(c *service) bool { return c.id == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// genericMaps finds rewriting by the delivery agents, which run after the milters.
func (l *site) genericMaps(context.Context) (found []doctor.Finding) {
	const generic, canonical = "smtp_generic_maps", "sender_canonical_maps"
	const why = "rewriting a signed field or the body breaks the signature"
	for _, s := range l.postconf.of("smtp") {
		if v := l.postconf.get(s, generic); v != "" {
			before := strings.Join(append(words(l.postconf.main[canonical]), v), ", ")
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: s.id + " rewrites addresses after signing", Where: l.postconf.where(s, generic),
				Why: why + "; " + canonical + " rewrites addresses before signing", Fix: l.postconf.unset(l.postconf.at(s, generic), generic) + " && " + l.postconf.set(canonical, before)})
		}
		for _, name := range []string{"smtp_header_checks", "smtp_mime_header_checks", "smtp_nested_header_checks", "smtp_body_checks"} {
			signature := onFields("dkim-signature")
			if name != "smtp_header_checks" {
				signature = func(string) bool { return false }
			}
			found = append(found, l.rules(doctor.Red, s, name, signature, "after signing", "the mail is sent without its signature")...)
			other := func(pattern string) bool { return changes(name)(pattern) && !signature(pattern) }
			found = append(found, l.rules(doctor.Yellow, s, name, other, "after signing", why)...)
		}
	}
	for _, s := range l.postconf.of("cleanup") {
		found = append(found, l.rules(doctor.Red, s, "milter_header_checks", onFields(`dkim-signature|authentication-results|x-signpost-[\w-]+`), "when Signpost adds it", "the mail loses its signature or its results")...)
	}
	return found
}

// headerRewrite finds changes to inbound mail before verification: cleanup(8) runs before the milters.
func (l *site) headerRewrite(context.Context) (found []doctor.Finding) {
	const why = "signatures of inbound mail that cover this fail verification"
	for _, s := range l.publicServices() {
		c := l.cleanup(s)
		for _, completes := range []struct {
			by          *service
			name, value string // empty: any
		}{
			{s, "local_header_rewrite_clients", "static:all"}, {s, "remote_header_rewrite_domain", ""}, {c, "always_add_missing_headers", "yes"},
		} {
			have := words(l.postconf.get(completes.by, completes.name))
			if completes.value == "" && len(have) > 0 || slices.Contains(have, completes.value) {
				found = append(found, doctor.Finding{Level: doctor.Yellow, What: s.id + " completes the header of inbound mail before verification",
					Where: l.postconf.where(completes.by, completes.name), Why: why, Fix: l.postconf.unset(l.postconf.at(completes.by, completes.name), completes.name)})
			}
		}
		if c == nil || slices.Contains(words(l.postconf.get(s, overrides)), "no_header_body_checks") {
			continue
		}
		for _, name := range []string{"header_checks", "mime_header_checks", "nested_header_checks", "body_checks"} {
			if name != "header_checks" && l.postconf.get(c, name) == l.postconf.get(c, "header_checks") {
				continue // the default
			}
			found = append(found, l.rules(doctor.Yellow, c, name, changes(name), "before verification", why)...)
		}
	}
	return found
}
