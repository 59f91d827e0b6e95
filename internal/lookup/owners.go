package lookup

import (
	"context"
	"strings"
)

// Owners looks up the logins that own an address, as smtpd(8) does for smtpd_sender_login_maps.
type Owners struct {
	Source    Source
	Names     []string // of the tables
	Delimiter string   // recipient_delimiter; empty: no address extensions
	Local     []string // the domains for which the local part alone is a key too: mydestination and myorigin
}

// Find returns the logins that own an address, and the table that has them. forms are the forms of the domain, such as its A-labels and its
// U-labels. found is false if no table has an entry for the address. After an error no further key is looked up, because a less specific key
// may have other logins. table is then the one whose lookup failed.
func (o Owners) Find(ctx context.Context, local string, forms []string) (logins []string, table string, found bool, err error) {
	for _, key := range o.keys(local, forms) {
		for _, name := range o.Names {
			answer, err := o.Source.Lookup(ctx, name, key)
			if err != nil {
				return nil, name, false, err
			}
			if answer.Found {
				separator := func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }
				return strings.FieldsFunc(answer.Value, separator), name, true, nil
			}
		}
	}
	return nil, "", false, nil
}

// keys returns the keys in the order of mail_addr_find(3): the address, the address without its extension, the local part of an address of
// this host, and the domain. Postfix folds keys to lower case. It looks up a quoted local part with its quotes, and then without them.
func (o Owners) keys(local string, forms []string) (all []string) {
	local = strings.ToLower(local)
	locals := []string{local}
	if plain := unquote(local); plain != local {
		locals = append(locals, plain)
	}
	var bare []string
	for _, l := range locals {
		if base, ok := o.withoutExtension(l); ok {
			bare = append(bare, base)
		}
	}
	add := func(locals []string) {
		for _, l := range locals {
			for _, domain := range forms {
				all = append(all, l+"@"+domain)
			}
		}
	}
	add(locals)
	add(bare)
	for _, domain := range forms {
		if o.isLocal(domain) {
			all = append(append(all, locals...), bare...)
			break
		}
	}
	add([]string{""})
	return all
}

func (o Owners) isLocal(domain string) bool {
	for _, l := range o.Local {
		if strings.EqualFold(l, domain) {
			return true
		}
	}
	return false
}

// withoutExtension removes the address extension, as split_addr(3) does: neither from the addresses of Postfix itself nor, if the delimiter
// is a hyphen, from those of list owners.
func (o Owners) withoutExtension(local string) (base string, ok bool) {
	if local == "mailer-daemon" || local == "double-bounce" ||
		strings.Contains(o.Delimiter, "-") && (strings.HasPrefix(local, "owner-") || strings.HasSuffix(local, "-request")) {
		return "", false
	}
	i := strings.IndexAny(local, o.Delimiter)
	if i <= 0 {
		return "", false
	}
	return local[:i] + closing(local), true
}

// closing returns the quote that ends a quoted local part, or "".
func closing(local string) string {
	if strings.HasPrefix(local, `"`) {
		return `"`
	}
	return ""
}

// unquote returns a local part without the quotes and backslashes of a quoted string.
func unquote(local string) string {
	inner, quoted := strings.CutPrefix(local, `"`)
	if !quoted {
		return local
	}
	inner = strings.TrimSuffix(inner, `"`)
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' && i+1 < len(inner) {
			i++
		}
		b.WriteByte(inner[i])
	}
	return b.String()
}
