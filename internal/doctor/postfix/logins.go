package postfix

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/doctor"
	"signpost/internal/domain"
)

// Logins are Postfix's settings for which sender addresses a login may use.
type Logins struct {
	Entries   []DomainEntry // of smtpd_sender_login_maps, in the order of lookup; Domain is not used
	Delimiter string        // recipient_delimiter
	Local     []string      // the domains in mydestination and myorigin
	Reject    []string      // the smtpd(8) services that reject a sender address without an entry
	Accept    []string      // the smtpd(8) services that accept it, but reject the sender address of another login
}

// ReadLogins runs postconf and returns the settings. dir is the directory of main.cf, or "" for Postfix's default.
func ReadLogins(ctx context.Context, dir string) (Logins, error) {
	p, err := readPostconf(ctx, dir)
	if err != nil {
		return Logins{}, err
	}
	return p.logins(), nil
}

func (p *postconf) logins() Logins {
	const parameter = "smtpd_sender_login_maps"
	l := Logins{Delimiter: p.main["recipient_delimiter"]}
	for _, s := range p.places(parameter) {
		where, _, _ := strings.Cut(p.where(s, parameter), "=")
		for _, entry := range words(p.get(s, parameter)) {
			e := domainEntry(entry)
			if e.Domain != "" {
				e = DomainEntry{Text: entry, Why: "it is not a table"}
			}
			e.Where = strings.TrimSpace(where)
			l.Entries = append(l.Entries, e)
		}
	}
	for _, entry := range append(words(p.main["mydestination"]), p.main["myorigin"]) {
		name, err := domain.Parse(entry)
		if err == nil && strings.Contains(name, ".") && !slices.Contains(l.Local, name) {
			l.Local = append(l.Local, name)
		}
	}
	for _, s := range p.of("smtpd") {
		if p.get(s, parameter) == "" {
			continue
		}
		switch unlisted := p.unlisted(s); unlisted {
		case "reject":
			l.Reject = append(l.Reject, s.id)
		case "accept":
			l.Accept = append(l.Accept, s.id)
		}
	}
	return l
}

// unlisted returns what a service does with an authenticated client whose sender address has no entry in smtpd_sender_login_maps: "reject",
// "accept", or "" if it does not compare the login with the address at all. Restriction classes are not read.
func (p *postconf) unlisted(s *service) string {
	result := ""
	for _, list := range []string{"client", "helo", "sender", "relay", "recipient", "data", "end_of_data"} {
		for _, restriction := range words(p.get(s, "smtpd_"+list+"_restrictions")) {
			switch restriction {
			case "reject_sender_login_mismatch", "reject_authenticated_sender_login_mismatch":
				return "reject"
			case "reject_known_sender_login_mismatch":
				result = "accept"
			}
		}
	}
	return result
}

// senderLogins compares sign.login_maps and sign.login_unlisted with Postfix.
func (l *site) senderLogins(context.Context) (found []doctor.Finding) {
	if len(l.LoginMaps) == 0 {
		return nil
	}
	logins := l.postconf.logins()
	const fix = "signpost tables suggest # then copy its table [sign]"
	for _, e := range logins.Entries {
		if e.Table != "" && !slices.Contains(l.LoginMaps, e.Table) {
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: "sign.login_maps does not have " + e.Table, Where: e.Where,
				Why: "Signpost and Postfix may allow different From addresses and sender addresses to a login", Fix: fix})
		}
	}
	other, action := logins.Reject, "rejected"
	if l.LoginUnlisted == "reject" {
		other, action = logins.Accept, "accepted"
	}
	if len(other) > 0 {
		found = append(found, doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("sign.login_unlisted is %s, but sender addresses without an entry are %s by %s", l.LoginUnlisted, action, strings.Join(other, ", ")),
			Where: "main.cf or master.cf: the restrictions of these services", Why: "Signpost treats the same address in From differently", Fix: fix})
	}
	if logins.Delimiter != l.Delimiter {
		found = append(found, doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("recipient_delimiter is %q, but Postfix has %q", l.Delimiter, logins.Delimiter), Where: l.postconf.where(nil, "recipient_delimiter"),
			Why: "a From address with an extension may not match the entry of its login", Fix: fix})
	}
	return found
}
