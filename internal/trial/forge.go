package trial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
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
func (s *Site) forgeries(ctx context.Context, from string) (all []forgery, p dmarc.Result) {
	if p = s.DMARC(ctx, domainOf(from), nil); p.Policy == dmarc.PolicyReject || p.Policy == dmarc.PolicyQuarantine {
		all = []forgery{{forgedFrom, []string{"From: " + from}, p.Policy}, {forgedSignature, []string{"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=" + domainOf(from) + "; s=signpost-test; h=From:To:Subject;\n" +
			"\tbh=Zm9yZ2Vk; b=Zm9yZ2VkIGJ5IHNpZ25wb3N0IHRlc3Q=", "From: " + from}, p.Policy}}
	}
	return append(all, forgery{twoFrom, []string{"From: " + from, "From: forged@" + outsideHELO}, ""}), p
}

// Forge sends messages by SMTP that have to be rejected. It returns an error and sends nothing unless Postfix delivers mail for the
// recipient on this host. Postfix must not trust the client. So the client is another host by XCLIENT, if Postfix allows this, and
// otherwise an address of this host that is not a loopback address.
func (s *Site) Forge(ctx context.Context, o Options) (Report, error) {
	to, err := s.inbound(ctx, o.Server)
	if err != nil {
		return Report{}, fmt.Errorf("no forged message was sent to %s: %w", o.To, err)
	}
	r, err := s.routes(ctx, to)
	if err == nil {
		err = s.local(ctx, r, o.To)
	}
	var received []string
	if err == nil {
		received, err = hops(r.main["hopcount_limit"])
	}
	if err != nil {
		return Report{}, fmt.Errorf("no forged message was sent to %s: %s\nhint: pass a local ADDRESS, or use --socket, which sends no mail", o.To, oneLine(err.Error()))
	}
	var report Report
	all, p := s.forgeries(ctx, o.From)
	for _, f := range all {
		m := newMessage(f.name, o)
		s.Progress("sending a forged message: %s", f.name)
		within, cancel := context.WithTimeout(ctx, s.Timeout)
		reply, err := forged(within, to.address, r.greeting, o.To, m.text(time.Now(), slices.Concat(received, f.fields)...))
		s.judge(within, m, f, to, reply, err)
		cancel()
		if err := ctx.Err(); err != nil {
			return report, err
		}
		report.Messages = append(report.Messages, *m)
	}
	s.explain(ctx, &report, o.From, stepForgery)
	report.noPolicy(o.From, p)
	return report, ctx.Err()
}

// inbound returns the service for forged mail: that of master.cf on port 25, or at HOST:PORT. Another program could pass the messages to
// other hosts.
func (s *Site) inbound(ctx context.Context, server string) (service, error) {
	host, port := "", "25"
	if server != "" {
		if err := onHost(server); err != nil {
			return service{}, err
		}
		host, port, _ = net.SplitHostPort(server)
	}
	all, err := s.services(ctx, portOf(port))
	if err != nil {
		return service{}, err
	}
	for _, found := range all {
		if server == "" {
			return found, onHost(found.address)
		}
		if found.on(host) {
			found.address = net.JoinHostPort(strings.Replace(host, "localhost", "127.0.0.1", 1), portOf(port))
			return found, nil
		}
	}
	if server == "" {
		return service{}, errors.New("no service of master.cf listens on port 25\nhint: signpost test --forge --server HOST:PORT")
	}
	return service{}, fmt.Errorf("no smtpd(8) service of master.cf listens at %s", server)
}

// maxHops limits the Received fields of a forged message.
const maxHops = 100

// hops returns so many Received fields that Postfix accepts a message once. If an alias of local(8), a content filter or a Sieve script
// sends it again, Postfix rejects it.
func hops(limit string) ([]string, error) {
	n, err := strconv.Atoi(limit)
	if err != nil || n < 3 || n > maxHops {
		return nil, fmt.Errorf("hopcount_limit = %s: not between 3 and %d", limit, maxHops)
	}
	return slices.Repeat([]string{"Received: by " + outsideHELO + "; " + time.Now().Format(time.RFC1123Z)}, n-2), nil
}

// noPolicy adds a finding if mail that claims to be from an address is rejected nowhere, or if this is not known.
func (r *Report) noPolicy(from string, p dmarc.Result) {
	if p.Status == dmarc.TempError {
		r.Other = append(r.Other, doctor.Finding{Check: "dmarc", Level: doctor.Yellow, What: "the DMARC policy of " + domainOf(from) + " is not known, because a DNS lookup failed", Where: oneLine(p.Failed),
			Why: "only the message with two From fields was sent", Fix: "signpost dmarc " + domainOf(from)}.Printable())
		return
	}
	if !slices.ContainsFunc(r.Messages, func(m Message) bool { return m.Name == forgedFrom }) {
		r.Other = append(r.Other, doctor.Finding{Check: "dmarc", Level: doctor.Yellow, What: domainOf(from) + " has no policy quarantine or reject, so no server rejects forged mail of this domain", Where: "_dmarc." + domainOf(from),
			Why: "only the message with two From fields was sent", Fix: "signpost doctor " + domainOf(from) + " # or use --from with an address whose domain has p=reject"}.Printable())
	}
}

// forged sends a message as an unauthenticated client of another host, and returns the reply. names are those of Postfix.
func forged(ctx context.Context, server string, names []string, to, text string) (string, error) {
	c, offer, err := greet(ctx, server, names)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if offers(offer, "XCLIENT") {
		if _, err := command(c, 220, "XCLIENT ADDR=%s NAME=[UNAVAILABLE]", outside); err != nil {
			return "", failed(stageXClient, err)
		}
		if offer, err = command(c, 250, "EHLO %s", outsideHELO); err != nil {
			return "", failed(stageConnect, err)
		}
		return transaction(c, "", to, text, offers(offer, "DSN"))
	}
	_, _ = command(c, 221, "QUIT")
	_, port, _ := net.SplitHostPort(server)
	err = errors.New("this host has only loopback addresses, and Postfix does not allow XCLIENT")
	for _, own := range ownAddresses() { // the service may listen on some of them
		var again *textproto.Conn
		if again, offer, err = greet(ctx, net.JoinHostPort(own.String(), port), names); err == nil {
			defer again.Close()
			return transaction(again, "", to, text, offers(offer, "DSN"))
		}
	}
	return "", failed(stageXClient, err)
}

// greet begins an SMTP session. It returns the reply to EHLO, and an error if the server does not have one of Postfix's names: another
// program at this address could pass the message to another host.
func greet(ctx context.Context, server string, names []string) (*textproto.Conn, string, error) {
	c, err := connect(ctx, server)
	if err != nil {
		return nil, "", err
	}
	t := textproto.NewConn(c)
	_, _, err = t.ReadResponse(220)
	offer := ""
	if err == nil {
		offer, err = command(t, 250, "EHLO %s", outsideHELO)
	}
	if first, _, _ := strings.Cut(offer, "\n"); err == nil && !slices.Contains(names, strings.TrimSpace(first)) {
		err = fmt.Errorf("the server calls itself %s, but myhostname is %s", oneLine(first), strings.Join(names, " or "))
	}
	if err != nil {
		_ = t.Close()
		return nil, "", failed(stageConnect, err)
	}
	return t, offer, nil
}

// offers reports whether a reply to EHLO has a keyword.
func offers(offer, keyword string) bool {
	return slices.ContainsFunc(strings.Split(offer, "\n"), func(line string) bool {
		first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		return strings.EqualFold(first, keyword)
	})
}

// onHost returns an error unless HOST:PORT is an address of this host. Forged mail is not sent to other hosts.
func onHost(server string) error {
	host, _, err := net.SplitHostPort(server)
	ip, notIP := netip.ParseAddr(host)
	if err == nil && (host == "localhost" || notIP == nil && (ip.IsLoopback() || slices.Contains(ownAddresses(), ip.Unmap()))) {
		return nil
	}
	return fmt.Errorf("%s is not an address of this host", server)
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
		m.add(stepForgery, doctor.Finding{Level: doctor.Red, What: "Postfix does not answer at " + to.address, Where: failure.text(), Why: "this host receives no mail there", Fix: "postfix status; postconf -M | grep inet"})
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
		if m.unread != nil {
			found.What, found.Why = "the message was not rejected, and the journal of Signpost cannot be read", found.Why+"; "+oneLine(m.unread.Error())
		}
	case r.Role != policy.RoleVerify && r.Client.String() == outside:
		found.What, found.Why = fmt.Sprintf("Signpost trusts a client of another host, %s: role=%s code=%s", r.Client, r.Role, r.Code), "Signpost signs or accepts forged mail of any such client"
		found.Fix = "signpost doctor # checks originating and mynetworks"
	case r.Role != policy.RoleVerify:
		found.Level, found.What, found.Why, found.Fix = doctor.Yellow, fmt.Sprintf("Signpost did not treat the message as inbound mail: role=%s code=%s: the client %s is trusted", r.Role, r.Code, r.Client), "so the message was no forgery", trusted
	case rejected && r.Action != policy.Reject:
		found.Level, found.What = doctor.Yellow, fmt.Sprintf("another program rejected the message; Signpost did not: action=%s code=%s: %s", r.Action, r.Code, explain.Why(r))
		found.Why, found.Fix = "Signpost accepts such mail if the other program does not reject it", "signpost explain "+m.QueueID
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
