package filter

import (
	"slices"
	"strings"

	"signpost/internal/authres"
	"signpost/policy"
)

// resultsAbout compares the Author Domains that our own Authentication-Results fields name with the present Author Domains. The header.from
// of a DMARC result is the Author Domain that was checked. The result is empty if there are no such fields.
//
// No outside client wrote these fields, because they are removed from inbound mail. They are parsed leniently, because a list manager or
// a filter on this host may have changed their folds.
func resultsAbout(own, authors []string) policy.ResultsAbout {
	if len(own) == 0 {
		return ""
	}
	named, unreadable := false, false
	for _, value := range own {
		results, ok := authres.ReadTrusted(value)
		unreadable = unreadable || !ok
		for _, r := range results {
			if r.Method != "dmarc" {
				continue
			}
			unreadable = unreadable || r.Value == ""
			for _, p := range r.Props {
				if p.Type != "header" || p.Name != "from" {
					continue
				}
				if slices.Contains(authors, domainOf(strings.Trim(p.Value, "<>. "))) {
					return policy.AboutAuthor
				}
				named = true
			}
		}
	}
	if unreadable || !named {
		return policy.AboutUnknown
	}
	return policy.AboutOthers
}
