package postfix

import (
	"maps"
	"slices"
	"strings"
)

// entry is one milter of a list.
type entry struct {
	raw      string            // the text of the entry in the list, without quotes around it
	address  string            // unix:PATH or inet:HOST:PORT
	settings map[string]string // Postfix 3.0: { ADDRESS, default_action=tempfail }
	fault    string            // why Postfix cannot parse the entry; empty if Postfix can parse it
}

// quotes are not special in a list of milters. Postfix treats them as part of the address.
const quotes = `"'`

// entries parses a list of milters as Postfix's milter_new() does. For an entry that Postfix cannot parse, it returns the entry that was
// probably intended, with a fault.
func entries(list string) (all []entry) {
	for _, raw := range words(list) {
		clean := strings.Trim(raw, quotes)
		if clean == "" {
			continue
		}
		e := entry{raw: clean, address: clean}
		if clean != raw {
			e.fault = "the quotes are taken as part of the address"
		}
		if inner, ok := strings.CutPrefix(clean, "{"); ok {
			parts := words(strings.TrimSuffix(inner, "}"))
			if len(parts) == 0 {
				continue
			}
			e.address = strings.Trim(parts[0], quotes+"{}")
			if e.address != parts[0] {
				e.fault = "quotes or braces around the address are taken as part of it"
			}
			e.readSettings(parts[1:])
		}
		all = append(all, e)
	}
	return all
}

// readSettings parses the text after the address: NAME=VALUE, or { NAME = VALUE }.
func (e *entry) readSettings(parts []string) {
	e.settings = map[string]string{}
	for i := 0; i < len(parts); i++ {
		setting := parts[i]
		inner, braces := strings.CutPrefix(setting, "{")
		inner = strings.TrimSuffix(inner, "}")
		if !braces && !strings.Contains(strings.Trim(setting, "="), "=") {
			// Without braces, white space around = ends the setting.
			for i+1 < len(parts) && (strings.HasSuffix(inner, "=") || strings.HasPrefix(parts[i+1], "=")) {
				i++
				inner += parts[i]
			}
			e.fault = "smtpd(8) and cleanup(8) terminate with a fatal error at the setting " + setting + ": white space around = is not allowed"
		}
		name, value, _ := strings.Cut(inner, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !slices.Contains([]string{"command_timeout", "connect_timeout", "content_timeout", "default_action", "protocol"}, name) {
			e.fault = "smtpd(8) and cleanup(8) terminate with a fatal error at the setting " + name + ", which does not exist"
			continue
		}
		e.settings[name] = value
	}
}

// with returns the text of the entry after a change of one setting.
func (e entry) with(name, value string) string {
	text := "{ " + e.address
	for _, k := range slices.Sorted(maps.Keys(e.settings)) {
		if k == name {
			text += ", " + k + "=" + value
		} else {
			text += ", " + k + "=" + e.settings[k]
		}
	}
	return text + " }"
}

// at returns the text of the entry after a change of its address. Postfix can parse the text.
func (e entry) at(address string) string {
	if len(e.settings) == 0 {
		return address
	}
	e.address = address
	return e.with("", "")
}

// text returns the entry as it is written in the list. If Postfix cannot parse that, it returns a form that Postfix can parse.
func (e entry) text() string {
	if e.fault == "" {
		return e.raw
	}
	return e.at(e.address)
}
