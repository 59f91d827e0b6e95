package postfix_test

import (
	"testing"

	"signpost/internal/doctor"
)

// Conversions and rewriting between signing and verification are reported. Changes before Signpost signs are not reported.
func TestPostfixRewrite(t *testing.T) {
	const closed = "2525 inet n - y - - smtpd\n  -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n"
	checks := func(parameter, rules string) string {
		return parameter + " = regexp:DIR/checks\n-- checks --\n" + rules
	}
	hold(t, []postfixCase{
		{name: "no 8BITMIME out", main: "smtp_discard_ehlo_keywords = 8BITMIME, dsn\n", check: "eight-bit", what: "smtp/unix ignores 8BITMIME of other servers",
			fix: "-e 'smtp_discard_ehlo_keywords = dsn'", level: doctor.Yellow},
		{name: "no 8BITMIME out, nothing converted", main: "smtp_discard_ehlo_keywords = 8bitmime\ndisable_mime_output_conversion = yes\n"},
		{name: "no 8BITMIME of one transport", master: "slow unix - - y - - smtp\n  -o smtp_discard_ehlo_keywords=8bitmime\n", check: "eight-bit", what: "slow/unix ignores 8BITMIME of other servers",
			fix: "-P 'slow/unix/smtp_discard_ehlo_keywords='", level: doctor.Yellow},
		{name: "no 8BITMIME in", main: "smtpd_discard_ehlo_keywords = 8bitmime,chunking\n", check: "eight-bit", what: "smtp/inet does not offer 8BITMIME",
			fix: "-e 'smtpd_discard_ehlo_keywords = chunking'", level: doctor.Yellow},
		{name: "no 8BITMIME from users", master: closed + "  -o smtpd_discard_ehlo_keywords=8bitmime\n"},
		{name: "converted on input", main: "force_mime_input_conversion = yes\nsmtpd_banner = ${force_mime_input_conversion?}\n", check: "eight-bit", what: "cleanup/unix converts",
			fix: "-X 'force_mime_input_conversion'", level: doctor.Yellow},
		{name: "converted for users", main: "smtpd_banner = ${force_mime_input_conversion?}\n",
			master: "users unix n - y - 0 cleanup\n  -o force_mime_input_conversion=yes\n" + closed + "  -o cleanup_service_name=users\n"},
		{name: "short lines", main: "smtp_line_length_limit = 80\n", check: "eight-bit", what: "breaks lines after 80", fix: "-X 'smtp_line_length_limit'", level: doctor.Yellow},
		{name: "lines as they come", main: "smtp_line_length_limit = 0\n"},

		{name: "generic", main: "smtp_generic_maps = hash:/etc/postfix/generic\nsender_canonical_maps = hash:/etc/postfix/senders\n", check: "generic-maps", what: "smtp/unix rewrites addresses",
			fix:   "-X 'smtp_generic_maps' && postconf -c 'DIR' -e 'sender_canonical_maps = hash:/etc/postfix/senders, hash:/etc/postfix/generic'",
			level: doctor.Yellow},
		{name: "canonical", main: "canonical_maps = hash:/etc/postfix/canonical\nmasquerade_domains = example.org\n"},
		{name: "header out", main: checks("smtp_header_checks", "# privacy\n/^Received: from/ IGNORE\n/^(X-Mailer|Subject):/i\n  REPLACE Subject: none\n/^From:/ WARN\n"),
			check: "generic-maps", what: "smtp_header_checks changes a field or text that may be signed, after signing: ^(X-Mailer|Subject):", fix: "sed -i '3,4s/^/#/' 'DIR/checks'", level: doctor.Yellow},
		{name: "signature out", main: checks("smtp_header_checks", "/^DKIM-Signature:/ IGNORE\n"), check: "generic-maps", what: "after signing: ^DKIM-Signature:", fix: "sed -i '1,1s/^/#/' 'DIR/checks'", level: doctor.Red},
		{name: "body out", main: checks("smtp_body_checks", "/secret/ REPLACE -\n"), check: "generic-maps", what: "smtp_body_checks", fix: "sed -i '1,1s/^/#/' 'DIR/checks'", level: doctor.Yellow},
		{name: "unreadable out", main: "smtp_header_checks = mysql:/etc/postfix/checks.cf\n", check: "generic-maps", what: "doctor cannot read mysql:/etc/postfix/checks.cf",
			fix: "-X 'smtp_header_checks'", level: doctor.Yellow},
		{name: "our own fields", main: checks("milter_header_checks", "/^X-Signpost-Disposition: quarantine/ REDIRECT junk@example.org\n/^DKIM-Signature:/ IGNORE\n"),
			check: "generic-maps", what: "milter_header_checks", fix: "sed -i '2,2s/^/#/' 'DIR/checks'", level: doctor.Red},

		{name: "header in", main: checks("header_checks", "/^Received:/ IGNORE\nif /^List-/\n/^List-Id:/ STRIP\nendif\n"),
			check: "header-rewrite", what: "header_checks changes a field or text that may be signed, before verification: ^List-Id:", fix: "sed -i '3,3s/^/#/' 'DIR/checks'", level: doctor.Yellow},
		{name: "header of users", master: "users unix n - y - 0 cleanup\n  -o header_checks=regexp:DIR/checks\n" + closed + "  -o cleanup_service_name=users\n", main: "-- checks --\n/^Subject:/ IGNORE\n"},
		{name: "refused by header", main: checks("header_checks", "/^Subject: spam/ REJECT\n")},
		{name: "body in", main: checks("body_checks", "/click here/ IGNORE\n"), check: "header-rewrite", what: "body_checks", fix: "sed -i '1,1s/^/#/' 'DIR/checks'", level: doctor.Yellow},
		{name: "header of all clients", main: "local_header_rewrite_clients = static:all\n", check: "header-rewrite", what: "smtp/inet completes the header",
			fix: "-X 'local_header_rewrite_clients'", level: doctor.Yellow},
		{name: "users' header", main: "local_header_rewrite_clients = permit_mynetworks, permit_sasl_authenticated\n"},
		{name: "header of unauthenticated clients", main: "remote_header_rewrite_domain = domain.invalid\n", check: "header-rewrite", what: "smtp/inet completes the header",
			fix: "-X 'remote_header_rewrite_domain'", level: doctor.Yellow},
		{name: "missing fields", main: "always_add_missing_headers = yes\n", check: "header-rewrite", what: "smtp/inet completes the header",
			fix: "-X 'always_add_missing_headers'", level: doctor.Yellow},
	})
}
