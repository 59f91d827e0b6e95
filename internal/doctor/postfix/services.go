package postfix

import (
	"context"
	"net"
	"slices"
	"strings"

	"signpost/internal/doctor"
)

// host returns the address on which an inet service listens, or "" if it listens on the addresses in inet_interfaces.
func (s *service) host() string {
	host, _ := s.listens()
	return host
}

// listens splits the name of an inet service. The port may be a name.
func (s *service) listens() (host, port string) {
	name, kind, _ := strings.Cut(s.id, "/")
	if kind != "inet" {
		return "", ""
	}
	if host, port, err := net.SplitHostPort(name); err == nil {
		return host, port
	}
	return "", name
}

// loopback reports whether only this host can connect to a service.
func (l *site) loopback(s *service) bool {
	if strings.HasSuffix(s.id, "/unix") {
		return true
	}
	if host := s.host(); host != "" {
		ip := net.ParseIP(host)
		return host == "localhost" || ip != nil && ip.IsLoopback()
	}
	addresses := words(l.postconf.get(s, "inet_interfaces"))
	return len(addresses) > 0 && !slices.ContainsFunc(addresses, func(a string) bool {
		ip := net.ParseIP(strings.Trim(a, "[]"))
		return a != "loopback-only" && a != "localhost" && (ip == nil || !ip.IsLoopback())
	})
}

// originating finds services that make unauthenticated clients trusted, because Signpost signs mail if {daemon_name} is ORIGINATING.
func (l *site) originating(ctx context.Context) (found []doctor.Finding) {
	const name, closing = "milter_macro_daemon_name", "smtpd_relay_restrictions"
	for _, s := range l.postconf.of("smtpd") {
		if l.postconf.get(s, name) != "ORIGINATING" || l.loopback(s) || l.closed(s) {
			continue
		}
		f := doctor.Finding{Level: doctor.Red, What: s.id + " treats unauthenticated clients as trusted: ORIGINATING is only for submission services", Where: l.postconf.where(s, name),
			Why: "Signpost signs forged mail from any client, and verifies nothing", Fix: l.postconf.unset(l.postconf.at(s, name), name)}
		if s.submission() {
			f.Level, f.What = doctor.Yellow, s.id+" accepts mail for this host from unauthenticated clients and treats them as trusted: ORIGINATING"
			f.Fix = l.postconf.setAt(s, closing, "permit_mynetworks,permit_sasl_authenticated,permit_tls_clientcerts,reject")
		}
		found = append(found, f)
	}
	return append(found, l.xclient(ctx)...)
}

// xclient finds services on which all clients may use XCLIENT, which sets the client's address and login.
func (l *site) xclient(ctx context.Context) (found []doctor.Finding) {
	const name = "smtpd_authorized_xclient_hosts"
	for _, s := range l.publicServices() {
		var rest []string
		for _, w := range words(l.postconf.get(s, name)) {
			var all clients
			all.add(ctx, w, true)
			if w != "static:all" && !slices.ContainsFunc(all.allowed, tooLarge) {
				rest = append(rest, w)
			}
		}
		if len(rest) < len(words(l.postconf.get(s, name))) {
			found = append(found, doctor.Finding{Level: doctor.Red, What: s.id + " allows XCLIENT for every client, which can then claim any address and login", Where: l.postconf.where(s, name),
				Why: "Signpost signs mail of a client that claims to be authenticated", Fix: l.postconf.setAt(l.postconf.at(s, name), name, strings.Join(rest, ", "))})
		}
	}
	return found
}

// submission reports whether a service has the name or the port of RFC 6409 or RFC 8314.
func (s *service) submission() bool {
	_, port := s.listens()
	return slices.Contains([]string{"submission", "submissions", "smtps", "587", "465"}, port)
}

// forUsers reports whether a service is for authenticated clients. There are three signs: it has the name or port of a submission service,
// it overrides smtpd_sasl_auth_enable or milter_macro_daemon_name, or it permits only SASL logins. Settings in main.cf apply to all
// services and do not count.
func (l *site) forUsers(s *service) bool {
	if s.submission() || s.over["smtpd_sasl_auth_enable"] == "yes" || s.over["milter_macro_daemon_name"] == "ORIGINATING" {
		return true
	}
	for _, list := range []string{"client", "helo", "sender", "relay", "recipient"} {
		if slices.Equal(words(l.postconf.get(s, "smtpd_"+list+"_restrictions")), []string{"permit_sasl_authenticated", "reject"}) {
			return true
		}
	}
	return false
}

// closed reports whether a service accepts no mail from unauthenticated clients. Such a service requires a certificate, or one of its lists
// of restrictions rejects unauthenticated clients before any restriction permits them. Tables are ignored, because the administrator has
// chosen their entries.
func (l *site) closed(s *service) bool {
	if l.postconf.get(s, "smtpd_tls_req_ccert") == "yes" {
		return true
	}
	for _, list := range []string{"client", "helo", "sender", "relay", "recipient"} {
		all := words(l.postconf.get(s, "smtpd_"+list+"_restrictions"))
		end := slices.IndexFunc(all, func(w string) bool {
			return slices.Contains([]string{"reject", "defer", "permit", "permit_auth_destination", "permit_mx_backup"}, w)
		})
		if end >= 0 && (all[end] == "reject" || all[end] == "defer") {
			return true
		}
	}
	return false
}
