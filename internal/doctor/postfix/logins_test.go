package postfix_test

import (
	"slices"
	"testing"
)

// If sign.login_maps differs from smtpd_sender_login_maps and the restrictions of Postfix, the difference is yellow.
func TestSenderLogins(t *testing.T) {
	const table = "hash:/etc/postfix/logins"
	const master = "smtp inet n - n - - smtpd\nsubmission inet n - n - - smtpd\n  -o smtpd_sender_restrictions="
	for _, c := range []struct {
		name, main, restriction, unlisted, delimiter string
		maps                                         []string
		want                                         []string
	}{
		{name: "not used", main: "smtpd_sender_login_maps = " + table + "\n", restriction: "reject_sender_login_mismatch"},
		{name: "the same", main: "smtpd_sender_login_maps = proxy:" + table + "\n", restriction: "reject_known_sender_login_mismatch", unlisted: "accept", maps: []string{table}},
		{name: "the same, reject", main: "smtpd_sender_login_maps = " + table + "\n", restriction: "reject_authenticated_sender_login_mismatch", unlisted: "reject", maps: []string{table}},
		{name: "a missing table", main: "smtpd_sender_login_maps = hash:/other\n", restriction: "permit", unlisted: "accept", maps: []string{table},
			want: []string{"sign.login_maps does not have hash:/other"}},
		{name: "stricter Postfix", main: "smtpd_sender_login_maps = " + table + "\n", restriction: "reject_sender_login_mismatch", unlisted: "accept", maps: []string{table},
			want: []string{"sign.login_unlisted is accept, but sender addresses without an entry are rejected by submission/inet"}},
		{name: "stricter Signpost", main: "smtpd_sender_login_maps = " + table + "\n", restriction: "reject_known_sender_login_mismatch", unlisted: "reject", maps: []string{table},
			want: []string{"sign.login_unlisted is reject, but sender addresses without an entry are accepted by submission/inet"}},
		{name: "the delimiter", main: "smtpd_sender_login_maps = " + table + "\nrecipient_delimiter = +\n", restriction: "permit", unlisted: "accept", delimiter: "-", maps: []string{table},
			want: []string{`recipient_delimiter is "-", but Postfix has "+"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := postfixCase{main: c.main, master: master + c.restriction + "\n"}.site(t)
			p.Config.Sign.LoginMaps, p.Config.Sign.LoginUnlisted, p.Config.RecipientDelimiter = c.maps, c.unlisted, c.delimiter
			var got []string
			for _, f := range notGreen(t, p) {
				if f.Check == "sender-logins" {
					got = append(got, f.What)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
