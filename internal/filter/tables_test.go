package filter

import (
	"context"
	"slices"
	"strings"
	"testing"

	"signpost/policy"
)

// The contents of an inline: table are not recorded with each message.
func TestLongTable(t *testing.T) {
	const file = "mysql:/etc/postfix/sql/domains.cf"
	for table, want := range map[string]string{file: file, "inline:{" + strings.Repeat("ü", 2000) + "}": "inline:{" + strings.Repeat("ü", 46) + "..."} {
		m := &message{ctx: t.Context(), filter: &Filter{Listed: func(context.Context, []string) (string, bool, error) { return table, true, nil }}}
		m.askTables("a.example")
		if e := m.evidence; e.Listed != policy.ListedYes || e.ListedIn != want {
			t.Errorf("%s: %q", e.Listed, e.ListedIn)
		}
	}
}

// A table that has the U-labels of a domain, as the author writes them, is found too. The A-labels are looked up first.
func TestTableOfULabels(t *testing.T) {
	for subdomains, want := range map[bool][]string{
		false: {"mail.xn--zrich-kva.example", "mail.zürich.example"},
		true:  {"mail.xn--zrich-kva.example", "mail.zürich.example", "xn--zrich-kva.example", "zürich.example"},
	} {
		var got []string
		m := &message{ctx: t.Context(), filter: &Filter{Listed: func(_ context.Context, domains []string) (string, bool, error) {
			got = domains
			return "t:t", true, nil
		}}}
		m.rules.Subdomains = subdomains
		m.askTables("mail.xn--zrich-kva.example")
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
