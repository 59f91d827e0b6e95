package dns

import (
	"strings"
	"testing"
)

// The error of a zone file has the file and the line, and no prefix from the library.
func TestZoneFault(t *testing.T) {
	for text, want := range map[string]string{
		"root:x:0:0 shell\n": `reading the zone: passwd:1: not a TTL: "shell"`,
		"a.example. IN A 192.0.2.1\nb.example. IN A 192.0.2.999\n": `reading the zone: passwd:2: bad A A: "192.0.2.999"`,
	} {
		if _, err := ParseZone(strings.NewReader(text), "passwd"); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}
