package filter

import (
	"context"
	"strings"
	"testing"

	"signpost/policy"
)

// The contents of an inline: table are not recorded with each message.
func TestLongTable(t *testing.T) {
	const file = "mysql:/etc/postfix/sql/domains.cf"
	for table, want := range map[string]string{file: file, "inline:{" + strings.Repeat("ü", 2000) + "}": "inline:{" + strings.Repeat("ü", 46) + "..."} {
		m := &message{ctx: t.Context(), filter: &Filter{Listed: func(context.Context, []string) (string, bool, error) { return table, true, nil }}}
		m.askListed(t.Context(), "a.example")
		if e := m.evidence; e.Listed != policy.ListedYes || e.ListedIn != want {
			t.Errorf("%s: %q", e.Listed, e.ListedIn)
		}
	}
}
