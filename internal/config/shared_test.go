package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file of shared rules is divided into its entries. A comment belongs to the entry below it.
func TestShared(t *testing.T) {
	const file = sharedHeader + `
# Ann asked them on 3 March

# twice
[[allow]]
domain = "Example.com" # all of it
network = "192.0.2.0/24"
comment = "# x"
expires = 2099-01-01

# bot
[[deny]]
network = "198.51.100.7"
comment = "x"

expires = "2099-01-01"
[[forwarder]]
sealer = "lists.example.org"
comment = "x"
expires = 2099-01-01
# the end
`
	s, err := ParseShared("rules.toml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	want := []SharedEntry{
		{"allow", "domain=example.com network=192.0.2.0/24", "# Ann asked them on 3 March\n\n# twice\n[[allow]]\ndomain = \"Example.com\" # all of it\nnetwork = \"192.0.2.0/24\"\ncomment = \"# x\"\nexpires = 2099-01-01\n"},
		{"deny", "network=198.51.100.7/32", "# bot\n[[deny]]\nnetwork = \"198.51.100.7\"\ncomment = \"x\"\n\nexpires = \"2099-01-01\"\n"},
		{"forwarder", "sealer=lists.example.org", "[[forwarder]]\nsealer = \"lists.example.org\"\ncomment = \"x\"\nexpires = 2099-01-01\n# the end\n"},
	}
	if len(s.Entries) != len(want) || len(s.Allow) != 1 || len(s.Deny) != 1 || len(s.Forwarders) != 1 {
		t.Fatalf("%+v", s)
	}
	for i, e := range s.Entries {
		if e != want[i] {
			t.Errorf("got %q, want %q", e, want[i])
		}
		if err := CheckSharedEntry(e); err != nil {
			t.Error(err)
		}
	}
	if err := CheckSharedEntry(SharedEntry{"deny", "network=198.51.100.8/32", want[1].Text}); err == nil {
		t.Error("the text of an entry may be another entry")
	}
	path := filepath.Join(t.TempDir(), "rules.toml")
	if err := WriteShared(path, nil, s.Entries); err != nil {
		t.Fatal(err)
	}
	written, again, err := LoadShared(path)
	if err != nil || !again.Equal(s) || len(again.Entries) != 3 || again.Entries[1] != want[1] {
		t.Errorf("%q, %v", again.Entries, err)
	}
	if err := os.WriteFile(path, []byte("# an editor was faster\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteShared(path, written, nil); err == nil {
		t.Error("a change of another program was overwritten")
	}
}

// An error in a file of shared rules has its line. Two entries with the same name are an error, because each entry is a row.
func TestBrokenShared(t *testing.T) {
	const end = "comment = \"x\"\nexpires = 2099-01-01\n"
	deny := "[[deny]]\ndomain = \"a.example\"\n" + end
	for _, c := range []struct{ text, want string }{
		{deny + "\n" + strings.ToUpper("# x\n") + strings.Replace(deny, "a.e", "A.e", 1), "rules.toml:7: deny[2]: there is another [[deny]] with domain=a.example"},
		{"[[deny]]\ndomain = \"a.example\"\n", "deny[1]: must have a comment"},
		{"mode = \"observe\"\n", "rules.toml:1: mode: unknown key; this file may contain only [[forwarder]], [[allow]] and [[deny]]"},
		{"deny = [{ domain = \"a.example\", comment = \"x\", expires = 2099-01-01 }]\n", "rules.toml:1: deny: write [[deny]] on a line of its own"},
		{deny + "\n[[deny]]\ncomment = \"\"\"\\\n# x\"\"\"\ndomain = \"b.example\"\nexpires = 2099-01-01\n", ""},
		{"[[deny]]\ndomain = \"a.example\"\nexpires = 2099-01-01\ncomment = \"\"\"\\\n# x\"\"\"\n" + deny[:9] + "domain = \"b.example\"\n" + end, "deny[1]: write each key and its value on one line"},
		{"[[deny\n", "rules.toml:1: syntax error"},
	} {
		if _, err := ParseShared("rules.toml", []byte(c.text)); (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v\nwant %q", c.text, err, c.want)
		}
	}
}

// The rules are read only if the host belongs to a cluster. A broken file is an error.
func TestReadShared(t *testing.T) {
	state := t.TempDir()
	conf := Default()
	conf.StateDir = state
	if err := os.Mkdir(conf.ClusterDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf.SharedFile(), []byte("[[deny]]\ndomain = \"a.example\"\n"+exception), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := conf.ReadShared(); err != nil || len(conf.Shared.Deny) != 0 {
		t.Error(conf.Shared, err)
	}
	conf.Cluster.Database = "mysql://u@h/d"
	if err := conf.ReadShared(); err != nil || len(conf.Shared.Deny) != 1 {
		t.Error(conf.Shared, err)
	}
	f := Forwarder{Sealer: "b.example", Comment: "x", Expires: conf.Shared.Deny[0].Expires}
	if err := conf.AddForwarder(f, []string{"why"}); err != nil {
		t.Fatal(err)
	}
	if err := conf.ReadShared(); err != nil || len(conf.Shared.Deny) != 1 || len(conf.Shared.Forwarders) != 1 || !strings.HasPrefix(conf.Shared.Entries[1].Text, "# why\n") {
		t.Error(conf.Shared, err)
	}
	if err := os.WriteFile(conf.SharedFile(), []byte("[[deny]]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := conf.ReadShared(); err == nil {
		t.Error("a broken file is no error")
	}
	if err := os.Remove(conf.SharedFile()); err != nil {
		t.Fatal(err)
	}
	if err := conf.ReadShared(); err != nil || len(conf.Shared.Entries) != 0 {
		t.Error(conf.Shared, err)
	}
}
