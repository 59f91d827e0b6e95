package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// check-config reads the TSIG secret of each publish table. A warning contains the TSIG key and the file. The configuration stays valid,
// because only dkimkey uses the secrets.
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
	// The file has the format of tsig-keygen and contains several keys. One secret contains "//".
	write("good", "key old { algorithm hmac-sha1; secret \"AAAA\"; };\n# key \"other\" { algorithm hmac-sha256; secret \"AAAA\"; };\n"+
		"key \"signpost\" {\n\talgorithm hmac-sha256;\n\tsecret \"AA//AAAA\";\n};\n", 0o600)
	write("alone", "AAAA\n", 0o600)
	write("open", "AAAA\n", 0o604)
	write("text", "the secret\n", 0o600)
	write("badclause", "key signpost { algorithm hmac-sha256; secret \"not base64\"; };\n", 0o600)
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out := check("[publish.domain.\"a.example\"]\nserver = \"192.0.2.2\"\n"); out != "" {
		t.Errorf("a good file: %s", out)
	}
	for _, c := range []struct{ set, want string }{
		{`tsig_secret_file = "%DIR%/alone"`, ""},
		{`tsig_name = "Signpost."`, ""},
		{`tsig_secret_file = "%DIR%/nothing"`, "/nothing: no such file or directory"},
		{`tsig_secret_file = "%DIR%/directory"`, "/directory: not a regular file"},
		{`tsig_secret_file = "%DIR%/open"`, "/open: the file is accessible to all users (mode 0604): run chmod 0600"},
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
	// Root can read a file that the user of the timer cannot read.
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, "keys"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if out := check(""); !strings.Contains(out, "user 12345, the owner of "+dir+"/keys, cannot read the file: permission denied\nhint: chown 12345 "+dir+"/good && chmod 0600 "+dir+"/good\n") {
		t.Error(out)
	}
	// The message contains the location of the value that is in effect.
	if err := os.Mkdir(filepath.Join(dir, "conf.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("conf.d/local.toml", "# local\n[publish]\ntsig_secret_file = \""+dir+"/nothing\"\n", 0o644)
	if out := check(""); !strings.HasPrefix(out, "signpost: warning: "+dir+"/conf.d/local.toml:3: publish.tsig_secret_file: "+dir+"/nothing: no such file or directory\nhint: (umask 077; tsig-keygen ") {
		t.Error(out)
	}
	write("conf.d/local.toml", "\n[publish.domain.\"a.example\"]\ntsig_secret_file = \""+dir+"/nothing\"\n", 0o644)
	if out := check(""); !strings.Contains(out, "signpost: warning: "+dir+"/conf.d/local.toml:3: publish.domain.\"a.example\".tsig_secret_file: ") {
		t.Error(out)
	}
}

// When root runs check-config, it fails if the daemon's user, the owner of state_dir, cannot read a configuration file. The daemon
// would not start. A draft configuration in one of root's directories is exempt.
func TestCheckConfigAsTheDaemonsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can read what the owner of state_dir cannot")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // otherwise other users cannot access dir
		t.Fatal(err)
	}
	state, file, local := filepath.Join(dir, "state"), filepath.Join(dir, "etc/signpost.toml"), filepath.Join(dir, "etc/conf.d/local.toml")
	for _, d := range []string{state, filepath.Dir(local)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{file: "state_dir = \"" + state + "\"\n", local: "mode = \"observe\"\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(state, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		mode os.FileMode
		code int
		want string
	}{
		{local, 0o644, 0, ""},
		{local, 0o600, 2, "signpost: permission denied: user 12345 cannot read " + local + " (" + local + ": owner root, group root, mode 0600)\nhint: chgrp 12345 '" + local + "' && chmod 0640 '" + local + "'\n"},
		{filepath.Dir(local), 0o700, 2, "signpost: permission denied: user 12345 cannot search " + filepath.Dir(local) + " ("},
		{filepath.Dir(file), 0o700, 0, ""},
	} {
		if err := os.Chmod(c.path, c.mode); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"check-config", "-c", file}, &stdout, &stderr)
		if code != c.code || !strings.HasPrefix(stderr.String(), c.want) || (c.want == "") != (stderr.Len() == 0) {
			t.Errorf("%s %v: exit code %d: %s", c.path, c.mode, code, &stderr)
		}
		if err := os.Chmod(c.path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
