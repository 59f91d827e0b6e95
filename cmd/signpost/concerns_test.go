package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// check-config reads the TSIG secret of each publish table and names key and file of what is wrong. Only dkimkey uses the
// secrets, so that the configuration stays valid.
func TestCheckConfigReadsTSIGSecrets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	check := func(table string) string {
		t.Helper()
		const publish = "[publish]\nmethod = \"rfc2136\"\nserver = \"192.0.2.1\"\ntsig_name = \"signpost\"\ntsig_algorithm = \"hmac-sha256\"\ntsig_secret_file = \"%DIR%/good\"\n"
		write("signpost.toml", strings.ReplaceAll("mode = \"observe\"\nstate_dir = \"%DIR%\"\n"+publish+table, "%DIR%", dir), 0o644)
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"check-config", "-c", filepath.Join(dir, "signpost.toml")}, &stdout, &stderr); code != 0 {
			t.Fatalf("exit code %d: %s", code, &stderr)
		}
		return stderr.String()
	}
	if out := check(""); !strings.Contains(out, "publish.tsig_secret_file: "+dir+"/good: no such file or directory\n") {
		t.Error(out)
	}
	// As tsig-keygen writes it, among others, and with "//" in its secret.
	write("good", "key old { algorithm hmac-sha1; secret \"AAAA\"; };\n# key \"other\" { algorithm hmac-sha256; secret \"AAAA\"; };\n"+
		"key \"signpost\" {\n\talgorithm hmac-sha256;\n\tsecret \"AA//AAAA\";\n};\n", 0o600)
	write("alone", "AAAA\n", 0o600)
	write("open", "AAAA\n", 0o604)
	write("text", "the secret\n", 0o600)
	write("badclause", "key signpost { algorithm hmac-sha256; secret \"not base64\"; };\n", 0o600)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out := check("[publish.domain.\"a.example\"]\nserver = \"192.0.2.2\"\n"); out != "" {
		t.Errorf("a good file: %s", out)
	}
	for _, c := range []struct{ set, want string }{
		{`tsig_secret_file = "%DIR%/alone"`, ""},
		{`tsig_name = "Signpost."`, ""},
		{`tsig_secret_file = "%DIR%/nothing"`, "/nothing: no such file or directory"},
		{`tsig_secret_file = "%DIR%/folder"`, "/folder: not a regular file"},
		{`tsig_secret_file = "%DIR%/open"`, "/open: everybody can read or change the file (mode 0604); chmod 0600 it"},
		{`tsig_secret_file = "%DIR%/text"`, "/text: neither a base64 secret nor a key clause of tsig-keygen"},
		{`tsig_secret_file = "%DIR%/badclause"`, `/badclause: the secret of key "signpost" is not base64`},
		{`tsig_name = "other"`, `/good: the file is for key "old", "signpost"; tsig_name is "other"`},
		{`tsig_algorithm = "hmac-sha512"`, `/good: key "signpost" has algorithm "hmac-sha256", tsig_algorithm is "hmac-sha512"`},
	} {
		out := check("[publish.domain.\"b.example\"]\n" + c.set + "\n")
		want := c.want
		if want != "" {
			want = `publish.domain."b.example".tsig_secret_file: ` + dir + want
		}
		if !strings.Contains(out, want) || (want == "") != (out == "") {
			t.Errorf("%s: %s", c.set, out)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	// Root can read what the user of the timer cannot.
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, "keys"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if out := check(""); !strings.Contains(out, "user 12345, who owns "+dir+"/keys, cannot read the file") {
		t.Error(out)
	}
}
