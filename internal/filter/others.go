package filter

import (
	"slices"
	"strings"

	"signpost/internal/authres"
	"signpost/internal/domain"
	"signpost/policy"
)

// maxOthers is the maximum number of fields of other filters that are kept. Two or three filters may run before us, and a client may add
// fields.
const maxOthers = 10

// noteOther keeps a field that another filter of this host wrote. It does nothing outside observe mode.
func (m *message) noteOther(value string) {
	if !m.filter.Observe || len(m.others) == maxOthers {
		return
	}
	plain := slices.DeleteFunc(m.filter.ids(m.mta), func(id string) bool { return strings.HasPrefix(id, observing) })
	if authres.ReadClaim(value, plain) == authres.Ours {
		m.others = append(m.others, value)
	}
}

// readOthers returns, for each method, the results in the topmost field that has results of that method. If the other filter does not
// remove such fields, the lower ones may have arrived with the message.
func readOthers(fields []string) []policy.Other {
	var all []policy.Other
	seen := map[string]bool{}
	for _, value := range fields {
		_, results, ok := authres.Read(value)
		if !ok {
			continue
		}
		here := map[string]bool{}
		for _, r := range results {
			if seen[r.Method] || !slices.Contains([]string{"spf", "dkim", "dmarc"}, r.Method) {
				continue
			}
			here[r.Method] = true
			all = append(all, other(r))
		}
		for method := range here {
			seen[method] = true
		}
	}
	return all
}

func other(r authres.Result) policy.Other {
	o := policy.Other{Method: r.Method, Result: r.Value, Reason: r.Reason}
	for _, p := range r.Props {
		switch p.Type + "." + p.Name {
		case "smtp.mailfrom", "header.d", "header.from":
			o.Domain = domainOf(p.Value)
		case "header.i": // rspamd writes it instead of header.d
			if o.Domain == "" {
				o.Domain = domainOf(p.Value)
			}
		case "smtp.helo":
			o.Domain, o.HELO = domainOf(p.Value), true
		case "header.s":
			o.Selector = domainOf(p.Value)
		case "header.b":
			o.Signature = p.Value
		}
	}
	return o
}

// domainOf returns the domain of an address or a name in a result. If possible, it is in the form that domain.Parse returns.
func domainOf(s string) string {
	s = s[strings.LastIndexByte(s, '@')+1:]
	if d, err := domain.Parse(s); err == nil {
		return d
	}
	return strings.ToLower(s)
}
