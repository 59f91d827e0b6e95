package doctor

import "strings"

// signer says which other program an address belongs to, by its name or by the port that its package comes with.
func signer(address string) string {
	for _, k := range []struct{ mark, name string }{
		{"opendkim", "OpenDKIM"}, {"dkimpy", "dkimpy-milter"}, {"rspamd", "rspamd"}, {":11332", "rspamd"}, {":12301", "OpenDKIM"}, {":8891", "OpenDKIM"},
		{":8892", "dkimpy-milter"}, {"amavis", "amavis"},
	} {
		if strings.Contains(address, k.mark) {
			return k.name
		}
	}
	return ""
}

// otherSigners sign as we do. In observe mode they are what we are compared with.
func (l *site) otherSigners() (found []Finding) {
	if l.config.Observe {
		return nil
	}
	for _, one := range l.allLists() {
		ours := l.ours(one)
		for i, e := range one.entries {
			name := signer(e.address)
			if i == ours || ours < 0 || name == "" {
				continue
			}
			where := "after"
			if i < ours {
				where = "before"
			}
			found = append(found, Finding{Level: Yellow, What: printable(name + " (" + e.address + ") stands " + where + " Signpost in " + one.name + " of " + one.service.id),
				Where: l.facts.where(one.at, one.name),
				Why:   "it may sign and judge the same mail again: two signatures with two keys to look after, two sets of results; one after Signpost may break the first",
				Fix:   l.facts.setAt(one.at, one.name, one.replaced(i, ""))})
		}
	}
	return found
}

// milterOrder is about milters after us: what they change in signed fields or the body breaks the signature.
func (l *site) milterOrder() (found []Finding) {
	for _, one := range l.allLists() {
		i := l.ours(one)
		if i < 0 || i == len(one.entries)-1 {
			continue
		}
		var before, after []string
		for j, e := range one.entries {
			switch {
			case j == i:
			case j > i && signer(e.address) == "" || l.config.Observe:
				before, after = append(before, e.raw), append(after, printable(e.address))
			default:
				before = append(before, e.raw)
			}
		}
		if len(after) == 0 {
			continue // other signers are told of by themselves
		}
		found = append(found, Finding{Level: Yellow, What: "milters stand after Signpost in " + one.name + " of " + one.service.id + ": " + strings.Join(after, ", "),
			Where: l.facts.where(one.at, one.name), Why: "what a later milter changes in the body or in signed fields breaks the signature",
			Fix: l.facts.setAt(one.at, one.name, strings.Join(append(before, one.entries[i].raw), ", "))})
	}
	return found
}
