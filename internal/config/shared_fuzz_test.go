package config

import (
	"path/filepath"
	"testing"
)

// The entries of valid shared rules, which go to other hosts one by one, are valid and the same rules there.
func FuzzShared(f *testing.F) {
	f.Add("# why\n[[forwarder]]\nsealer = \"lists.example\"\nexpires = 2027-01-01\n\n[[allow]]\ndomain = \"example.org\"\nnetwork = \"192.0.2.1/24\"\ncomment = \"\"\"\n[[deny]]\n\"\"\"\n")
	f.Add(sharedHeader + "\n[[deny]]\ndomain = \"Bücher.example\"\n[[deny]] # [[allow]]\nnetwork = \"2001:db8::/32\"\n")
	f.Add("[[allow]]\r\ndomain = 'x.example'\r\n\r\n# last")
	f.Add("allow = [{domain = \"example.org\"}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseShared("rules.toml", []byte(text))
		if err != nil {
			return
		}
		if want := len(s.Forwarders) + len(s.Allow) + len(s.Deny); len(s.Entries) != want {
			t.Fatalf("%d entries, want %d", len(s.Entries), want)
		}
		for _, e := range s.Entries {
			if err := CheckSharedEntry(e); err != nil {
				t.Errorf("%+v: %v", e, err)
			}
		}
		path := filepath.Join(t.TempDir(), "rules.toml")
		if err := WriteShared(path, nil, s.Entries); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if _, there, err := LoadShared(path); err != nil || !there.Equal(s) {
			t.Errorf("%q: there are %+v, want %+v: %v", text, there, s, err)
		}
	})
}
