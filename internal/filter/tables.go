package filter

import (
	"context"
	"slices"
	"strings"

	"signpost/internal/dmarc"
	"signpost/policy"
)

// maxFrom is the maximum number of From addresses that are looked up. Honest mail has one. A login may not use the others.
const maxFrom = 10

// askTables makes the table lookups that the role of an outbound message depends on, and assigns the role again.
func (m *message) askTables() {
	tables := m.filter.Listed != nil && policy.NeedsTables(m.assignment)
	if !tables && !policy.NeedsLogins(m.evidence, m.rules, m.assignment, m.verdict) {
		return
	}
	ctx, cancel := context.WithTimeout(m.ctx, m.filter.TablesTimeout)
	defer cancel()
	if tables {
		m.askListed(ctx, m.assignment.Reason.Domain)
		// This assignment only decides whether the login matters. Without From addresses, it does not reject the message.
		m.assignment, m.verdict = policy.AssignRole(m.evidence, m.rules)
	}
	if m.filter.Owners != nil && policy.NeedsLogins(m.evidence, m.rules, m.assignment, m.verdict) {
		m.askOwners(ctx)
		m.assignment, m.verdict = policy.AssignRole(m.evidence, m.rules)
	}
}

// askListed looks up the Author Domain in domains.tables, and the domains above it if their keys would sign its mail.
func (m *message) askListed(ctx context.Context, author string) {
	domains := []string{author}
	for name := author; m.rules.Subdomains; {
		var more bool
		if _, name, more = strings.Cut(name, "."); !more || !strings.Contains(name, ".") {
			break
		}
		domains = append(domains, name)
	}
	table, found, err := m.filter.Listed(ctx, domains)
	m.evidence.ListedIn = shortTable(table)
	switch {
	case found:
		m.evidence.Listed = policy.ListedYes
	case err != nil:
		m.evidence.Listed = policy.ListedUnknown
	default:
		m.evidence.Listed = policy.ListedNo
	}
}

// askOwners looks up whether the login may use the addresses of From and, if necessary, that of Sender. AssignRole has already rejected mail
// without exactly one From field that can be parsed.
func (m *message) askOwners(ctx context.Context) {
	addresses, _ := dmarc.ReadAddresses(m.froms[0])
	for i, a := range addresses {
		if i == maxFrom {
			m.evidence.FromUse = append(m.evidence.FromUse, policy.UsedAddress{Address: text(a), Use: policy.UseDenied})
			break
		}
		m.evidence.FromUse = append(m.evidence.FromUse, m.useOf(ctx, a))
	}
	if len(m.senders) != 1 || !policy.MaySender(m.evidence, m.rules) {
		return
	}
	if sender, err := dmarc.ReadAddresses(m.senders[0]); err == nil && len(sender) == 1 {
		use := m.useOf(ctx, sender[0])
		m.evidence.SenderUse = &use
	}
}

// useOf looks up whether the login may use an address. Postfix compares logins without regard to case. No login may use an address that is
// too long for a lookup.
func (m *message) useOf(ctx context.Context, a dmarc.Address) policy.UsedAddress {
	if len(a.Local) > maxAddress {
		return policy.UsedAddress{Address: text(a), Use: policy.UseDenied}
	}
	logins, table, found, err := m.filter.Owners(ctx, a.Local, a.Domain)
	use := policy.UsedAddress{Address: text(a), Table: shortTable(table)}
	is := func(login string) bool { return strings.EqualFold(login, m.evidence.Login) }
	switch {
	case err != nil:
		use.Use = policy.UseUnknown
	case !found:
		use.Use = policy.UseUnlisted
	case slices.ContainsFunc(logins, is):
		use.Use, use.Address = policy.UseAllowed, ""
	default:
		use.Use = policy.UseDenied
	}
	return use
}

// text returns an address for the log and the reply. It omits a local part that is too long. A part of it could end within a quoted string,
// and the journal would not recognize the address.
func text(a dmarc.Address) string {
	if len(a.Local) > maxAddress {
		a.Local = cutMark
	}
	return a.Local + "@" + a.Domain
}

// shortTable returns the name of a table for the log and the journal. An inline: table has its contents in the name.
func shortTable(table string) string {
	const most = 100 // bytes
	if len(table) <= most {
		return table
	}
	return strings.ToValidUTF8(table[:most], "") + "..."
}
