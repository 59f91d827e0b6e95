// Package postfix checks whether Postfix passes its mail to Signpost, and whether its settings interfere with signing and
// verification. Checks returns the checks; Facts is their input.
package postfix

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os/exec"
	"time"

	"signpost/internal/doctor"
)

// Facts are what the checks need to know.
type Facts struct {
	Dir  string // the directory of Postfix's configuration; empty: postconf's default
	Root string // the root directory for the configuration files of other programs; empty: /

	File            string     // Signpost's configuration
	Observe         bool       // mail is neither signed nor rejected
	Listen          []Listener // at least one
	SocketMode      fs.FileMode
	SocketGroup     string
	TrustedNetworks []netip.Prefix
	SkipNetworks    []netip.Prefix // verify.skip_networks

	LoginMaps     []string // sign.login_maps
	LoginUnlisted string   // sign.login_unlisted
	Delimiter     string   // recipient_delimiter

	Addresses []netip.Addr // of this host, besides loopback
	// Lookup returns the addresses of a host from the system's resolver, which Postfix uses.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	User string        // of the daemon; empty: signpost
	Wait time.Duration // the timeout for an answer of the daemon; 0: answerTimeout
}

// Listener is a socket of the daemon.
type Listener struct {
	Network string // "unix" or "tcp"
	Address string
	// Mode and Group of a unix socket are the socket's own settings, or SocketMode and SocketGroup.
	Mode  fs.FileMode
	Group string
}

// site has the facts and the output of postconf.
type site struct {
	Facts
	postconf *postconf // nil if postconf failed
	hosts    map[string][]netip.Addr
}

// Checks returns the checks of Postfix, in the order in which an administrator should act on their findings. The first check runs postconf.
// If postconf fails, only socket-answers runs.
func Checks(f Facts) []doctor.Check {
	l := &site{Facts: f}
	l.User, l.Wait = cmp.Or(f.User, doctor.ServiceUser), cmp.Or(f.Wait, answerTimeout)
	check := func(name, doc, good string, run func(context.Context) []doctor.Finding) doctor.Check {
		return doctor.Check{Name: name, Doc: doc, Run: func(ctx context.Context) []doctor.Finding {
			if l.postconf == nil {
				return nil
			}
			return doctor.Or(good, run)(ctx)
		}}
	}
	return []doctor.Check{
		{Name: "postfix", Doc: "postconf(1), and unknown parameters", Run: l.readPostconf},
		check("smtpd-milters", "smtpd_milters of each smtpd(8)", "Postfix passes mail by SMTP to Signpost", l.smtpdMilters),
		check("non-smtpd-milters", "non_smtpd_milters of each cleanup(8)", "Postfix passes mail of this host to Signpost", l.nonSMTPDMilters),
		check("socket-path", "the addresses of the milters, as Postfix resolves them in its chroot", "Postfix connects to the daemon's socket", l.socketPath),
		check("milter-order", "the milters after Signpost", "no milter comes after Signpost", l.milterOrder),
		check("other-signer", "other milters that sign, by their names and ports", "", l.otherSigners),
		check("reinjection", "mail that returns from a filter: content_filter, smtpd_proxy_filter, and the services that accept it back", "no mail passes Signpost twice", l.reinjection),
		check("list-managers", "in enforce mode, the tables of transport_maps, mailbox_transport_maps, fallback_transport_maps, alias_maps and alias_database that can be listed, and the pipe(8) services that they name",
			"no table that doctor can read names a list manager", l.listManagers),
		check("table-types", "the types of the indexed tables in Postfix's settings: hash, btree, lmdb and cdb", "Postfix supports the types of its tables", l.tableTypes),
		check("sender-logins", "smtpd_sender_login_maps, the restrictions that use it, and recipient_delimiter, compared with sign.login_maps", "the From addresses of logins match Postfix's settings", l.senderLogins),
		check("milter-maps", "smtpd_milter_maps", "no client bypasses the milters", l.milterMaps),
		check("default-action", "milter_default_action, and default_action of our entry", "while the daemon is not running, mail is deferred", l.defaultAction),
		check("milter-protocol", "milter_protocol, and protocol of our entry", "Postfix uses milter protocol 6", l.milterProtocol),
		check("milter-timeouts", "milter_content_timeout, milter_command_timeout, milter_connect_timeout, and the timeouts of our entry", "the timeouts are long enough", l.milterTimeouts),
		check("internal-mail", "internal_mail_filter_classes", "bounces are signed", l.internalMail),
		check("eight-bit", "settings that convert text or break lines: smtp_discard_ehlo_keywords, smtp_line_length_limit, smtpd_discard_ehlo_keywords, force_mime_input_conversion",
			"no text is converted after signing or before verification", l.eightBit),
		check("generic-maps", "smtp_generic_maps, smtp_header_checks and similar parameters, milter_header_checks", "nothing is rewritten after signing", l.genericMaps),
		check("header-rewrite", "what cleanup(8) changes in inbound mail: header_checks and similar parameters, local_header_rewrite_clients, remote_header_rewrite_domain, always_add_missing_headers",
			"nothing is rewritten before verification", l.headerRewrite),
		check("client-names", "smtpd_peername_lookup", "Postfix looks up client names", l.clientNames),
		check("policy-prepend", "Postfix's version, and restrictions that prepend header fields", "milters delete the correct header field", l.policyPrepend),
		check("bare-newline", "smtpd_forbid_bare_newline, or the workaround for an older Postfix; cleanup_replace_stray_cr_lf", "SMTP smuggling is not possible", l.bareNewline),
		check("originating", "where milter_macro_daemon_name is ORIGINATING; smtpd_authorized_xclient_hosts", "no unauthenticated client counts as authenticated", l.originating),
		check("mynetworks", "mynetworks with its files and tables, compared with trusted_networks and verify.skip_networks", "Signpost trusts the networks in mynetworks", l.myNetworks),
		check("socket-access", "whether the user mail_owner and its groups can connect to the sockets: the permissions of each socket and of each directory above it (no access control lists); the permissions that socket_mode and socket_group will set",
			"", l.socketAccess),
		{Name: "socket-answers", Doc: "a milter negotiation on each socket, at the address that Postfix uses; a connection to each other milter", Run: doctor.Or("", l.socketAnswers)},
	}
}

// readPostconf runs postconf, and finds misspelt parameters.
func (l *site) readPostconf(ctx context.Context) []doctor.Finding {
	p, err := readPostconf(ctx, l.Dir)
	if err != nil {
		f := doctor.Finding{Level: doctor.Red, What: "cannot read Postfix's settings: postconf(1) failed", Where: err.Error(),
			Why: "without them, doctor cannot check Postfix", Fix: "apt-get install postfix"}
		if !errors.Is(err, exec.ErrNotFound) {
			f.Fix = (&postconf{dir: l.Dir}).command() + " -n # then correct the error that it prints"
		}
		return []doctor.Finding{f}
	}
	l.postconf = p
	l.lookUp(ctx)
	return doctor.Or("Postfix "+p.main["mail_version"], l.misspelt)(ctx)
}
