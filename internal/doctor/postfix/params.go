package postfix

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/doctor"
	"signpost/milter"
)

// misspelt finds unknown parameters whose names resemble a parameter for milters.
func (l *site) misspelt(context.Context) (found []doctor.Finding) {
	report := func(s *service, name, value, right string) {
		f := doctor.Finding{Level: doctor.Yellow, What: "unknown Postfix parameter " + name + "; did you mean " + right + "?", Where: "main.cf: " + name + " = " + value,
			Why: "Postfix ignores it", Fix: l.postconf.unset(s, name)}
		if s != nil {
			f.Where = l.postconf.where(s, name)
		}
		if l.postconf.at(s, right) == nil && (s != nil || l.postconf.main[right] == "") {
			f.Fix += " && " + l.postconf.setAt(s, right, value)
		}
		found = append(found, f)
	}
	for _, setting := range l.postconf.unused {
		name, value, _ := strings.Cut(setting, "=")
		right := doctor.Nearest(name, "smtpd_milters", "non_smtpd_milters", "milter_default_action", "milter_protocol", "milter_content_timeout", "internal_mail_filter_classes",
			"milter_macro_daemon_name", "receive_override_options")
		if right == "" {
			continue
		}
		inService := false
		for i := range l.postconf.services {
			if s := &l.postconf.services[i]; l.postconf.at(s, name) != nil {
				inService = true
				report(s, name, s.over[name], right)
			}
		}
		if !inService {
			report(nil, name, value, right)
		}
	}
	return found
}

func (l *site) milterMaps(context.Context) (found []doctor.Finding) {
	for _, s := range l.postconf.places("smtpd_milter_maps") {
		if l.postconf.get(s, "smtpd_milter_maps") != "" {
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: "smtpd_milter_maps selects other milters, or none, for some clients", Where: l.postconf.where(s, "smtpd_milter_maps"),
				Why: "mail from those clients is neither verified nor signed; use verify.skip_networks in signpost.toml instead, which also logs it", Fix: l.postconf.unset(s, "smtpd_milter_maps")})
		}
	}
	return found
}

// defaultAction checks what Postfix does with mail while the daemon is not running. With shutdown, Postfix replies 421 and closes the
// connection. Releases that know shutdown also have it as the default.
func (l *site) defaultAction(context.Context) (found []doctor.Finding) {
	version := l.postconf.main["mail_version"]
	l.settings("default_action", "tempfail", func(action, where, fix string) {
		f := doctor.Finding{Where: where, Fix: fix}
		switch action = strings.ToLower(action); {
		case action == "accept":
			f.Level, f.What, f.Why = doctor.Red, "default_action is accept: while the daemon is not running, mail is neither verified nor signed", "Postfix then accepts forged Authentication-Results and sends unsigned mail, without an error"
		case action == "reject":
			f.Level, f.What, f.Why = doctor.Yellow, "default_action is reject: while the daemon is not running, Postfix rejects all mail", "the mail bounces instead of waiting in the sender's queue"
		case slices.Contains([]string{"", "tempfail", "quarantine"}, action),
			action == "shutdown" && includes(version, []int{3, 11}, []int{3, 10, 8}, []int{3, 9, 9}, []int{3, 8, 15}, []int{3, 7, 20}):
			return
		default:
			f.Level, f.What, f.Why = doctor.Yellow, "default_action "+action+" is unknown to Postfix "+version, "while the daemon is not running, Postfix replies 451 4.3.5 and logs a warning"
		}
		found = append(found, f)
	})
	return found
}

// settings calls judge for each value of a milter setting. The value can be in our entries and in the parameter milter_NAME. The argument
// fix is the command that sets the value to good.
func (l *site) settings(name, good string, judge func(value, where, fix string)) {
	parameter := "milter_" + name
	for _, s := range l.postconf.places(parameter) {
		judge(l.postconf.get(s, parameter), l.postconf.where(s, parameter), l.postconf.setAt(s, parameter, good))
	}
	for _, one := range l.allLists() {
		if i := l.ours(one); i >= 0 {
			e := one.entries[i]
			judge(e.settings[name], l.postconf.where(one.at, one.name), l.postconf.setAt(one.at, one.name, one.replaced(i, e.with(name, good))))
		}
	}
}

// needProtocol is the milter protocol that the daemon requires. It is Postfix's default since 2.6.
const needProtocol = 6

func (l *site) milterProtocol(context.Context) (found []doctor.Finding) {
	l.settings("protocol", "6", func(v, where, fix string) {
		if n, err := strconv.Atoi(v); err == nil && n < needProtocol {
			found = append(found, doctor.Finding{Level: doctor.Red, What: "Postfix uses milter protocol " + v, Where: where,
				Why: "the daemon requires protocol 6 and closes the connection; Postfix applies milter_default_action to every message", Fix: fix})
		}
	})
	return found
}

// busy is the time that a host may need for an answer if its load is high.
const busy = 3 * time.Second

func (l *site) milterTimeouts(context.Context) (found []doctor.Finding) {
	for _, wait := range []struct {
		name           string
		least          time.Duration
		what, why, fix string
	}{
		{"content_timeout", milter.FinishTimeout, "for the action at the end of a message", "with slow DNS the daemon may need 120 seconds; Postfix then reports a timeout and applies milter_default_action", "300s"},
		{"command_timeout", busy, "for an answer", "on a busy host Postfix then reports a timeout and applies milter_default_action", "30s"},
		{"connect_timeout", busy, "for a connection", "on a busy host Postfix then reports a timeout and applies milter_default_action", "30s"},
	} {
		l.settings(wait.name, wait.fix, func(v, where, fix string) {
			if d, ok := seconds(v); ok && d <= wait.least {
				found = append(found, doctor.Finding{Level: doctor.Yellow, What: "Postfix waits " + d.String() + " " + wait.what, Where: where, Why: wait.why, Fix: fix})
			}
		})
	}
	return found
}

// seconds parses a time value of postconf(5): a number and s, m, h, d or w; seconds by default.
func seconds(v string) (time.Duration, bool) {
	units := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	number := strings.TrimRight(v, "smhdw")
	n, err := strconv.ParseUint(number, 10, 31)
	unit, ok := units[v[len(number):]]
	return time.Duration(n) * unit, err == nil && ok
}

// clientNames finds services that do not look up client names. The iprev result is based on Postfix's lookup.
func (l *site) clientNames(context.Context) (found []doctor.Finding) {
	const name = "smtpd_peername_lookup"
	for _, s := range l.publicServices() {
		if l.postconf.get(s, name) == "no" {
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: s.id + " does not look up client names", Where: l.postconf.where(s, name),
				Why: "Authentication-Results has iprev=permerror for every client", Fix: l.postconf.unset(l.postconf.at(s, name), name)})
		}
	}
	return found
}

func (l *site) internalMail(context.Context) (found []doctor.Finding) {
	const name = "internal_mail_filter_classes"
	have := words(l.postconf.main[name])
	if slices.Contains(have, "bounce") {
		return nil
	}
	return []doctor.Finding{{Level: doctor.Yellow, What: "bounces do not pass the milters", Where: l.postconf.where(nil, name),
		Why: "bounces of this host are not signed, and fail DMARC at the recipient", Fix: l.postconf.set(name, strings.Join(append(have, "bounce"), ", "))}}
}
