package config

import (
	"slices"
	"strings"
	"testing"
)

// Report addresses are kept in lower case, the domains as A-labels.
func TestReportAddresses(t *testing.T) {
	c, err := Parse("signpost.toml", []byte("[reports.receive]\naddresses = [\"DMARC@Example.ORG\", \"r+x@bücher.example\"]\n"))
	if err != nil || !slices.Equal(c.Reports.Receive.Addresses, []string{"dmarc@example.org", "r+x@xn--bcher-kva.example"}) {
		t.Errorf("%v, %v", c, err)
	}
	for _, wrong := range []string{"", "example.org", "@example.org", "a@", "a b@example.org", "mailto:a@example.org"} {
		if _, err := Parse("signpost.toml", []byte("[reports.receive]\naddresses = [\""+wrong+"\"]\n")); err == nil || !strings.Contains(err.Error(), "reports.receive.addresses: ") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
