package config

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"signpost/internal/man"
)

// signpost.toml(5), the sample and the schema have the same keys. The manual page has a sentence about each key.
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
	// These keys are in lists, or in tables for single domains, which other functions read.
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
			t.Errorf("the sample does not have key %s", k)
		}
	}
	for _, k := range got {
		if !slices.Contains(want, k) {
			t.Errorf("the sample has %s, which is not a key", k)
		}
	}
	known := schema()
	for _, table := range sample.Tables {
		for _, e := range table.Entries {
			if strings.TrimSpace(e.Text) == "" {
				t.Errorf("[%s] %s has no sentence", table.Name, e.Lines)
			}
			for _, line := range e.Lines {
				key, _, _ := strings.Cut(line, " = ")
				for _, word := range wordsOf(known[strings.TrimPrefix(table.Name+"."+key, ".")]) {
					if !strings.Contains(e.Text+line, word) && key != "syslog" { // the values of this key are the facilities of syslog(3)
						t.Errorf("the sentence of %s in [%s] does not have %q", key, table.Name, word)
					}
				}
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

// wordsOf returns the allowed words of a key that has a list of words. The error for an unknown word contains these words.
func wordsOf(set setter) (all []string) {
	if set == nil {
		return nil
	}
	if err := set(Default(), "?"); err != nil {
		if list, ok := strings.CutSuffix(err.Error(), `, not "?"`); ok {
			for i, part := range strings.Split(list, `"`) {
				if i%2 == 1 {
					all = append(all, part)
				}
			}
		}
	}
	return all
}

// The sentence about publish.method names exactly the methods that exist.
func TestSampleHasEachMethod(t *testing.T) {
	data, err := os.ReadFile("../../dist/signpost.toml")
	if err != nil {
		t.Fatal(err)
	}
	all := PublishMethods()
	n := len(all) - 1
	if want := ": " + strings.Join(all[:n], ", ") + " or " + all[n] + ".\nmethod = "; !strings.Contains(string(data), want) {
		t.Errorf("dist/signpost.toml lacks %q, from PublishMethods in schema.go", want)
	}
}
