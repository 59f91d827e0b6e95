package config

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"signpost/internal/man"
)

// signpost.toml(5), the sample and the schema have the same keys, and each key of the page has its sentence.
func TestManualHasEachKey(t *testing.T) {
	data, err := os.ReadFile("../../dist/signpost.toml")
	if err != nil {
		t.Fatal(err)
	}
	sample, err := man.ReadSample(data)
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	if err := man.Config(&page, sample); err != nil {
		t.Fatal(err)
	}
	want := slices.Collect(maps.Keys(schema()))
	// Those of lists and of tables for single domains, which have readers of their own.
	for _, k := range []string{"domain", "network", "comment", "expires"} {
		want = append(want, "[allow]."+k)
	}
	want = append(want, `dmarc.domain."example.com".reject`, `publish.domain."example.net".method`)
	got := sample.Keys()
	for i, k := range got {
		if list, ok := strings.CutPrefix(k, "allow."); ok {
			got[i] = "[allow]." + list
		}
	}
	got = slices.DeleteFunc(got, func(k string) bool { return strings.HasPrefix(k, "deny.") })
	for _, k := range want {
		if !slices.Contains(got, k) {
			t.Errorf("%s is a key, and not in the sample", k)
		}
	}
	for _, k := range got {
		if !slices.Contains(want, k) {
			t.Errorf("%s stands in the sample, and is no key", k)
		}
	}
	for _, table := range sample.Tables {
		for _, e := range table.Entries {
			if strings.TrimSpace(e.Text) == "" {
				t.Errorf("[%s] %s has no sentence", table.Name, e.Lines)
			}
			for _, line := range e.Lines {
				key, _, _ := strings.Cut(line, " = ")
				if !strings.Contains(page.String(), `\fB`+key+`\fP = `) {
					t.Errorf("the page lacks %s of [%s]", key, table.Name)
				}
			}
		}
		for _, e := range table.Examples {
			for _, line := range e.Lines {
				if !strings.Contains(strings.ReplaceAll(page.String(), `\-`, "-"), line) {
					t.Errorf("the page lacks the line %s", line)
				}
			}
		}
	}
}
