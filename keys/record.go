package keys

import "strings"

// RecordName is where a key's TXT record belongs, without a final dot.
func RecordName(domain, selector string) string { return selector + "._domainkey." + domain }

// recordTTL is what the printed record asks for, in seconds: an hour, so that a mistake is over soon.
const recordTTL = "3600"

// maxString is the length of one string in a TXT record: RFC 1035 section 3.3.14.
const maxString = 255

// ZoneText is a key's record as text for a zone file, its value cut into strings of at most 255 octets.
func ZoneText(domain, selector, record string) string {
	var b strings.Builder
	b.WriteString(RecordName(domain, selector) + ". " + recordTTL + " IN TXT (")
	for rest := record; rest != ""; {
		n := min(len(rest), maxString)
		b.WriteString("\n\t\"" + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(rest[:n]) + `"`)
		rest = rest[n:]
	}
	b.WriteString(" )\n")
	return b.String()
}
