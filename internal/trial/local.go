package trial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"signpost/internal/domain"
)

// maxAliases limits how many addresses an alias may lead to.
const maxAliases = 50

// localOnly is the check that Postfix delivers mail for an address on this host. It computes what Postfix does with the address. If it
// cannot, the address does not count as local.
type localOnly struct {
	*Site
	*routes
	seen map[string]bool
}

// local returns an error unless Postfix delivers mail for an address on this host. It follows aliases. If it cannot read a table, or finds
// a program, a .forward file or a transport to another host, the address does not count as local.
func (s *Site) local(ctx context.Context, r *routes, address string) error {
	return (&localOnly{s, r, map[string]bool{}}).check(ctx, address, false)
}

// key is a key that Postfix looks up in a list of tables. Postfix tries the keys in their order, and each in all tables.
type key struct {
	text    string
	partial bool // Postfix does not look it up in tables of patterns
	unsure  bool // Postfix may try the next key although it finds this one
}

// find returns the values that Postfix may find in a list of tables.
func (l *localOnly) find(ctx context.Context, parameter string, keys ...key) (all []string, err error) {
	for _, k := range keys {
		for _, table := range list(l.main[parameter]) {
			value, found, err := l.Ask(ctx, table, k.text)
			if err != nil {
				return nil, fmt.Errorf("%s: looking up %s in %s failed: %w", parameter, k.text, table, err)
			}
			if found && value != "" {
				all = append(all, value)
			}
			if found && !k.unsure && !(k.partial && ofPatterns(table)) {
				return all, nil
			}
		}
	}
	return all, nil
}

// ofPatterns reports whether the keys of a table are not fixed texts, or not known to be.
func ofPatterns(table string) bool {
	kind, _, _ := strings.Cut(strings.TrimPrefix(table, "proxy:"), ":")
	return !slices.Contains(strings.Fields("hash btree lmdb cdb dbm sdbm texthash inline static mysql pgsql sqlite ldap memcache socketmap"), kind)
}

// in reports whether a list of main.cf has a domain. The first entry that matches counts.
func (l *localOnly) in(ctx context.Context, parameter, name string) (bool, error) {
	for _, entry := range list(l.main[parameter]) {
		entry, not := strings.CutPrefix(entry, "!")
		found := domain.Fold(entry) == name
		switch {
		case strings.HasPrefix(entry, "/"):
			return false, fmt.Errorf("%s contains the file %s: this command does not read it", parameter, entry)
		case strings.Contains(entry, ":"):
			var err error
			if _, found, err = l.Ask(ctx, entry, name); err != nil {
				return false, fmt.Errorf("%s: looking up %s in %s failed: %w", parameter, name, entry, err)
			}
		}
		if found {
			return !not, nil
		}
	}
	return false, nil
}

// check follows one address. forwarded: local(8) forwards mail to it. Then local(8) delivers it itself, or passes it to cleanup(8), which
// maps it first. Postfix does not expand an address twice, so an alias that contains itself is delivered.
func (l *localOnly) check(ctx context.Context, address string, forwarded bool) error {
	if !strings.Contains(address, "@") {
		address += "@" + l.main["myorigin"]
	}
	if err := l.plain(address); err != nil {
		return err
	}
	if l.seen[address] {
		return l.final(ctx, address)
	}
	if l.seen[address] = true; len(l.seen) > maxAliases {
		return fmt.Errorf("the alias leads to more than %d addresses", maxAliases)
	}
	local, name, _ := cut(address)
	is, err := l.in(ctx, "mydestination", domain.Fold(name))
	if err != nil {
		return err
	}
	keys := []key{{text: address}}
	for _, base := range l.bases(local) {
		keys = append(keys, key{base + "@" + name, true, true})
	}
	if is || domain.Fold(name) == domain.Fold(l.main["myorigin"]) {
		for _, short := range append([]string{local}, l.bases(local)...) {
			keys = append(keys, key{short, true, true})
		}
	}
	keys = append(keys, key{"@" + name, true, false})
	mapped := false
	for _, maps := range []string{"recipient_canonical_maps", "canonical_maps", "virtual_alias_maps"} {
		all, err := l.find(ctx, maps, keys...)
		if err != nil {
			return err
		}
		for _, to := range all {
			if err := l.each(ctx, address, to, false); err != nil {
				return err
			}
		}
		// Depending on canonical_classes, Postfix does not apply the others to recipients.
		mapped = mapped || maps == "virtual_alias_maps" && len(all) > 0
	}
	if mapped && !forwarded && !l.unmapped {
		return nil
	}
	return l.final(ctx, address)
}

// plain returns an error for an address that Postfix rewrites to an address of another domain, or that needs quotes.
func (l *localOnly) plain(address string) error {
	local, name, _ := cut(address)
	if ascii, err := Address(address); err != nil || !strings.EqualFold(ascii, address) || strings.ContainsAny(local, "%!/") || strings.HasPrefix(local, "-") {
		return fmt.Errorf("the address %s is one that Postfix may rewrite or treat in a special way", address)
	}
	if !strings.Contains(name, ".") && l.main["append_dot_mydomain"] != "no" {
		return fmt.Errorf("the address %s is one to which Postfix adds a domain: append_dot_mydomain is not no", address)
	}
	return nil
}

// bases returns a local part without its extension, if it has one.
func (l *localOnly) bases(local string) []string {
	if i := strings.IndexAny(local, l.main["recipient_delimiter"]); i > 0 {
		return []string{local[:i]}
	}
	return nil
}

// final returns an error unless the delivery agent of an address delivers on this host. local(8) follows aliases again.
func (l *localOnly) final(ctx context.Context, address string) error {
	local, name, _ := cut(address)
	here, err := l.in(ctx, "mydestination", domain.Fold(name))
	if err != nil {
		return err
	}
	agent := l.main["local_transport"]
	if !here {
		is, err := l.in(ctx, "virtual_mailbox_domains", domain.Fold(name))
		if err != nil {
			return err
		}
		if !is {
			return fmt.Errorf("%s is neither in mydestination nor in virtual_mailbox_domains, so mail for %s leaves this host", name, address)
		}
		agent = l.main["virtual_transport"]
	}
	keys := []key{{text: address}}
	for _, base := range l.bases(local) {
		keys = append(keys, key{base + "@" + name, true, true})
	}
	keys = append(keys, key{name, true, false})
	for _, parent, ok := strings.Cut(name, "."); ok; _, parent, ok = strings.Cut(parent, ".") {
		keys = append(keys, key{"." + parent, true, true}, key{parent, true, true})
	}
	all, err := l.find(ctx, "transport_maps", append(keys, key{"*", true, true})...)
	if err != nil {
		return err
	}
	for _, to := range append(all, agent) {
		if err := l.stays(to, false); err != nil {
			return fmt.Errorf("mail for %s: %w", address, err)
		}
		transport, _, _ := strings.Cut(to, ":")
		if l.agents[transport] == "lmtp" && to != l.main["virtual_transport"] && to != l.main["mailbox_transport"] && to != agent {
			return fmt.Errorf("transport_maps sends mail for %s to %s: it may be a mailing list", address, to)
		}
		here = here || l.agents[transport] == "local"
	}
	if !here {
		return nil
	}
	return l.delivered(ctx, address, local)
}

// delivered returns an error unless local(8) delivers mail for a local part on this host.
func (l *localOnly) delivered(ctx context.Context, address, local string) error {
	local = strings.ToLower(local)
	names := append([]string{local}, l.bases(local)...)
	for _, name := range names {
		all, err := l.find(ctx, "alias_maps", key{text: name})
		if err != nil {
			return err
		}
		if len(all) > 0 && !l.seen["alias "+name] {
			l.seen["alias "+name] = true
			for _, to := range all {
				if err := l.each(ctx, address, to, true); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if l.main["mailbox_command"] != "" {
		return fmt.Errorf("mailbox_command = %s: a program delivers mail for %s", l.main["mailbox_command"], address)
	}
	for _, name := range names {
		if err := l.noForward(ctx, name, address); err != nil {
			return err
		}
	}
	return nil
}

// noForward returns an error if a user may have a .forward file.
func (l *localOnly) noForward(ctx context.Context, name, address string) error {
	switch forward := l.main["forward_path"]; {
	case forward == "":
		return nil
	case strings.ReplaceAll(forward, " ", "") != "$home/.forward${recipient_delimiter}${extension},$home/.forward":
		return fmt.Errorf("forward_path = %s: this command does not read these files", forward)
	}
	home, err := home(ctx, name)
	if err != nil || home == "" {
		return err
	}
	return noForwardIn(home, address)
}

// noForwardIn returns an error if a home directory has a .forward file, also one for an extension.
func noForwardIn(home, address string) error {
	files, err := os.ReadDir(home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".forward") {
			return fmt.Errorf("%s may forward mail for %s", filepath.Join(home, f.Name()), address)
		}
	}
	return nil
}

// home returns the home directory of a user, or "" if there is no such user. getent(1) knows users that are not in /etc/passwd.
func home(ctx context.Context, name string) (string, error) {
	out, err := run(ctx, "", "getent", "passwd", name)
	if code := exitCode(err); code == 2 { // getent(1): the key does not exist
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking up the user %s failed: %w", name, err)
	}
	fields := strings.Split(strings.TrimSpace(out), ":")
	if fields[0] != name { // getent also accepts a number
		return "", nil
	}
	if len(fields) < 7 || !filepath.IsAbs(fields[5]) {
		return "", fmt.Errorf("the user %s has no home directory", name)
	}
	return fields[5], nil
}

// each follows the targets of an alias, with and without the extension of the address, because Postfix may propagate it.
func (l *localOnly) each(ctx context.Context, address, targets string, forwarded bool) error {
	local, _, _ := cut(address)
	extension := ""
	for _, base := range l.bases(local) {
		extension = local[len(base):]
	}
	for target := range strings.SplitSeq(targets, ",") {
		target = strings.TrimPrefix(strings.TrimSpace(target), `\`)
		switch {
		case target == "" || forwarded && strings.HasPrefix(target, "/"): // a file
			continue
		case strings.ContainsAny(target, "|\":\\"):
			return fmt.Errorf("the alias %s leads to %s", address, target)
		case strings.HasPrefix(target, "@"): // Postfix keeps the local part
			target = local + target
		}
		all := []string{target}
		if to, name, ok := cut(target); extension != "" { // also if the target has an extension
			if all = append(all, to+extension); ok {
				all[1] += "@" + name
			}
		}
		for _, to := range all {
			if err := l.check(ctx, to, forwarded); err != nil {
				return fmt.Errorf("the alias %s leads to %s: %w", address, to, err)
			}
		}
	}
	return nil
}
