package explain

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"signpost/internal/journal"
	"signpost/internal/term"
)

// Any entry is explained, whatever a sender, an earlier version or a damaged journal has put into its fields. The text has no unprintable
// character, and the row of a list is one line.
func FuzzEntry(f *testing.F) {
	r := failing()
	for _, v := range []any{r, journal.Entry{Record: *r}, map[string]any{"code": "hostile_from", "action": "reject", "reasons": []any{map[string]any{"code": "hostile_from", "cause": "several"}}}} {
		text, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"role":"sign","action":"sign","code":"login_mismatch","reasons":null,"dkim":[{}],"dmarc":[{}],"arc":{"sets":[{}]},"spf":{},"lookups":[{"type":"MX","records":["x"]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var e journal.Entry
		if json.Unmarshal(text, &e) != nil {
			return
		}
		var out bytes.Buffer
		WriteEntry(term.Clean(&out), &e)
		if !strings.HasPrefix(out.String(), "message ") || strings.ContainsFunc(out.String(), func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) {
			t.Errorf("%q", &out)
		}
		out.Reset()
		if err := NewList(term.Clean(&out), 0)([]journal.Entry{e}); err != nil || strings.Count(out.String(), "\n") != 2 {
			t.Errorf("%q %v", &out, err)
		}
	})
}
