package keys

import (
	"strconv"
	"strings"
	"time"
)

// RecordName is where a key's TXT record belongs, without a final dot.
func RecordName(domain, selector string) string { return selector + "._domainkey." + domain }

// maxString is the length of one string in a TXT record: RFC 1035 section 3.3.14.
const maxString = 255

// ZoneText is a key's record as text for a zone file, its value cut into strings of at most 255 octets.
func ZoneText(domain, selector, record string, ttl time.Duration) string {
	var b strings.Builder
	b.WriteString(RecordName(domain, selector) + ". " + strconv.Itoa(int(ttl/time.Second)) + " IN TXT (")
	for rest := record; rest != ""; {
		n := min(len(rest), maxString)
		b.WriteString("\n\t\"" + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(rest[:n]) + `"`)
		rest = rest[n:]
	}
	b.WriteString(" )\n")
	return b.String()
}
