package trial

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"signpost/internal/domain"
)

// maxAliases limits how many addresses an alias may lead to.
const maxAliases = 50

// localOnly is the input of a check that Postfix delivers mail for an address on this host.
type localOnly struct {
	*Site
	main map[string]string
	seen map[string]bool
}

// Local returns an error unless Postfix delivers mail for an address on this host. It follows aliases. If it cannot read a table, or
// finds a program, a .forward file or a transport to another host, the address does not count as local.
func (s *Site) Local(ctx context.Context, address string) error {
	main, err := s.parameters(ctx, "mydestination", "virtual_mailbox_domains", "virtual_alias_maps", "alias_maps", "canonical_maps", "recipient_canonical_maps",
		"transport_maps", "local_transport", "virtual_transport", "mailbox_transport", "mailbox_transport_maps", "mailbox_command", "mailbox_command_maps", "fallback_transport", "fallback_transport_maps",
		"luser_relay", "always_bcc", "recipient_bcc_maps", "sender_bcc_maps", "myorigin", "content_filter", "recipient_delimiter")
	if err != nil {
		return err
	}
	if text, err := os.ReadFile(main["myorigin"]); err == nil { // postconf(5): the name of a file with the domain
		main["myorigin"] = strings.TrimSpace(string(text))
	}
	l := &localOnly{s, main, map[string]bool{}}
	for _, name := range []string{"always_bcc", "recipient_bcc_maps", "sender_bcc_maps", "luser_relay", "mailbox_command_maps", "mailbox_transport_maps", "fallback_transport_maps"} {
		if main[name] != "" {
			return fmt.Errorf("%s = %s: a copy of the message could leave this host", name, main[name])
		}
	}
	for _, name := range []string{"local_transport", "virtual_transport", "mailbox_transport", "fallback_transport", "content_filter"} {
		if !stays(main[name]) {
			return fmt.Errorf("%s = %s leads to another host or a program", name, main[name])
		}
	}
	return l.check(ctx, address)
}

// stays reports whether a transport delivers on this host: its name is that of a delivery agent, or its destination is a local socket.
func stays(transport string) bool {
	name, destination, _ := strings.Cut(transport, ":")
	switch name {
	case "", "local", "virtual", "discard", "error", "retry":
		return name != "" || destination == ""
	}
	if strings.HasPrefix(destination, "unix:") {
		return true
	}
	host := strings.TrimPrefix(destination, "inet:")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// find looks up a key in a list of tables.
func (l *localOnly) find(ctx context.Context, parameter string, keys ...string) (string, error) {
	for _, key := range keys {
		for _, table := range strings.FieldsFunc(l.main[parameter], func(r rune) bool { return r == ',' || r == ' ' }) {
			value, found, err := l.Ask(ctx, table, key)
			if err != nil {
				return "", fmt.Errorf("%s: looking up %s in %s failed: %w", parameter, key, table, err)
			}
			if found {
				return value, nil
			}
		}
	}
	return "", nil
}

// in reports whether a list of main.cf has a domain.
func (l *localOnly) in(ctx context.Context, parameter, name string) (bool, error) {
	for _, entry := range strings.FieldsFunc(l.main[parameter], func(r rune) bool { return r == ',' || r == ' ' }) {
		if strings.Contains(entry, ":") && !strings.HasPrefix(entry, "/") {
			_, found, err := l.Ask(ctx, entry, name)
			if found || err != nil {
				return found, err
			}
		} else if domain.Fold(entry) == name {
			return true, nil
		}
	}
	return false, nil
}

// check follows one address. Postfix does not expand an address twice, so an alias that contains itself is delivered.
func (l *localOnly) check(ctx context.Context, address string) error {
	address = strings.ToLower(address)
	if !strings.Contains(address, "@") {
		address += "@" + l.main["myorigin"]
	}
	if l.seen[address] {
		return l.final(ctx, address)
	}
	if l.seen[address] = true; len(l.seen) > maxAliases {
		return fmt.Errorf("the alias leads to more than %d addresses", maxAliases)
	}
	local, name, _ := cut(address)
	for _, maps := range []string{"recipient_canonical_maps", "canonical_maps", "virtual_alias_maps"} {
		to, err := l.find(ctx, maps, address, l.base(local)+"@"+name, local, l.base(local), "@"+name)
		if err != nil {
			return err
		}
		if to != "" && strings.ToLower(to) != address {
			return l.each(ctx, address, to)
		}
	}
	return l.final(ctx, address)
}

// base returns a local part without its extension.
func (l *localOnly) base(local string) string {
	if i := strings.IndexAny(local, l.main["recipient_delimiter"]); i > 0 {
		return local[:i]
	}
	return local
}

// final returns an error unless the delivery agent of an address delivers on this host. local(8) follows aliases again.
func (l *localOnly) final(ctx context.Context, address string) error {
	local, name, _ := cut(address)
	to, err := l.find(ctx, "transport_maps", address, l.base(local)+"@"+name, name, "*")
	if err != nil {
		return err
	}
	if !stays(to) {
		return fmt.Errorf("transport_maps sends mail for %s to %s", address, to)
	}
	if is, err := l.in(ctx, "virtual_mailbox_domains", name); is || err != nil {
		return err
	}
	is, err := l.in(ctx, "mydestination", name)
	if err != nil {
		return err
	}
	if !is {
		return fmt.Errorf("%s is neither in mydestination nor in virtual_mailbox_domains, so mail for %s leaves this host", name, address)
	}
	local = l.base(local)
	if to, err = l.find(ctx, "alias_maps", local); err != nil {
		return err
	}
	if to != "" && !l.seen["alias "+local] {
		l.seen["alias "+local] = true
		return l.each(ctx, address, to)
	}
	if l.main["mailbox_command"] != "" {
		return fmt.Errorf("mailbox_command = %s: a program delivers mail for %s", l.main["mailbox_command"], address)
	}
	if u, err := user.Lookup(local); err == nil {
		if _, err := os.Stat(filepath.Join(u.HomeDir, ".forward")); err == nil {
			return fmt.Errorf("%s forwards mail for %s", filepath.Join(u.HomeDir, ".forward"), address)
		}
	}
	return nil
}

// each follows the targets of an alias.
func (l *localOnly) each(ctx context.Context, address, targets string) error {
	for target := range strings.SplitSeq(targets, ",") {
		target = strings.TrimPrefix(strings.TrimSpace(target), `\`)
		switch {
		case target == "" || strings.HasPrefix(target, "/"): // a file
			continue
		case strings.ContainsAny(target, `|":`):
			return fmt.Errorf("the alias %s leads to %s", address, target)
		}
		if err := l.check(ctx, target); err != nil {
			return fmt.Errorf("the alias %s leads to %s: %w", address, target, err)
		}
	}
	return nil
}
