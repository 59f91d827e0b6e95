package postfix

import (
	"context"
	"fmt"
	"os"
	"strings"

	"signpost/internal/doctor"
)

// listManager is a program that sends mail to the members of a list. word is part of the name of its transport, its programs or its
// socket.
type listManager struct{ word, name, fix string }

// mailmanPort is the port on which Mailman 3 accepts mail by LMTP.
const mailmanPort = "8024"

// knownListManagers returns the list managers that doctor knows. Each has a text for the administrator: how to configure it so that it
// keeps Authentication-Results.
func knownListManagers() []listManager {
	return []listManager{
		{"mailman3", "Mailman 3", "in section [mta] of mailman.cfg: remove_dkim_headers: no"},
		{"mailman", "Mailman", "in mm_cfg.py: REMOVE_DKIM_HEADERS = No"},
		{"sympa", "Sympa", "in sympa.conf: no Authentication-Results in remove_headers and remove_outgoing_headers"},
		{"schleuder", "Schleuder", "make it use the list's address in From"},
		{"mlmmj", "Mlmmj", "in control/delheaders of each list: no Authentication-Results"},
		{"ezmlm", "ezmlm", "in headerremove of each list: no Authentication-Results"},
		{"majordomo", "Majordomo", "make it keep Authentication-Results, or use the list's address in From"},
	}
}

// managerIn returns the list manager whose name a text contains.
func managerIn(text string) (listManager, bool) {
	text = strings.ToLower(text)
	for _, m := range knownListManagers() {
		if strings.Contains(text, m.word) {
			return m, true
		}
	}
	return listManager{}, false
}

// listManagers warns of list managers whose names are in Postfix's tables. It warns only if Signpost signs mail. If a list manager removes
// our Authentication-Results field, its mail looks like mail of this host. The tables do not show whether the list manager removes the
// field.
func (l *site) listManagers(ctx context.Context) (found []doctor.Finding) {
	if l.Observe {
		return nil
	}
	for _, table := range []struct {
		parameter string
		manager   func(value string) (listManager, bool)
	}{
		{"transport_maps", l.transportManager},
		{"mailbox_transport_maps", l.transportManager},
		{"fallback_transport_maps", l.transportManager},
		{"alias_maps", aliasManager},
		{"alias_database", aliasManager},
	} {
		for _, s := range l.postconf.places(table.parameter) {
			for _, name := range words(l.postconf.get(s, table.parameter)) {
				for _, line := range tableEntries(ctx, name) {
					if m, ok := table.manager(entryValue(line.text)); ok {
						found = append(found, m.finding(l.postconf.where(s, table.parameter), line.text))
					}
				}
			}
		}
	}
	return found
}

func (m listManager) finding(where, entry string) doctor.Finding {
	return doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("%s sends mail from this host; if it removes Authentication-Results, Signpost signs forged mail that it forwards", m.name),
		Where: where + ": " + strings.ReplaceAll(entry, "\t", " "), Why: `without our results, inbound mail looks like mail of this host; see "Mailing lists on this server" in docs/lists.md`, Fix: m.fix}
}

// tableEntries returns the entries of a table, or nil if its type cannot be listed or it cannot be read.
func tableEntries(ctx context.Context, name string) []tableLine {
	name = strings.TrimPrefix(name, "proxy:")
	kind, path, _ := strings.Cut(name, ":")
	var text []byte
	var err error
	switch {
	case enumerable(kind):
		text, err = postmapEntries(ctx, name)
	case kind == "regexp" || kind == "pcre":
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil
	}
	return tableLines(string(text))
}

// entryValue returns the text after the key of a table entry. If the key is a regular expression with spaces, the text also contains the
// part of the key after the first space.
func entryValue(entry string) string {
	i := strings.IndexAny(entry, " \t")
	return strings.TrimSpace(entry[max(i, 0):])
}

// transportManager returns the list manager to which a result of transport(5) delivers. It recognizes the name of the transport, the
// command of its pipe(8) service, or the address of its lmtp(8) service.
func (l *site) transportManager(value string) (listManager, bool) {
	transport, nexthop, ok := strings.Cut(value, ":")
	if !ok {
		return listManager{}, false
	}
	if m, ok := managerIn(transport); ok {
		return m, true
	}
	for _, s := range l.postconf.services {
		switch {
		case s.id != transport+"/unix":
		case s.command == "pipe":
			return managerIn(s.args)
		case s.command == "lmtp" && strings.HasSuffix(nexthop, ":"+mailmanPort):
			return managerIn("mailman3")
		case s.command == "lmtp" && strings.HasPrefix(nexthop, "unix:"):
			return managerIn(nexthop)
		}
	}
	return listManager{}, false
}

// aliasManager returns the list manager whose command an alias runs.
func aliasManager(value string) (listManager, bool) {
	_, command, _ := strings.Cut(value, "|")
	return managerIn(command)
}
