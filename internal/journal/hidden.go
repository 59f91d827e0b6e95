package journal

import "strings"

// Hidden says that an address or a login of an entry is not what the message had: its local part is left out, or a word
// stands in its place (journal.addresses).
func Hidden(address string) bool {
	return address == leftOut || strings.HasPrefix(address, "@") || strings.HasPrefix(address, "~")
}
