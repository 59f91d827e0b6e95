package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Instance is a finding for another domain that has the same cause. It contains only the domain and the texts.
type Instance struct {
	Domain string `json:"domain"`
	What   string `json:"what"`
	Where  string `json:"where,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// maxShown is the maximum number of further domains in a Headline, and also the maximum number of lines in Fixes.
const maxShown = 3

// Arrange returns one finding for each cause, the worst first. Findings about several domains have the same cause if Check, Level, Cause
// and Why are equal. A domain's own name in Cause and Why does not count as a difference. The first of these findings is kept, and the
// others become its Others. Findings whose texts are all equal become one. Arrange is idempotent.
func Arrange(all []Finding) []Finding {
	type key struct {
		check, level, cause, why, where, fix string

		nth int // counts findings about one domain that are otherwise equal, for example about two keys; they stay separate
	}
	type domainKey struct {
		key
		domain string
	}
	at, times := map[key]int{}, map[domainKey]int{}
	var found []Finding
	for _, f := range all {
		if !f.mentions(f.Domain) {
			f.Domain = "" // the finding is about this host, not about the domain
		}
		k := key{f.Check, string(f.Level), mask(cmp.Or(f.Cause, f.What), f.Domain), mask(f.Why, f.Domain), "", "", 0}
		if f.Domain == "" {
			k.where, k.fix = f.Where, f.Fix
		} else {
			unnumbered := k
			k.nth = times[domainKey{unnumbered, f.Domain}]
			times[domainKey{unnumbered, f.Domain}]++
			for _, o := range f.Others {
				times[domainKey{unnumbered, o.Domain}]++
			}
		}
		i, known := at[k]
		switch {
		case !known:
			f.Others = slices.Clone(f.Others)
			at[k] = len(found)
			found = append(found, f)
		case f.Domain != "":
			found[i].Others = append(append(found[i].Others, Instance{f.Domain, f.What, f.Where, f.Fix}), f.Others...)
		}
	}
	rank := func(f Finding) int {
		if f.First {
			return -1
		}
		return slices.Index([]Level{Red, Yellow, Green}, f.Level)
	}
	slices.SortStableFunc(found, func(a, b Finding) int { return cmp.Compare(rank(a), rank(b)) })
	return found
}

// mentions reports whether a text of f contains a domain.
func (f Finding) mentions(domain string) bool {
	return domain != "" && slices.ContainsFunc([]string{f.What, f.Where, f.Why, f.Fix}, func(text string) bool { return mask(text, domain) != text })
}

// mask replaces a domain in a text by a NUL. Subdomains keep their own labels. It does not change a longer name that contains the domain.
func mask(text, domain string) string {
	if domain == "" {
		return text
	}
	inName := func(c byte) bool {
		return c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	var b strings.Builder
	for {
		i := strings.Index(text, domain)
		if i < 0 {
			return b.String() + text
		}
		rest := text[i+len(domain):]
		longer := i > 0 && inName(text[i-1]) || rest != "" && (inName(rest[0]) || rest[0] == '.' && len(rest) > 1 && inName(rest[1]))
		b.WriteString(text[:i])
		if longer {
			b.WriteString(domain)
		} else {
			b.WriteByte(0)
		}
		text = rest
	}
}

// Headline returns What, followed by the number of further domains and the names of the first few.
func (f Finding) Headline() string {
	n := len(f.Others)
	if n == 0 {
		return f.What
	}
	domains, more := "domains", ""
	if n == 1 {
		domains = "domain"
	}
	if n > maxShown {
		more = ", ..."
	}
	return fmt.Sprintf("%s; the same for %d more %s: %s%s", f.What, n, domains, Join(f.Others[:min(n, maxShown)], ", ", func(o Instance) string { return o.Domain }), more)
}

// Fixes returns the Fix lines of the first domains, followed by the number of the rest.
func (f Finding) Fixes() string {
	lines := []string{f.Fix}
	for _, o := range f.Others {
		if o.Fix != "" && !slices.Contains(lines, o.Fix) {
			lines = append(lines, o.Fix)
		}
	}
	if left := len(lines) - maxShown; left > 0 {
		return strings.Join(lines[:maxShown], "\n") + fmt.Sprintf("\n(%d more: signpost doctor --json)", left)
	}
	return strings.Join(lines, "\n")
}

// Count returns the number of findings of each level.
func Count(all []Finding) string {
	n := map[Level]int{}
	for _, f := range all {
		n[f.Level]++
	}
	return fmt.Sprintf("%d red, %d yellow, %d green", n[Red], n[Yellow], n[Green])
}
