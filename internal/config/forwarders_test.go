package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The entries of a file of accepted forwarders are parsed. Each error contains the line.
func TestForwarders(t *testing.T) {
	rest := "comment = \"x\"\nexpires = 2027-03-31\n"
	all, err := ParseForwarders("f", []byte("[[forwarder]]\nsealer = \"Lists.Example\"\n"+rest+"[[forwarder]]\nsigner = \"a.example\"\nnetwork = \"192.0.2.0/24\"\n"+rest+"[[forwarder]]\nnetwork = \"2001:db8::1\"\n"+rest))
	until := time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)
	if err != nil || len(all) != 3 || all[0] != (Forwarder{Sealer: "lists.example", Comment: "x", Expires: until}) ||
		all[1] != (Forwarder{Signer: "a.example", Network: netip.MustParsePrefix("192.0.2.0/24"), Comment: "x", Expires: until}) ||
		all[2].Network != netip.MustParsePrefix("2001:db8::1/128") {
		t.Errorf("%v %+v", err, all)
	}
	for text, want := range map[string]string{
		"[dmarc]\nreject = \"never\"\n": "f:1: dmarc: unknown key; this file may contain only [[forwarder]]",
		"forwarder = 1\n":               "f:1: forwarder: must be a list of tables",
		"\n[[forwarder]]\n" + rest:      "f:2: forwarder[1]: must have a sealer, a signer, a network",
		"[[forwarder]]\nsealer = \"a.example\"\nexpires = 2027-03-31\n":           "f:1: forwarder[1]: must have a comment",
		"[[forwarder]]\nsealer = \"a.example\"\ncomment = \"x\"\n":                "f:1: forwarder[1]: must have expires",
		"[[forwarder]]\nsealer = \"a.example\"\nnetwork = \"192.0.2.1\"\n" + rest: "f:1: forwarder[1]: sealer cannot be combined",
		"[[forwarder]]\nsigner = \"a\"\n" + rest:                                  "f:2: forwarder[1].signer: \"a\" is not a domain name",
		"[[forwarder]]\nnetwork = \"192.0.2.1/24\"\n" + rest:                      "f:2: forwarder[1].network: \"192.0.2.1/24\" has bits set outside its prefix",
		"[[forwarder]]\ndomain = \"a.example\"\nsealer = \"a.example\"\n" + rest:  "f:2: forwarder[1].domain: unknown key; use network, sealer, signer",
		"[[forwarder]\n": "f:1: syntax error",
	} {
		if _, err := ParseForwarders("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// A new entry is added below the others, which do not change. The file keeps its owner and mode.
func TestAddForwarder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "forwarders.toml")
	f := Forwarder{Signer: "a.example", Comment: `he said "yes"`, Expires: time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)}
	for range 2 {
		if err := (&Config{DMARC: DMARC{ForwardersFile: path}}).AddForwarder(f, []string{"why"}); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	one := "# why\n[[forwarder]]\nsigner = \"a.example\"\ncomment = \"he said \\\"yes\\\"\"\nexpires = 2027-03-31\n"
	text, err := os.ReadFile(path)
	if err != nil || string(text) != one+"\n"+one {
		t.Errorf("%v\n%s", err, text)
	}
	if all, err := LoadForwarders(path); err != nil || len(all) != 2 || all[1] != f {
		t.Errorf("%v %+v", err, all)
	}
	fi, _ := os.Stat(path)
	if left, _ := os.ReadDir(dir); fi.Mode().Perm() != 0o640 || len(left) != 1 {
		t.Errorf("%v %v", fi.Mode(), left)
	}
	if err := os.WriteFile(path, []byte("mode = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&Config{DMARC: DMARC{ForwardersFile: path}}).AddForwarder(f, nil); err == nil || !strings.Contains(err.Error(), "forwarders.toml:1: mode: unknown key") {
		t.Errorf("%v", err)
	}
}

// By default, the file is in the directory of the configuration. The file does not have to exist.
func TestForwardersFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	main := write("signpost.toml", "")
	if c, err := Load(main); err != nil || len(c.DMARC.Forwarders) != 0 || c.DMARC.ForwardersFile != filepath.Join(dir, "forwarders.toml") {
		t.Errorf("%v %+v", err, c)
	}
	entry := "[[forwarder]]\nsealer = \"a.example\"\ncomment = \"x\"\nexpires = 2027-03-31\n"
	write("forwarders.toml", entry)
	if c, err := Load(main); err != nil || len(c.DMARC.Forwarders) != 1 {
		t.Errorf("%v %+v", err, c)
	}
	other := write("other.toml", entry+"\n"+entry)
	write("signpost.toml", "[dmarc]\nforwarders_file = \""+other+"\"\n")
	if c, err := Load(main); err != nil || len(c.DMARC.Forwarders) != 2 {
		t.Errorf("%v %+v", err, c)
	}
	write("other.toml", "x = 1\n")
	if _, err := Load(main); err == nil || !strings.Contains(err.Error(), other+":1: x: unknown key") {
		t.Errorf("%v", err)
	}
}
