package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/allowlist"
)

// A usage error has exit code 2, and nothing is changed.
func TestUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\ntwo example\n")
	for _, c := range []struct {
		args, want string
	}{
		{"--no-such-flag", "no such flag: --no-such-flag\nhint: see greyskip --help"},
		{"-f " + w.file, w.file + `:2: "two example" is not a domain name`},
		{"-f " + w.dir + "/none", "no such file"},
		{"-f " + w.file + " one.example", "not both"},
		{"localhost", `"localhost" is not a domain name`},
		{"one.example --format xml", `--format: "xml" is not one of postscreen, cidr, nftables, pf, rspamd`},
		{"one.example --widest 33,28", `--widest: "33,28"`},
		{"one.example --widest 12", `--widest: "12"`},
		{"one.example --diff", "require -o FILE"},
		{"one.example --reload true", "require -o FILE"},
		{"one.example -c " + w.dir + "/none.toml", "no such file"},
	} {
		out, errs, code := w.run(strings.Fields(c.args)...)
		if code != 2 || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%s: %d %s%s, want %s", c.args, code, out, errs, c.want)
		}
	}
	if n := len(w.dns.Queries()); n > 0 {
		t.Errorf("%d queries were sent", n)
	}
	if out, errs, code := w.run("--version"); code != 0 || !strings.HasPrefix(out, "greyskip ") || errs != "" {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if out, _, code := w.run("__complete", "one.example", "--format", ""); code != 0 || !strings.Contains(out, "nftables\n") {
		t.Errorf("%d %s", code, out)
	}
}

// --widest sets the widest network.
func TestWidest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `one.example. TXT "v=spf1 ip4:37.0.0.0/11 ip4:38.0.0.0/20 -all"`, "")
	for widest, want := range map[string]string{"12,28": "38.0.0.0/20", "11,28": "37.0.0.0/11 38.0.0.0/20", "24,28": ""} {
		out, _, _ := w.run("one.example", "--format", "cidr", "--widest", widest)
		var got []string
		for line := range strings.Lines(out) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				got = append(got, line)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %s", widest, got, want)
		}
	}
}

// A file that greyskip did not create is not replaced. If the file is a symbolic link, its target is replaced.
func TestWhatIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\n")
	w.put(w.list, "# my own\n37.0.0.0/8 reject\n")
	w.same(func() {
		w.contains(w.cron(1, "--force"), w.list+": not created by greyskip, according to its first line; move it, or pass another file")
	})
	if err := os.Truncate(w.list, 0); err != nil {
		t.Fatal(err)
	}
	w.quiet(w.cron(0))
	link := filepath.Join(w.dir, "link")
	if err := os.Symlink("list", link); err != nil {
		t.Fatal(err)
	}
	w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.10.0/24", 1))
	if out, errs, code := w.run("-f", w.file, "-o", link); code != 0 {
		t.Error(out, errs)
	}
	w.contains(w.entries(), "37.0.10.0/24")
	if fi, err := os.Lstat(link); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced:", err)
	}
	for _, path := range []string{w.dir, os.DevNull, filepath.Join(w.dir, "none", "list")} {
		if out, errs, code := w.run("-f", w.file, "-o", path); code != 1 || !strings.Contains(errs, path) {
			t.Errorf("%s: %d %s%s", path, code, out, errs)
		}
	}
}

// Without a configuration, greyskip uses the name servers of /etc/resolv.conf. A file given with -c must exist.
func TestNoConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "signpost.toml")
	e := env{Maker: allowlist.Maker{Now: time.Now}, config: file}
	if _, err := e.resolver(false); err != nil {
		t.Error(err)
	}
	if _, err := e.resolver(true); err == nil || !strings.Contains(err.Error(), file+": no such file") {
		t.Error(err)
	}
}

// greyskip uses name servers that are set in conf.d, and reports errors there.
func TestDropIn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "signpost.toml")
	dropIn := filepath.Join(filepath.Dir(file), "conf.d", "a.toml")
	for _, err := range []error{os.Mkdir(filepath.Dir(dropIn), 0o700), os.WriteFile(file, nil, 0o600), os.WriteFile(dropIn, []byte("[dns]\nservers = [\"x\"]\n"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	e := env{Maker: allowlist.Maker{Now: time.Now}, config: file}
	if _, err := e.resolver(false); err == nil || !strings.Contains(err.Error(), dropIn+":2: dns.servers") {
		t.Error(err)
	}
}
