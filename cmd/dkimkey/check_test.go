package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

// check truncates a wrong record and removes its control characters before it prints the record. The JSON output has the whole record.
func TestCheckShowsText(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	h.must("add", "example.org", "--selector", "s", "--unsafe-activate")
	set, err := h.store().Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	record := set.Of("example.org")[0].Metadata.Record
	for _, c := range []struct {
		name  string
		texts []string // one per record
		want  []string
	}{
		{"no key record", []string{"v=DKIM1; p=\x1b[31m\u202e!"}, []string{`other: "v=DKIM1; p=\x1b[31m\u202e!": key record has invalid character in tag: p=`}},
		{"a long text", []string{strings.Repeat("x", 250)}, []string{`other: "` + strings.Repeat("x", maxText) + `...": `}},
		{"a second record", []string{record[:200], "hello"}, []string{`"hello"`, "2 TXT records"}},
		{"many records", []string{"a1", "a2", "a3", "a4", "a5"}, []string{`", ...: 5 TXT records`}},
		{"another key", []string{"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
			[]string{`other: "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=": the record belongs to another key`}},
		{"testing", []string{"v=DKIM1; t=y; p=11qY"}, []string{`other: "v=DKIM1; t=y; p=11qY": `}},
	} {
		h.dns.Set(keys.RecordName("example.org", "s"), 5*time.Minute, c.texts...)
		out, code := h.run("check")
		for _, want := range c.want {
			// One line is about the name server, the other about the resolver.
			if code != 1 || strings.Count(out, want) < 2 {
				t.Errorf("%s: %d, want %s in\n%s", c.name, code, want, out)
			}
		}
		var stdout, stderr bytes.Buffer
		h.env.execute(t.Context(), []string{"-c", h.config, "check", "--json"}, &stdout, &stderr)
		var all []struct{ Servers []keys.ServerAnswer }
		if err := json.Unmarshal(stdout.Bytes(), &all); err != nil || len(all) != 1 || len(all[0].Servers[0].Text) != len(c.texts) || all[0].Servers[0].Why == "" {
			t.Errorf("%s: %v\n%s", c.name, err, &stdout)
		}
	}
}
