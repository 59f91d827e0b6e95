package domain

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hbollon/go-edlib"

	"signpost/internal/doctor"
)

// tag is a tag of a record, as written.
type tag struct{ name, value string }

func dmarcTags() []string {
	return []string{"v", "p", "sp", "np", "rua", "ruf", "adkim", "aspf", "fo", "psd", "t"}
}

// tagsOf splits a record at its semicolons.
func tagsOf(text string) []tag {
	var all []tag
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); name != "" {
			all = append(all, tag{name, strings.TrimSpace(value)})
		}
	}
	return all
}

func joinTags(all []tag) string {
	parts := make([]string, 0, len(all))
	for _, t := range all {
		parts = append(parts, t.name+"="+t.value)
	}
	return strings.Join(parts, "; ")
}

func withTag(all []tag, name, value string) string {
	all = slices.Clone(all)
	for i, t := range all {
		if strings.EqualFold(t.name, name) {
			all[i].value = value
			return joinTags(all)
		}
	}
	return joinTags(append(all, tag{name, value}))
}

// mendDMARC corrects a DMARC record. It returns the record that was probably intended, and a list of the errors in text.
func mendDMARC(text string) (mended string, faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if plain := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r > '~' {
			return -1
		}
		return r
	}, text); plain != text {
		fault("it contains characters that are not allowed")
		text = plain
	}
	if quote := text[:min(1, len(text))]; len(text) > 1 && strings.Trim(quote, `"'`) == "" && strings.HasSuffix(text, quote) {
		fault("the text itself contains quotes")
		text = text[1 : len(text)-1]
	}
	if plain := regexp.MustCompile(`\\+\s*(;|$)`).ReplaceAllString(text, "$1"); plain != text {
		fault("there is a backslash before a semicolon")
		text = plain
	}
	if plain := strings.TrimLeft(text, " \t"); plain != text {
		fault("it begins with white space")
		text = plain
	}
	// If a semicolon is missing, only white space or a comma separates the tags.
	run := regexp.MustCompile(`(?i)([^;\s,])(?:\s*,\s*|\s+)((?:v|p|sp|np|rua|ruf|adkim|aspf|fo|psd|t|pct|rf|ri)\s*=)`)
	if cut := run.ReplaceAllString(text, "$1; $2"); cut != text {
		fault("a semicolon is missing before %q", strings.TrimSpace(run.FindStringSubmatch(text)[2]))
		text = cut
	}
	colon := regexp.MustCompile(`(?i)(^|;)(\s*(?:v|p|sp|np|adkim|aspf|fo|psd|t|rua|ruf))\s*:\s*([a-z0-9])`)
	if cut := colon.ReplaceAllString(text, "$1$2=$3"); cut != text {
		fault("a colon is used instead of =")
		text = cut
	}
	if cut := regexp.MustCompile(`(?i)(ru[af]\s*=[^;]*@[^;]*);\s*((?:mailto:)?[^;=\s]+@[^;=\s]+)`).ReplaceAllString(text, "$1,$2"); cut != text {
		fault("two addresses are separated by a semicolon instead of a comma")
		text = cut
	}
	var all []tag
	for _, t := range tagsOf(text) {
		name := strings.ToLower(t.name)
		if name == "pct" || name == "rf" || name == "ri" {
			fault("the tag %s is obsolete and ignored", name)
			continue
		}
		if policy := slices.Contains([]string{"none", "quarantine", "reject"}, name); policy && t.value == "" && !hasP(text) {
			fault("p= is missing before %q", t.name)
			name, t.value = "p", name
		}
		if !slices.Contains(dmarcTags(), name) {
			near := nearTag(name, t.value, text)
			if near == "" {
				fault("the tag %q is unknown", t.name)
				continue
			}
			fault("the tag %q is unknown; did you mean %s?", t.name, near)
			name = near
		}
		if slices.ContainsFunc(all, func(o tag) bool { return o.name == name }) {
			fault("the tag %s occurs twice", name)
			continue
		}
		value := mendValue(name, t.value)
		switch {
		case name == "v" || value == t.value:
		case strings.HasSuffix(name, "p") && value == "none" && doctor.Nearest(t.value, "none") == "":
			fault("%s=%q is not a valid policy", name, t.value)
		default:
			fault("%s=%q is not valid; did you mean %s?", name, t.value, value)
		}
		all = append(all, tag{name, value})
	}
	at := slices.IndexFunc(all, func(t tag) bool { return t.name == "v" })
	switch first := strings.TrimSpace(strings.SplitN(text, ";", 2)[0]); {
	case at < 0:
		fault("v=DMARC1 is missing")
	case at > 0:
		fault("v=DMARC1 is not the first tag")
		all = slices.Delete(all, at, at+1)
	default:
		if _, value, _ := strings.Cut(first, "="); strings.TrimSpace(value) != "DMARC1" {
			fault("it begins with %q instead of v=DMARC1", first)
		}
		all = all[1:]
	}
	all = slices.Insert(all, 0, tag{"v", "DMARC1"})
	if !slices.ContainsFunc(all, func(t tag) bool { return t.name == "p" }) {
		fault("p is missing")
		all = slices.Insert(all, 1, tag{"p", "none"})
	}
	return joinTags(all), faults
}

func hasP(text string) bool {
	return slices.ContainsFunc(tagsOf(text), func(t tag) bool { return strings.EqualFold(t.name, "p") })
}

// nearTag returns the name of the tag that was probably intended. If the value is a policy or an address, nearTag uses the value rather
// than the misspelt name.
func nearTag(name, value, text string) string {
	present := func(other string) bool {
		return slices.ContainsFunc(tagsOf(text), func(t tag) bool { return strings.EqualFold(t.name, other) })
	}
	may := dmarcTags()
	switch low := strings.ToLower(value); {
	case strings.Contains(low, "@"):
		may = []string{"rua", "ruf"}
	case doctor.Nearest(low, "none", "quarantine", "reject") != "":
		may = []string{"p", "sp", "np"}
		if name == "policy" {
			return "p"
		}
	}
	best, least := "", 3
	for _, m := range may {
		if n := edlib.OSADamerauLevenshteinDistance(name, m); !present(m) && n < least && n <= max(1, len(m)/2) {
			best, least = m, n
		}
	}
	return best
}

func mendValue(name, value string) string {
	low := strings.ToLower(value)
	switch name {
	case "p", "sp", "np":
		if low == "none" || low == "quarantine" || low == "reject" {
			return value
		}
		if m := doctor.Nearest(low, "reject", "quarantine", "none"); m != "" {
			return m
		}
		switch low {
		case "block", "deny", "drop", "fail", "refuse", "bounce", "discard":
			return "reject"
		case "spam", "junk", "hold":
			return "quarantine"
		}
		return "none"
	case "adkim", "aspf":
		if low == "s" || low == "r" {
			return value
		}
		if strings.HasPrefix(low, "s") {
			return "s"
		}
		return "r"
	case "t", "psd":
		if low == "y" || low == "n" || low == "u" && name == "psd" {
			return value
		}
		if strings.HasPrefix(low, "y") {
			return "y"
		}
		return "n"
	case "fo":
		for f := range strings.SplitSeq(low, ":") {
			if !slices.Contains([]string{"0", "1", "d", "s"}, strings.TrimSpace(f)) {
				return "1"
			}
		}
	case "rua", "ruf":
		return mendURIs(value)
	}
	return value
}

// mendURIs corrects addresses for reports. Each address must be a URI (RFC 9989 section 4.7). The size limit of RFC 7489 is obsolete.
func mendURIs(value string) string {
	bad := false
	var all []string
	joined := regexp.MustCompile(`(?i)(mailto:)\s+`).ReplaceAllString(value, "$1")
	if joined != value || regexp.MustCompile(`[^\s,]\s+[^\s,]`).MatchString(value) {
		bad = true
	}
	for u := range strings.FieldsFuncSeq(joined, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		good, _, sized := strings.Cut(strings.Trim(u, "<>"), "!")
		good = strings.NewReplacer("<", "", ">", "").Replace(good)
		low := strings.ToLower(good)
		if at := strings.IndexByte(good, '@'); at >= 0 && !(strings.HasPrefix(low, "mailto:") && !strings.HasPrefix(low, "mailto:/")) {
			good = "mailto:" + good[strings.LastIndexAny(good[:at], ":/=")+1:]
		}
		bad = bad || sized || good != u
		all = append(all, good)
	}
	if bad {
		return strings.Join(all, ",")
	}
	return value
}
