// Package postfix checks whether Postfix passes its mail to Signpost, and whether its settings suit that.
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
	Dir  string // of Postfix's configuration; empty: postconf's default
	Root string // of the file system with the configuration of other programs; empty: /

	File            string     // Signpost's configuration
	Observe         bool       // mail is neither signed nor rejected
	Listen          []Listener // at least one
	SocketMode      fs.FileMode
	SocketGroup     string
	TrustedNetworks []netip.Prefix
	SkipNetworks    []netip.Prefix // verify.skip_networks

	Addresses []netip.Addr // of this machine, besides loopback
	// Lookup returns the addresses of a host, as the system's resolver does for Postfix.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	User string        // of the daemon; empty: signpost
	Wait time.Duration // for an answer of the daemon; 0: answerTimeout
}

// Listener is a socket of the daemon.
type Listener struct {
	Network string // "unix" or "tcp"
	Address string
	// Mode and Group are those of a unix socket: its own, or SocketMode and SocketGroup.
	Mode  fs.FileMode
	Group string
}

// site has the facts, and what postconf prints.
type site struct {
	Facts
	postconf *postconf // nil if postconf failed
	hosts    map[string][]netip.Addr
}

// Checks returns the checks of Postfix, in the order in which to act on their findings. The first one runs postconf; if that fails,
// only socket-answers finds anything else.
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
		{Name: "postfix", Doc: "postconf(1), and parameters that it does not know", Run: l.readPostconf},
		check("smtpd-milters", "smtpd_milters of each smtpd(8)", "mail by SMTP comes to Signpost", l.smtpdMilters),
		check("non-smtpd-milters", "non_smtpd_milters of each cleanup(8)", "mail of this host comes to Signpost", l.nonSMTPDMilters),
		check("socket-path", "the names of the milters, seen from Postfix's chroot", "Postfix's names for the socket lead to it", l.socketPath),
		check("milter-order", "the milters after Signpost", "no milter stands after Signpost", l.milterOrder),
		check("other-signer", "other milters that sign, by their names and ports", "", l.otherSigners),
		check("reinjection", "mail that comes back from a filter: content_filter, smtpd_proxy_filter, and what takes it back", "no mail comes to Signpost twice", l.reinjection),
		check("list-managers", "in enforce mode, the tables of transport_maps, mailbox_transport_maps, fallback_transport_maps, alias_maps and alias_database that can be listed, and the pipe(8) services that they name",
			"no table that can be read names a list manager", l.listManagers),
		check("milter-maps", "smtpd_milter_maps", "no table takes clients away from the milters", l.milterMaps),
		check("default-action", "milter_default_action, and the one of our entry", "without the daemon, mail waits", l.defaultAction),
		check("milter-protocol", "milter_protocol, and the one of our entry", "Postfix speaks protocol 6", l.milterProtocol),
		check("milter-timeouts", "milter_content_timeout, milter_command_timeout, milter_connect_timeout, and those of our entry", "Postfix waits long enough", l.milterTimeouts),
		check("internal-mail", "internal_mail_filter_classes", "bounces are signed", l.internalMail),
		check("eight-bit", "what encodes or breaks lines anew: smtp_discard_ehlo_keywords, smtp_line_length_limit, smtpd_discard_ehlo_keywords, force_mime_input_conversion",
			"no text is converted between signing and verifying", l.eightBit),
		check("generic-maps", "smtp_generic_maps, smtp_header_checks and the like, milter_header_checks", "nothing is rewritten after it was signed", l.genericMaps),
		check("header-rewrite", "what cleanup(8) changes in strangers' mail: header_checks and the like, local_header_rewrite_clients, remote_header_rewrite_domain, always_add_missing_headers",
			"nothing is rewritten before it is verified", l.headerRewrite),
		check("client-names", "smtpd_peername_lookup", "Postfix looks up clients' names", l.clientNames),
		check("policy-prepend", "Postfix's version, and restrictions that put fields in", "milters delete the field that they mean", l.policyPrepend),
		check("bare-newline", "smtpd_forbid_bare_newline, or what guards an older Postfix; cleanup_replace_stray_cr_lf", "no message is smuggled in behind another", l.bareNewline),
		check("originating", "where milter_macro_daemon_name is ORIGINATING; smtpd_authorized_xclient_hosts", "no stranger is taken for a user", l.originating),
		check("mynetworks", "mynetworks, its files and tables too, beside trusted_networks and verify.skip_networks", "Postfix's networks are trusted here too", l.myNetworks),
		check("socket-access", "each folder on the way to the sockets that Postfix names, and the socket, by owner, group and mode (no access lists), for the user mail_owner and his groups; what socket_mode and socket_group will make of it",
			"", l.socketAccess),
		{Name: "socket-answers", Doc: "each socket, under the name that Postfix uses, by a negotiation as Postfix's; the other milters, by a connection", Run: doctor.Or("", l.socketAnswers)},
	}
}

// readPostconf runs postconf, and finds misspelt parameters.
func (l *site) readPostconf(ctx context.Context) []doctor.Finding {
	p, err := readPostconf(ctx, l.Dir)
	if err != nil {
		f := doctor.Finding{Level: doctor.Red, What: "postconf does not say how Postfix is set up", Where: err.Error(),
			Why: "nothing about Postfix can be looked at", Fix: "apt-get install postfix"}
		if !errors.Is(err, exec.ErrNotFound) {
			f.Fix = "mend what it names, until `" + (&postconf{dir: l.Dir}).command() + " -n` is content"
		}
		return []doctor.Finding{f}
	}
	l.postconf = p
	l.lookUp(ctx)
	return doctor.Or("Postfix "+p.main["mail_version"], l.misspelt)(ctx)
}
