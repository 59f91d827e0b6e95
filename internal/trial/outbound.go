package trial

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"signpost/internal/doctor"
	"signpost/policy"
)

// The names of messages that are sent through Postfix.
const (
	bySendmail   = "sendmail"
	bySubmission = "submission"
)

// Outbound sends a message with sendmail(1) and, if Login is set, one by SMTP with this login. Both have to be signed. It returns an error
// only if it sent nothing.
func (s *Site) Outbound(ctx context.Context, o Options) (Report, error) {
	myhostname, err := s.parameters(ctx, "myhostname")
	if err != nil {
		return Report{}, err
	}
	names := []string{bySendmail}
	if o.Login != "" {
		names = append(names, bySubmission)
	}
	var r Report
	for _, name := range names {
		m := newMessage(name, o)
		s.Progress("sending a message by %s", name)
		log := s.openLog(ctx)
		within, cancel := context.WithTimeout(ctx, s.Timeout)
		text := m.text(time.Now(), "From: "+m.From)
		sent := false
		if name == bySendmail {
			sent = m.handOver(s.sendmail(within, m.From, m.To, text))
		} else {
			sent = s.submitted(within, m, o, myhostname["myhostname"], text)
		}
		cancel()
		s.follow(ctx, m, log, sent)
		if err := ctx.Err(); err != nil {
			return r, err
		}
		r.Messages = append(r.Messages, *m)
	}
	s.explain(ctx, &r, o.From, stepQueue, stepMilter, stepSignature, stepRecord, stepReceivers)
	return r, ctx.Err()
}

// handOver reports whether sendmail(1) accepted the message.
func (m *Message) handOver(err error) bool {
	if err != nil {
		m.add(stepQueue, doctor.Finding{Level: doctor.Red, What: "sendmail(1) did not accept the message", Where: err.Error(), Why: "mail of cron, web applications and other local programs fails",
			Fix: "postfix status # Postfix's log has the reason"})
	}
	return err == nil
}

// submitted sends a message to the submission service, and reports whether Postfix may have accepted it.
func (s *Site) submitted(ctx context.Context, m *Message, o Options, hello, text string) bool {
	to := s.at(ctx, o.Server)
	if o.Server == "" {
		all, err := s.services(ctx, "587", "465")
		if err != nil || len(all) == 0 {
			m.add(stepQueue, doctor.Finding{Level: doctor.Red, What: "no service of master.cf listens on port 587 or 465", Where: "master.cf", Why: "users cannot submit mail there",
				Fix: "signpost test --login " + doctor.Quote(o.Login) + " --server HOST:PORT # if users connect to another service"})
			return false
		}
		to = all[0]
	}
	reply, certificate, err := submit(ctx, to, o, hello, text)
	if certificate != nil && time.Now().After(certificate.NotAfter) {
		m.add(stepQueue, expired(to, certificate))
	}
	var f *failure
	if errors.As(err, &f) {
		m.add(stepQueue, f.finding(to, o))
		return f.at == stageData
	}
	m.good(stepQueue, "Postfix accepted the message at %s: 250 %s", to.address, reply)
	return true
}

func expired(to service, c *x509.Certificate) doctor.Finding {
	return doctor.Finding{Level: doctor.Red, What: "the TLS certificate of " + to.id + " has expired", Where: to.address + ": valid until " + c.NotAfter.UTC().Format(time.DateOnly),
		Why: "mail programs warn or do not connect", Fix: "postconf smtpd_tls_cert_file smtpd_tls_chain_files # renew the certificate, then: postfix reload"}
}

// finding returns the finding for a failed SMTP session with a submission service.
func (f *failure) finding(to service, o Options) doctor.Finding {
	found := doctor.Finding{Level: doctor.Red, Where: to.address + ", after " + string(f.at) + ": " + f.text(), Why: "mail of this login fails"}
	_, port, _ := net.SplitHostPort(to.address)
	switch {
	case f.at == stageConnect:
		found.What, found.Why = "no SMTP service answers at "+to.address, "users cannot submit mail"
		found.Fix = "postconf -M | grep inet # shows the services; then: postfix reload"
	case f.at == stageTLS:
		found.What, found.Why = "TLS fails at "+to.address, "users cannot submit mail"
		found.Fix = "openssl s_client -starttls smtp -connect " + doctor.Quote(to.address) + " # shows the cause"
		if port == "465" {
			found.Fix = "openssl s_client -connect " + doctor.Quote(to.address) + " # shows the cause"
		}
	case f.at == stageAuth && f.reply == nil:
		found.What, found.Why = "users cannot log in at "+to.address, "their mail is neither accepted for other domains nor signed"
		found.Fix = "postconf smtpd_sasl_auth_enable smtpd_sasl_type smtpd_sasl_path # set smtpd_sasl_auth_enable=yes for this service"
	case f.at == stageAuth && f.reply.Code/100 == 4 && strings.HasPrefix(f.reply.Msg, "4.3.0"): // Postfix's reply if a milter is unavailable
		found.What, found.Why = "Postfix accepts neither logins nor mail at "+to.address+", because a milter does not answer", "mail of users waits until the milter answers"
		found.Fix = "signpost ping # checks the daemon; the other findings have the cause"
	case f.at == stageAuth && f.reply.Code/100 == 4:
		found.What, found.Fix = "the login failed temporarily: the SASL server does not answer", "postconf smtpd_sasl_type smtpd_sasl_path # then start that server"
	case f.at == stageAuth:
		found.What, found.Fix = "the login failed: wrong name or password", "doveadm auth test "+doctor.Quote(o.Login)+" # with Dovecot; or correct --login and the password"
	case f.at == stageMail && f.reply != nil && f.reply.Code/100 == 5, f.at == stageRcpt && f.reply != nil && f.reply.Code == 553:
		found.What, found.Fix = "Postfix does not let login "+o.Login+" send as "+o.From, "signpost test --login "+doctor.Quote(o.Login)+" --from ADDRESS # an address of this login; or add it to smtpd_sender_login_maps"
	case f.at == stageRcpt:
		found.What, found.Fix = "Postfix does not accept the recipient "+o.To, "postconf smtpd_relay_restrictions smtpd_recipient_restrictions # or pass an ADDRESS that exists"
	default:
		found.What, found.Fix = "Postfix did not accept the message", "postconf smtpd_milters # the steps below state whether Signpost caused this reply"
	}
	return found
}

// follow finds out what happened to a message after it was sent.
func (s *Site) follow(ctx context.Context, m *Message, log mailLog, sent bool) {
	if !sent {
		return
	}
	s.await(ctx, m, log)
	if m.Name == bySendmail {
		s.pickedUp(ctx, m, log)
	}
	s.processed(m)
	if m.record == nil {
		return
	}
	if s.signature(ctx, m) {
		s.published(ctx, m)
	}
	if a := m.record.Action; a != policy.Reject && a != policy.Tempfail && a != policy.Hold {
		s.deliveredTo(ctx, m, log)
	}
}

// await waits until the journal has the record of a message. If the log of Postfix shows the message, or Postfix replied to it, it waits
// only a little longer.
func (s *Site) await(ctx context.Context, m *Message, log mailLog) {
	known := m.Name != bySendmail
	limit := time.Now().Add(s.Timeout)
	if known || s.running(ctx) != nil {
		limit = time.Now().Add(s.Grace)
	}
	for {
		if s.Journal {
			all, err := s.Find(ctx, m.MessageID)
			if m.unread = err; err == nil && len(all) > 0 {
				m.record, m.QueueID = &all[0], all[0].QueueID
				return
			}
		}
		if text := log.read(ctx); !known {
			_, rejected := rejectedByMilter(text, "", m.From)
			if known = rejected != "" || queued(text, m.MessageID) != ""; known {
				limit = time.Now().Add(s.Grace)
			}
		}
		if time.Now().After(limit) || !s.Journal && known || pause(ctx) != nil {
			break
		}
	}
	m.QueueID = queued(log.read(ctx), m.MessageID)
}

// pickedUp reports whether Postfix queued a message of sendmail(1).
func (s *Site) pickedUp(ctx context.Context, m *Message, log mailLog) {
	id, rejected := rejectedByMilter(log.read(ctx), m.QueueID, m.From)
	switch {
	case m.record == nil && rejected != "":
		m.add(stepQueue, doctor.Finding{Level: doctor.Red, What: "Postfix has not queued the message, because a milter failed or rejected it", Where: id + ": " + rejected,
			Why: "mail of this host waits in the maildrop queue; Postfix tries again every minute", Fix: "signpost ping # checks the daemon; the findings below have the cause"})
	case m.QueueID == "":
		if err := s.running(ctx); err != nil {
			m.add(stepQueue, doctor.Finding{Level: doctor.Red, What: "Postfix is not running: the message waits in the maildrop queue", Where: err.Error(), Why: "mail is neither sent nor received", Fix: "postfix start"})
			return
		}
		m.add(stepQueue, doctor.Finding{Level: doctor.Yellow, What: "sendmail(1) accepted the message, but Postfix has not queued it", Where: "no queue ID in Postfix's log or in the journal",
			Why: "this user cannot read Postfix's log, or the message is sent later", Fix: "mailq"})
	default:
		m.good(stepQueue, "Postfix queued the message as %s", m.QueueID)
	}
}

// processed reports whether the daemon processed a message.
func (s *Site) processed(m *Message) {
	switch {
	case m.record != nil:
		m.good(stepMilter, "Signpost processed the message: role=%s action=%s code=%s", m.record.Role, m.record.Action, m.record.Code)
	case !s.Journal:
		m.add(stepMilter, doctor.Finding{Level: doctor.Yellow, What: "it is not known what Signpost did with the message: there is no journal", Where: s.File + ": journal.enabled = false",
			Why: "the log of the daemon has a line for " + m.MessageID, Fix: "enabled = true # in [journal], then restart the daemon"})
	case m.unread != nil:
		m.add(stepMilter, doctor.Finding{Level: doctor.Yellow, What: "it is not known what Signpost did with the message: the journal cannot be read", Where: m.unread.Error(),
			Why: "the log of the daemon has a line for " + m.MessageID, Fix: "signpost doctor # check state-dir"})
	default:
		m.add(stepMilter, doctor.Finding{Level: doctor.Red, What: "Signpost did not process the message: it is not in the journal", Where: fmt.Sprintf("no record with Message-ID %s after %s", m.MessageID, s.waited(m)),
			Why: "such mail is sent unsigned, or it waits in a queue", Fix: "signpost ping && signpost doctor # the findings below have the cause"})
	}
}

// waited returns how long the record of a message was awaited.
func (s *Site) waited(m *Message) time.Duration {
	if m.QueueID != "" || m.Name != bySendmail {
		return s.Grace
	}
	return s.Timeout
}

// deliveredTo reports what Postfix's log states about the delivery. A deferred message is not an error of this host.
func (s *Site) deliveredTo(ctx context.Context, m *Message, log mailLog) {
	limit := time.Now().Add(s.Timeout)
	filters := s.filters(ctx)
	var path, forwarded []string
	var all []delivery
	for {
		text := log.read(ctx)
		var tried bool
		path, forwarded, all, tried = trace(text, m.QueueID, m.MessageID)
		// A content filter that has the message may return it under another queue ID.
		returns := filters && len(path) == 1 && slices.ContainsFunc(all, func(d delivery) bool { return strings.Contains(d.text, "queued as ") })
		if tried && !returns || text == "" || time.Now().After(limit) || pause(ctx) != nil {
			break
		}
	}
	if len(forwarded) > 0 {
		m.good(stepDelivery, "an alias or a .forward file sent the message again, as %s", strings.Join(forwarded, ", "))
	}
	if len(path) > 1+len(forwarded) {
		m.add(stepDelivery, doctor.Finding{Level: doctor.Yellow, What: "a content filter received the message after Signpost had signed it, and returned it as " + path[len(path)-1], Where: strings.Join(path, ", then "),
			Why: "if the filter changes the header or the body, for example with a disclaimer, the signature fails at receivers", Fix: "signpost verify FILE # with the delivered message; a filter that changes mail must be a milter before Signpost"})
	}
	s.again(ctx, m)
	if len(all) == 0 {
		m.add(stepDelivery, doctor.Finding{Level: doctor.Yellow, What: "it is not known whether Postfix delivered the message to " + m.To, Where: m.QueueID + ": no status in Postfix's log", Why: "the delivery may still take place",
			Fix: "mailq # lists undelivered mail"})
	}
	for i, d := range all {
		if i == maxShown {
			m.add(stepDelivery, doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("the message has %d more recipients", len(all)-i), Where: "the address is an alias", Why: "their results are in Postfix's log", Fix: "signpost log " + m.QueueID})
			break
		}
		m.add(stepDelivery, d.finding(path[len(path)-1]))
	}
}

// maxShown limits the recipients and the records of a message that are shown.
const maxShown = 5

// finding returns the finding for the delivery to one recipient.
func (d delivery) finding(queueID string) doctor.Finding {
	text := oneLine(d.text)
	switch d.status {
	case "sent":
		return doctor.Finding{Level: doctor.Green, What: "Postfix delivered the message to " + d.to + ": " + text}
	case "bounced", "expired":
		return doctor.Finding{Level: doctor.Red, What: "Postfix could not deliver the message to " + d.to, Where: queueID + ": " + text, Why: "the recipient did not get the message; no bounce was sent",
			Fix: "signpost test ADDRESS # an address that exists"}
	case "deferred":
		return doctor.Finding{Level: doctor.Yellow, What: "Postfix could not deliver the message to " + d.to + " yet", Where: queueID + ": " + text, Why: "Postfix tries again later",
			Fix: "postqueue -i " + queueID + " # tries again now"}
	}
	return doctor.Finding{Level: doctor.Yellow, What: "the delivery of the message to " + d.to + " has the status " + d.status, Where: queueID + ": " + text, Why: "the delivery may still take place", Fix: "mailq # lists undelivered mail"}
}

// again reports the other records of a message. The first one is that of the message as it was sent.
func (s *Site) again(ctx context.Context, m *Message) {
	if !s.Journal {
		return
	}
	all, err := s.Find(ctx, m.MessageID)
	if err != nil {
		return
	}
	for i := 1; i < len(all) && i <= maxShown; i++ {
		m.good(stepDelivery, "Signpost processed the message again, as %s: role=%s action=%s code=%s", all[i].QueueID, all[i].Role, all[i].Action, all[i].Code)
	}
}
