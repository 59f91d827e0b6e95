package postfix_test

import (
	"testing"

	"signpost/internal/doctor"
)

// Mail must pass Signpost exactly once: before the filter, and not again when the filter returns it.
func TestPostfixReinjection(t *testing.T) {
	const (
		filter = "content_filter = smtp:[127.0.0.1]:10024\n"
		pipe   = "filter unix - n n - 10 pipe\n  flags=Rq user=filter argv=/usr/local/bin/filter\n"
		port   = "-M '127.0.0.1:10026/inet=127.0.0.1:10026 inet n - n - - smtpd -o content_filter= -o receive_override_options=no_milters,no_unknown_recipient_checks,no_header_body_checks'"
		behind = "127.0.0.1:10025 inet n - n - - smtpd\n  -o smtpd_proxy_filter=\n"
		users  = "  -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n  -o smtpd_proxy_filter=127.0.0.1:10024\n"
	)
	const (
		spamc   = "26 inet n - y - - smtpd\n  -o content_filter=spamassassin\nspamassassin unix - n n - - pipe\n  user=nobody argv=/usr/bin/spamc -f -e /usr/sbin/sendmail -oi -f ${sender} ${recipient}\n"
		webmail = " inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes\n  -o milter_macro_daemon_name=ORIGINATING\n"
		open    = "-M '127.0.0.1:10026/inet=127.0.0.1:10026 inet n - n - - smtpd -o content_filter= -o receive_override_options=no_milters,no_unknown_recipient_checks,no_header_body_checks' && postconf -c 'DIR' "
	)
	msmtp := func(port string) string {
		return "-F 'spamassassin/unix/command=pipe user=nobody argv=/usr/bin/spamc -f -e /usr/bin/msmtp --host=127.0.0.1 --set-date-header=off --set-msgid-header=off --remove-bcc-headers=off --port=" +
			port + " -oi -f ${sender} ${recipient}' # needs msmtp(1): apt-get install msmtp"
	}
	hold(t, []postfixCase{
		{name: "sendmail(1), and webmail's submission", master: spamc + "127.0.0.1:587" + webmail + "  -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n",
			check: "reinjection", what: "the filter spamassassin returns mail through sendmail(1)", fix: open + msmtp("10026"), level: doctor.Yellow},
		{name: "sendmail(1), and a port for another filter", master: spamc + comeBack + "  -o receive_override_options=no_milters\n",
			check: "reinjection", what: "the filter spamassassin returns mail through sendmail(1)", fix: msmtp("10025"), level: doctor.Yellow},
		{name: "webmail's submission without a filter", main: filter, master: comeBack + "  -o receive_override_options=no_milters\n127.0.0.1:10587" + webmail + "  -o content_filter=\n"},
		{name: "webmail's submission without milters", main: filter, master: "127.0.0.1:10587" + webmail + "  -o content_filter= -o smtpd_milters=\n",
			check: "smtpd-milters", what: "127.0.0.1:10587/inet", fix: "-PX '127.0.0.1:10587/inet/smtpd_milters'", level: doctor.Red},
		{name: "logins alone", main: filter, master: "localhost:2525 inet n - n - - smtpd\n  -o content_filter=\n  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n"},
		{name: "the filter's clients alone", main: filter, master: comeBack + "  -o smtpd_client_restrictions=permit_mynetworks,reject\n",
			check: "reinjection", what: "127.0.0.1:10025/inet receives mail back from a filter", fix: "-P '127.0.0.1:10025/inet/receive_override_options=no_milters'", level: doctor.Yellow},
		{name: "twice in the list", main: "smtpd_milters = unix:signpost/milter.sock, unix:signpost/milter.sock\nnon_smtpd_milters = unix:signpost/milter.sock\n",
			check: "reinjection", what: "listed twice in smtpd_milters", fix: "-e 'smtpd_milters = unix:signpost/milter.sock'", level: doctor.Yellow},
		{name: "milters on the return port", main: filter, master: comeBack + "  -o receive_override_options=no_header_body_checks\n",
			check: "reinjection", what: "127.0.0.1:10025/inet receives mail back from a filter", fix: "-P '127.0.0.1:10025/inet/receive_override_options=no_header_body_checks,no_milters'", level: doctor.Yellow},
		{name: "FILTER in a table", master: comeBack,
			check: "reinjection", what: "127.0.0.1:10025/inet receives mail back from a filter", fix: "-P '127.0.0.1:10025/inet/receive_override_options=no_milters'", level: doctor.Yellow},
		{name: "no milters on the return port", main: filter, master: comeBack + "  -o smtpd_milters=\n"},
		{name: "a port of users on loopback", master: "127.0.0.1:2525 inet n - n - - smtpd\n"},
		{name: "pipe", main: "content_filter = filter:dummy\n", master: pipe, check: "reinjection", what: "the filter filter probably returns mail through sendmail(1)", fix: port, level: doctor.Yellow},
		{name: "pipe that sends by SMTP", main: "content_filter = filter:dummy\n", master: pipe + comeBack + "  -o receive_override_options=no_milters\n"},
		{name: "proxy", main: "smtpd_proxy_filter = inet:127.0.0.1:10024\n", master: behind + "  -o smtpd_milters=\n", check: "reinjection", what: "smtp/inet has a before-queue filter",
			fix:   "-X 'smtpd_proxy_filter' && postconf -c 'DIR' -P 'smtp/inet/content_filter=smtp:[127.0.0.1]:10024' 'submission/inet/content_filter=smtp:[127.0.0.1]:10024'",
			level: doctor.Red},
		{name: "a service's proxy", master: "26 inet n - y - - smtpd\n  -o smtpd_proxy_filter=10024\n" + behind + "  -o receive_override_options=no_milters\n", check: "reinjection", what: "26/inet has a before-queue filter",
			fix: "-PX '26/inet/smtpd_proxy_filter' && postconf -c 'DIR' -P '26/inet/content_filter=smtp:[127.0.0.1]:10024'", level: doctor.Red},
		{name: "proxy for users", master: "2525 inet n - y - - smtpd\n" + users + behind},
	})
}
