package postfix

import (
	"context"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"signpost/internal/doctor"
)

// The parameters that send mail through a filter. The filter returns the mail to Postfix.
const (
	afterQueue  = "content_filter"
	beforeQueue = "smtpd_proxy_filter"
)

// filtered returns the smtpd services that use a filter.
func (l *site) filtered(filter string) []*service {
	return slices.DeleteFunc(l.postconf.of("smtpd"), func(s *service) bool { return l.postconf.get(s, filter) == "" })
}

// reinjects reports whether a service accepts mail back from a filter. Such a service listens on a loopback address and is not a submission
// service. In addition, it overrides the filter's parameter with an empty value, or only other services have a filter.
func (l *site) reinjects(s *service) bool {
	if s.command != "smtpd" || s.host() == "" || !l.loopback(s) || l.forUsers(s) || l.postconf.get(s, afterQueue) != "" || l.postconf.get(s, beforeQueue) != "" {
		return false
	}
	return l.postconf.at(s, afterQueue) != nil || l.postconf.at(s, beforeQueue) != nil || len(l.filtered(afterQueue)) > 0 || len(l.filtered(beforeQueue)) > 0
}

func (l *site) reinjectors() []*service {
	return slices.DeleteFunc(l.postconf.of("smtpd"), func(s *service) bool { return !l.reinjects(s) })
}

// reinjection finds mail that reaches Signpost twice, or without the client and content that verification needs.
func (l *site) reinjection(context.Context) (found []doctor.Finding) {
	for _, one := range l.allLists() {
		i := l.ours(one)
		for j := i + 1; i >= 0 && j < len(one.entries); j++ {
			if l.meant(one.entries[j], one.service.chroot) {
				found = append(found, doctor.Finding{Level: doctor.Yellow, What: "Signpost is listed twice in " + one.name + " of " + one.service.id, Where: l.postconf.where(one.at, one.name),
					Why: "each message is signed or verified twice", Fix: l.postconf.setAt(one.at, one.name, one.replaced(j, ""))})
			}
		}
	}
	proxied := len(l.filtered(beforeQueue)) > 0
	for _, one := range l.lists("smtpd_milters", "smtpd") {
		s := one.service
		if !l.reinjects(s) || l.ours(one) < 0 || proxied && len(l.filtered(afterQueue)) == 0 {
			continue
		}
		found = append(found, doctor.Finding{Level: doctor.Yellow, What: s.id + " receives mail back from a filter and passes it to Signpost a second time", Where: l.postconf.where(s, "smtpd_milters"),
			Why: "outbound mail is signed twice, and Signpost takes the filter for the client of inbound mail",
			Fix: l.postconf.setAt(s, overrides, strings.Join(append(words(l.postconf.get(s, overrides)), noMilters), ","))})
	}
	return slices.Concat(found, l.pipes(), l.proxies())
}

// pipes finds filters that are run by pipe(8) and return mail through sendmail(1). Such mail cannot be distinguished from mail of this
// host. A filter returns mail by SMTP if a service accepts the mail back and the filter's arguments do not name sendmail(1).
func (l *site) pipes() (found []doctor.Finding) {
	back := l.reinjectors()
	for _, s := range l.filtered(afterQueue) {
		transport, _, _ := strings.Cut(l.postconf.get(s, afterQueue), ":")
		pipes := l.postconf.of("pipe")
		i := slices.IndexFunc(pipes, func(p *service) bool { return p.id == transport+"/unix" })
		if i < 0 {
			continue
		}
		sendmail := sendmailIn(pipes[i].args)
		if sendmail == "" && len(back) > 0 {
			continue
		}
		port, open := l.freePort(), ""
		if len(back) > 0 {
			_, port = back[0].listens()
		} else {
			open = l.postconf.command() + " -M '127.0.0.1:" + port + "/inet=127.0.0.1:" + port + " inet n - n - - smtpd -o " + afterQueue + "= -o " + overrides +
				"=no_milters,no_unknown_recipient_checks,no_header_body_checks'"
		}
		f := doctor.Finding{Level: doctor.Yellow, What: "the filter " + transport + " probably returns mail through sendmail(1), which passes it to Signpost a second time", Where: l.postconf.where(s, afterQueue),
			Why: "outbound mail is signed twice; the command opens a port without milters: configure the filter to send to this port", Fix: open}
		if sendmail != "" {
			f.What = "the filter " + transport + " returns mail through sendmail(1), which passes it to Signpost a second time"
			f.Where += "; master.cf: " + pipes[i].id + " pipe " + pipes[i].args
			f.Why = "outbound mail is signed twice, and inbound mail looks like mail of this host; with msmtp(1), the filter returns mail by SMTP, to a port without milters"
			// msmtp(1) accepts the same options as sendmail(1). These options prevent changes to the header, because the message is already
			// signed.
			const instead = "/usr/bin/msmtp --host=127.0.0.1 --set-date-header=off --set-msgid-header=off --remove-bcc-headers=off --port="
			f.Fix = strings.TrimPrefix(open+" && ", " && ") + l.postconf.command() + " -F " +
				doctor.Quote(pipes[i].id+"/command=pipe "+strings.Replace(pipes[i].args, sendmail, instead+port, 1)) + " # needs msmtp(1): apt-get install msmtp"
		}
		found = append(found, f)
	}
	return found
}

// sendmailIn returns the path of sendmail(1) in the arguments of a pipe(8) service, or an empty string.
func sendmailIn(args string) string {
	for _, w := range strings.Fields(args) {
		if w = strings.TrimPrefix(w, "argv="); path.Base(w) == "sendmail" {
			return w
		}
	}
	return ""
}

// freePort returns a port on which no service of master.cf listens.
func (l *site) freePort() string {
	for n := 10026; ; n++ {
		port := strconv.Itoa(n)
		if !slices.ContainsFunc(l.postconf.services, func(s service) bool { _, p := s.listens(); return p == port }) {
			return port
		}
	}
}

// proxies finds filters between smtpd(8) and the queue. With such a filter, smtpd(8) passes no content to the milters, and the filter is
// the only client of the service after it. After the filter, Signpost can sign mail of authenticated clients, but cannot verify inbound
// mail.
func (l *site) proxies() (found []doctor.Finding) {
	all := l.filtered(beforeQueue)
	for _, s := range all {
		if l.closed(s) && slices.ContainsFunc(l.lists("smtpd_milters", "smtpd"), func(one list) bool { return l.reinjects(one.service) && l.ours(one) >= 0 }) {
			continue
		}
		at, value := l.postconf.at(s, beforeQueue), l.postconf.get(s, beforeQueue)
		fix := l.postconf.unset(at, beforeQueue)
		if next := nextHop(value); next != "" {
			line := l.postconf.command() + " -P"
			for _, same := range all {
				if l.postconf.at(same, beforeQueue) == at {
					line += " " + doctor.Quote(same.id+"/"+afterQueue+"="+next)
				}
			}
			fix += " && " + line
		}
		found = append(found, doctor.Finding{Level: doctor.Red, What: s.id + " has a before-queue filter: Signpost receives no content before the filter, and does not know the client after the filter", Where: l.postconf.where(s, beforeQueue),
			Why: "inbound mail cannot be verified, and forged mail that returns from the filter may be signed; with an after-queue filter, Signpost comes first", Fix: fix})
	}
	return found
}

// nextHop converts a value of smtpd_proxy_filter to a value of content_filter. If that is not possible, it returns an empty string.
func nextHop(proxy string) string {
	proxy = strings.TrimPrefix(proxy, "inet:")
	host, port, err := net.SplitHostPort(proxy)
	switch {
	case strings.HasPrefix(proxy, "unix:"):
		return ""
	case err != nil:
		host, port = "", proxy
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return "smtp:[" + host + "]:" + port
}
