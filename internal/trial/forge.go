package trial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"signpost/internal/dmarc"
	"signpost/internal/doctor"
	"signpost/internal/explain"
	"signpost/policy"
)

// outside is the client of forged messages: an address of TEST-NET-1 (RFC 5737), from which no mail comes. Its HELO name has no SPF record.
const (
	outside     = "192.0.2.1"
	outsideHELO = "forged.signpost-test.invalid"
)

// The forgeries.
const (
	forgedFrom      = "forged From"
	forgedSignature = "forged signature"
	twoFrom         = "two From fields"
)

// forgery is a message that has to be rejected.
type forgery struct {
	name   string
	fields []string
	policy dmarc.Policy // that requires the action; empty: the message is rejected without a policy
}

// forgeries returns the messages that claim to be from an address. Their envelope sender is empty, so that there are no bounces. Without a
// policy of its domain, mail that only claims to be from it is accepted, so these messages are omitted.
func (s *Site) forgeries(ctx context.Context, from string) (all []forgery) {
	if p := s.DMARC(ctx, domainOf(from), nil); p.Policy == dmarc.PolicyReject || p.Policy == dmarc.PolicyQuarantine {
		all = []forgery{{forgedFrom, []string{"From: " + from}, p.Policy}, {forgedSignature, []string{"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=" + domainOf(from) + "; s=signpost-test; h=From:To:Subject;\n" +
			"\tbh=Zm9yZ2Vk; b=Zm9yZ2VkIGJ5IHNpZ25wb3N0IHRlc3Q=", "From: " + from}, p.Policy}}
	}
	return append(all, forgery{twoFrom, []string{"From: " + from, "From: forged@" + outsideHELO}, ""})
}

// Forge sends messages by SMTP that have to be rejected. The caller has checked with Local that mail for the recipient stays on this host.
// Postfix must not trust the client. So the client is another host by XCLIENT, if Postfix allows this, and otherwise an address of this
// host that is not a loopback address.
func (s *Site) Forge(ctx context.Context, o Options) (Report, error) {
	to := service{"smtp/inet", o.Server, false}
	if o.Server == "" {
		all, err := s.services(ctx, "25")
		if err != nil {
			return Report{}, err
		}
		if len(all) == 0 {
			return Report{}, errors.New("no service of master.cf listens on port 25\nhint: signpost test --forge --server HOST:PORT")
		}
		to = all[0]
	}
	if err := onHost(to.address); err != nil {
		return Report{}, err
	}
	var r Report
	for _, f := range s.forgeries(ctx, o.From) {
		m := newMessage(f.name, o)
		s.Progress("sending a forged message: %s", f.name)
		within, cancel := context.WithTimeout(ctx, s.Timeout)
		reply, err := forged(within, to.address, o.To, m.text(time.Now(), f.fields...))
		s.judge(within, m, f, to, reply, err)
		cancel()
		if err := ctx.Err(); err != nil {
			return r, err
		}
		r.Messages = append(r.Messages, *m)
	}
	s.explain(ctx, &r, o.From, stepForgery)
	r.noPolicy(o.From)
	return r, ctx.Err()
}

// noPolicy adds a finding if mail that claims to be from an address is rejected nowhere.
func (r *Report) noPolicy(from string) {
	if !slices.ContainsFunc(r.Messages, func(m Message) bool { return m.Name == forgedFrom }) {
		r.Other = append(r.Other, doctor.Finding{Check: "dmarc", Level: doctor.Yellow, What: domainOf(from) + " has no policy quarantine or reject, so no server rejects forged mail of this domain", Where: "_dmarc." + domainOf(from),
			Why: "only the message with two From fields was sent", Fix: "signpost doctor " + domainOf(from) + " # or use --from with an address whose domain has p=reject"}.Printable())
	}
}

// forged sends a message as an unauthenticated client of another host, and returns the reply.
func forged(ctx context.Context, server, to, text string) (string, error) {
	reply, xclient, err := forgedFromHere(ctx, server, to, text)
	if xclient || err != nil {
		return reply, err
	}
	_, port, _ := net.SplitHostPort(server)
	err = errors.New("this host has only loopback addresses, and Postfix does not allow XCLIENT")
	var c net.Conn
	for _, own := range ownAddresses() { // the service may listen on some of them
		if c, err = connect(ctx, net.JoinHostPort(own.String(), port)); err == nil {
			break
		}
	}
	if err != nil {
		return "", failed(stageXClient, err)
	}
	defer c.Close()
	t := textproto.NewConn(c)
	if _, _, err := t.ReadResponse(220); err != nil {
		return "", failed(stageConnect, err)
	}
	if _, err := command(t, 250, "EHLO %s", outsideHELO); err != nil {
		return "", failed(stageConnect, err)
	}
	return transaction(t, "", to, text, false)
}

// forgedFromHere sends a message with XCLIENT. xclient is false if Postfix does not offer it; then no message was sent.
func forgedFromHere(ctx context.Context, server, to, text string) (reply string, xclient bool, err error) {
	c, err := connect(ctx, server)
	if err != nil {
		return "", false, err
	}
	defer c.Close()
	t := textproto.NewConn(c)
	if _, _, err := t.ReadResponse(220); err != nil {
		return "", false, failed(stageConnect, err)
	}
	offer, err := command(t, 250, "EHLO %s", outsideHELO)
	if err != nil {
		return "", false, failed(stageConnect, err)
	}
	if !strings.Contains(offer, "XCLIENT") {
		_, _ = command(t, 221, "QUIT")
		return "", false, nil
	}
	if _, err := command(t, 220, "XCLIENT ADDR=%s NAME=[UNAVAILABLE]", outside); err != nil {
		return "", true, failed(stageXClient, err)
	}
	if _, err := command(t, 250, "EHLO %s", outsideHELO); err != nil {
		return "", true, failed(stageConnect, err)
	}
	reply, err = transaction(t, "", to, text, false)
	return reply, true, err
}

// onHost returns an error unless HOST:PORT is an address of this host. Forged mail is not sent to other hosts.
func onHost(server string) error {
	host, _, err := net.SplitHostPort(server)
	ip, notIP := netip.ParseAddr(host)
	if err == nil && (host == "localhost" || notIP == nil && (ip.IsLoopback() || slices.Contains(ownAddresses(), ip.Unmap()))) {
		return nil
	}
	return fmt.Errorf("%s is not an address of this host, so no forged message is sent there", server)
}

// ownAddresses returns the addresses of this host that other hosts on the network can use.
func ownAddresses() (all []netip.Addr) {
	addresses, _ := net.InterfaceAddrs() // without addresses, Postfix trusts all clients on this host
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			all = append(all, p.Addr().Unmap())
		}
	}
	return all
}

// judge reports whether a forged message was rejected.
func (s *Site) judge(ctx context.Context, m *Message, f forgery, to service, reply string, err error) {
	var failure *failure
	errors.As(err, &failure)
	const trusted = "signpost test --forge --socket # sends the messages to the daemon alone; or allow XCLIENT: smtpd_authorized_xclient_hosts = 127.0.0.1"
	switch {
	case failure != nil && failure.at == stageXClient:
		m.add(stepForgery, doctor.Finding{Level: doctor.Yellow, What: "no forged message was sent: there is no client address that Postfix does not trust", Where: to.address + ": " + failure.text(),
			Why: "Postfix and Signpost trust clients on loopback addresses", Fix: trusted})
		return
	case failure != nil && failure.at == stageConnect:
		m.add(stepForgery, doctor.Finding{Level: doctor.Red, What: "no SMTP service answers at " + to.address, Where: failure.text(), Why: "this host receives no mail", Fix: "postfix status; postconf -M | grep inet"})
		return
	case failure != nil && failure.at != stageData:
		m.add(stepForgery, doctor.Finding{Level: doctor.Yellow, What: "Postfix rejected the client or the address before it received the message, so it is not known what Signpost would do", Where: string(failure.at) + ": " + failure.text(),
			Why: "other forged mail may pass these restrictions", Fix: trusted})
		return
	}
	s.await(ctx, m, s.openLog(ctx))
	if failure != nil {
		reply = failure.text()
	} else {
		reply = "250 " + reply
	}
	s.verdict(m, f, reply, trusted)
}

// verdict compares the reply to a forged message, and its record, with what it should be.
func (s *Site) verdict(m *Message, f forgery, reply, trusted string) {
	r := m.record
	rejected := strings.HasPrefix(reply, "5")
	found := doctor.Finding{Level: doctor.Red, Where: reply, Why: "recipients on this host get forged mail", Fix: "signpost doctor"}
	switch {
	case r == nil && rejected:
		found.Level, found.What, found.Why = doctor.Yellow, "Postfix rejected the message, but it is not in the journal of Signpost", "another program may have rejected it"
	case r == nil:
		found.What = "the message was not rejected, and it is not in the journal of Signpost"
		if !s.Journal {
			found.Why += "; journal.enabled is false"
		}
	case r.Role != policy.RoleVerify && r.Client.String() == outside:
		found.What, found.Why = fmt.Sprintf("Signpost trusts a client of another host, %s: role=%s code=%s", r.Client, r.Role, r.Code), "Signpost signs or accepts forged mail of any such client"
		found.Fix = "signpost doctor # checks originating and mynetworks"
	case r.Role != policy.RoleVerify:
		found.Level, found.What, found.Why, found.Fix = doctor.Yellow, fmt.Sprintf("Signpost did not treat the message as inbound mail: role=%s code=%s: the client %s is trusted", r.Role, r.Code, r.Client), "so the message was no forgery", trusted
	case r.Observe && r.Would == policy.Reject, r.Observe && r.Would == policy.Tag:
		found.Level, found.What, found.Why = doctor.Yellow, "the message was accepted, because the mode is observe; in enforce mode the action is "+string(r.Would)+": "+explain.Why(r), "recipients on this host get forged mail"
		found.Fix = `mode = "enforce" # docs/observe.md`
	case r.Action == policy.Reject && rejected:
		m.good(stepForgery, "rejected: %s (code %s)", reply, r.Code)
		return
	case r.Action == policy.Tag && (f.policy == dmarc.PolicyQuarantine || f.policy == ""):
		m.good(stepForgery, "tagged as quarantine: %s (code %s)", explain.Why(r), r.Code)
		return
	case r.Action == policy.Reject:
		found.What, found.Why = "Signpost rejected the message, but Postfix replied "+reply, "Postfix ignores the reply of Signpost"
	case r.Action == policy.Tempfail:
		found.Level, found.What, found.Why, found.Fix = doctor.Yellow, "Signpost replied with a temporary error: "+explain.Why(r), "the sender tries again, so the message is neither rejected nor accepted", "signpost explain "+m.QueueID
	default:
		found.What = fmt.Sprintf("the message was not rejected: action=%s code=%s: %s", r.Action, r.Code, explain.Why(r))
		found.Fix = "signpost explain " + m.QueueID
	}
	m.add(stepForgery, found)
}
