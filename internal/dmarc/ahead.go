package dmarc

import "strings"

// nearTop is how many labels the names have that a walk is sure to come to, however long the name is that it starts from:
// with three, the organisation's own name is among them under a public suffix of one or two labels.
const nearTop = 3

// Ahead are the names whose TXT records a walk from a domain is likely to come to, four at most: its own and those of the
// last labels. Asked side by side they take the time of one. Between them a walk still goes step by step, since all eight
// levels of a long name would be more queries than they are worth.
func Ahead(domain string) []string {
	names := []string{"_dmarc." + domain}
	for at := parent(domain); at != ""; at = parent(at) {
		if strings.Count(at, ".") < nearTop {
			names = append(names, "_dmarc."+at)
		}
	}
	return names
}
