package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// unpack writes the files of a txtar archive and returns the path of its signpost.toml.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		path := filepath.Join(dir, f.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, f.Data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "signpost.toml")
}

const exception = "comment = \"x\"\nexpires = 2099-01-01\n"

// The cases test how the files of conf.d change the settings of signpost.toml. Each case has a function got, which returns the tested part
// of the configuration.
func TestDropIns(t *testing.T) {
	for _, c := range []struct {
		name, files string
		got         func(c *Config) any
		want        any
		overrides   []string
	}{
		{"no directory", "-- signpost.toml --\nmode = \"observe\"\n", func(c *Config) any { return c.Observe }, true, nil},
		{"byte order marks", "-- signpost.toml --\n\ufeffmode = \"observe\"\n-- conf.d/a.toml --\n\ufeff[sign]\nexpire = \"6d\"\n",
			func(c *Config) any { return fmt.Sprint(c.Observe, c.Sign.Expire) }, "true 144h0m0s", nil},
		{"a key that only the drop-in sets", "-- signpost.toml --\nmode = \"observe\"\n-- conf.d/a.toml --\n[sign]\nexpire = \"6d\"\n",
			func(c *Config) any { return fmt.Sprint(c.Observe, c.Sign.Expire) }, "true 144h0m0s", nil},
		{"a single key of a table", "-- signpost.toml --\n[spf]\nfail = \"reject\"\n[dmarc]\nreject = \"never\"\nquarantine = \"hold\"\n-- conf.d/a.toml --\n[dmarc]\nreject = \"always\"\n",
			func(c *Config) any { return c.SPF.Fail + " " + c.DMARC.Reject + " " + c.DMARC.Quarantine }, "reject always hold", []string{"conf.d/a.toml:2: dmarc.reject overrides signpost.toml:4"}},
		{"byte order of names", "-- signpost.toml --\n-- conf.d/9.toml --\nauthserv_id = \"nine.example\"\n-- conf.d/10.toml --\nauthserv_id = \"ten.example\"\n-- conf.d/A.toml --\nauthserv_id = \"capital.example\"\n",
			func(c *Config) any { return c.AuthservID }, "capital.example", []string{"conf.d/9.toml:1: authserv_id overrides conf.d/10.toml:1", "conf.d/A.toml:1: authserv_id overrides conf.d/9.toml:1"}},
		{"a list of values replaces", "-- signpost.toml --\nauthserv_aliases = [\"a.example\", \"b.example\"]\n-- conf.d/a.toml --\nauthserv_aliases = [\"c.example\"]\n",
			func(c *Config) any { return c.AuthservAliases }, []string{"c.example"}, []string{"conf.d/a.toml:1: authserv_aliases overrides signpost.toml:1"}},
		{"an empty list replaces", "-- signpost.toml --\ntrusted_networks = [\"192.0.2.1\"]\n-- conf.d/a.toml --\ntrusted_networks = []\n",
			func(c *Config) any { return len(c.TrustedNetworks) }, 0, []string{"conf.d/a.toml:1: trusted_networks overrides signpost.toml:1"}},
		{"sockets replace, with their modes", "-- signpost.toml --\nlisten = [{ socket = \"unix:/run/s\", mode = \"0600\" }]\n-- conf.d/a.toml --\nlisten = [\"unix:/run/s\"]\n",
			func(c *Config) any { mode, _ := c.Rights(c.Listen[0]); return mode }, fs.FileMode(0o660), []string{"conf.d/a.toml:1: listen overrides signpost.toml:1"}},
		{"exceptions are added", "-- signpost.toml --\n[[deny]]\ndomain = \"a.example\"\n" + exception + "-- conf.d/a.toml --\n[[deny]]\ndomain = \"b.example\"\n" + exception + "[[allow]]\ndomain = \"d.example\"\n" + exception +
			"-- conf.d/b.toml --\ndeny = [{ domain = \"c.example\", comment = \"x\", expires = 2099-01-01 }]\n",
			func(c *Config) any {
				return fmt.Sprintln(c.Deny[0].Domain, c.Deny[1].Domain, c.Deny[2].Domain, len(c.Deny), c.Allow[0].Domain, len(c.Allow))
			}, "a.example b.example c.example 3 d.example 1\n", nil},
		{"tables of domains are merged", "-- signpost.toml --\n[publish.domain.\"A.example\"]\nttl = \"2h\"\nmethod = \"zonefile\"\npath = \"/a\"\n[dmarc.domain.\"A.example\"]\nreject = \"never\"\n" +
			"-- conf.d/a.toml --\n[publish]\ntimeout = \"9s\"\n[publish.domain.\"a.EXAMPLE\"]\npath = \"/b\"\n[dmarc.domain.\"a.EXAMPLE\"]\nreject = \"always\"\n[dmarc.domain.\"b.example\"]\nreject = \"never\"\n",
			func(c *Config) any {
				p := c.PublishDomain["a.example"]
				return fmt.Sprint(p.TTL, p.Method, p.Path, p.Timeout, c.DMARC.RejectFor)
			}, "2h0m0szonefile/b9s map[a.example:always b.example:never]",
			[]string{"conf.d/a.toml:6: dmarc.domain.a.example.reject overrides signpost.toml:6", "conf.d/a.toml:4: publish.domain.a.example.path overrides signpost.toml:4"}},
		{"logins are merged", "-- signpost.toml --\n[sign]\nlogin_domains = { Ann = [\"a.example\"], bob = [\"b.example\"] }\n-- conf.d/a.toml --\n[sign.login_domains]\nann = [\"c.example\"]\n",
			func(c *Config) any { return fmt.Sprint(c.Sign.LoginDomains) }, "map[ann:[c.example] bob:[b.example]]", []string{"conf.d/a.toml:2: sign.login_domains.ann overrides signpost.toml:2"}},
		{"rings are merged", "-- signpost.toml --\n[keys.selectors]\nrsa = [\"a\", \"b\", \"c\"]\n-- conf.d/a.toml --\n[keys.selectors]\ned25519 = [\"d\", \"e\", \"f\"]\n",
			func(c *Config) any { return fmt.Sprint(c.Keys.Selectors) }, "map[ed25519:[d e f] rsa:[a b c]]", nil},
		{"no ring replaces the rings", "-- signpost.toml --\n[keys.selectors]\nrsa = [\"a\", \"b\", \"c\"]\n-- conf.d/a.toml --\n[keys]\nselectors = []\n",
			func(c *Config) any { return len(c.Keys.Selectors) }, 0, []string{"conf.d/a.toml:2: keys.selectors overrides signpost.toml:1"}},
		{"publishing in two halves", "-- signpost.toml --\n[publish]\nmethod = \"command\"\n-- conf.d/a.toml --\npublish.argv = [\"/bin/true\"]\n",
			func(c *Config) any { return c.Publish.Argv }, []string{"/bin/true"}, nil},
		{"a rotation that only a drop-in sets", "-- signpost.toml --\n-- conf.d/a.toml --\n[keys]\nrotate_every = \"90d\"\n", func(c *Config) any { return c.Keys.RotateGiven }, true, nil},
		{"files that are not read", "-- signpost.toml --\n-- conf.d/.a.toml --\nx = 1\n-- conf.d/.#b.toml --\nx = 1\n-- conf.d/#c.toml# --\nx = 1\n-- conf.d/d.toml~ --\nx = 1\n-- conf.d/e.toml.dpkg-old --\nx = 1\n-- conf.d/README --\nx = 1\n-- conf.d/sub/f.toml --\nx = 1\n-- sub/g.toml --\nx = 1\n",
			func(c *Config) any { return len(c.Files) }, 1, nil},
		{"a file of accepted forwarders that a drop-in names", "-- signpost.toml --\n-- conf.d/a.toml --\n[dmarc]\nforwarders_file = \"/nowhere\"\n", func(c *Config) any { return c.DMARC.ForwardersFile }, "/nowhere", nil},
		{"accepted forwarders beside signpost.toml", "-- signpost.toml --\n-- conf.d/a.toml --\n-- forwarders.toml --\n[[forwarder]]\nsealer = \"a.example\"\n" + exception, func(c *Config) any { return len(c.DMARC.Forwarders) }, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := unpack(t, c.files)
			conf, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.got(conf); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			var overrides []string
			for _, o := range conf.Overrides {
				overrides = append(overrides, strings.ReplaceAll(o.By+": "+o.Key+" overrides "+o.Of, filepath.Dir(file)+"/", ""))
			}
			if !reflect.DeepEqual(overrides, c.overrides) {
				t.Errorf("overrides\n%s\nwant\n%s", strings.Join(overrides, "\n"), strings.Join(c.overrides, "\n"))
			}
		})
	}
}

// Each error in each file is reported, with the file and line, even if a later file overrides the value.
func TestDropInFaults(t *testing.T) {
	for _, c := range []struct{ name, files, want string }{
		{"an unknown key", "-- signpost.toml --\n-- conf.d/a.toml --\n\ncolour = 1\n", "conf.d/a.toml:2: colour: unknown key"},
		{"a syntax error", "-- signpost.toml --\nmode = \"on\"\n-- conf.d/a.toml --\n\nmode = \n-- conf.d/b.toml --\nx\n",
			"conf.d/a.toml:2: syntax error: unexpected character U+000A at start of value\nconf.d/b.toml:1: syntax error: expected '=' after key\nsignpost.toml:1: mode: must be \"enforce\" or \"observe\", not \"on\""},
		{"a fault in each", "-- signpost.toml --\nmode = \"on\"\n-- conf.d/a.toml --\nmode = \"off\"\n-- conf.d/b.toml --\nmode = \"observe\"\n",
			"signpost.toml:1: mode: must be \"enforce\" or \"observe\", not \"on\"\nconf.d/a.toml:1: mode: must be \"enforce\" or \"observe\", not \"off\""},
		{"an exception of the second file", "-- signpost.toml --\n[[deny]]\ndomain = \"a.example\"\n" + exception + "-- conf.d/a.toml --\n\n[[deny]]\ndomain = \"b\"\n" + exception,
			"conf.d/a.toml:3: deny[1].domain: \"b\" is not a domain name"},
		{"an inline exception", "-- signpost.toml --\n-- conf.d/a.toml --\n\ndeny = [{ domain = \"b\", comment = \"x\", expires = 2099-01-01 }]\n",
			"conf.d/a.toml:2: deny[1].domain: \"b\" is not a domain name"},
		{"a table that is a value elsewhere", "-- signpost.toml --\n[spf]\nfail = \"reject\"\n-- conf.d/a.toml --\nspf = \"reject\"\n",
			"conf.d/a.toml:1: spf: must be a table: write [spf] on a line of its own and its keys below"},
		{"timeouts of two files", "-- signpost.toml --\n[dns]\ntimeout = \"9s\"\n-- conf.d/a.toml --\n[dns]\nmessage_timeout = \"8s\"\n",
			"signpost.toml:2: dns.timeout: must not be longer than dns.message_timeout"},
		{"a timeout against the default", "-- signpost.toml --\n[dns]\nservers = []\n-- conf.d/a.toml --\n[dns]\nmessage_timeout = \"2s\"\n",
			"conf.d/a.toml:2: dns.timeout: must not be longer than dns.message_timeout"},
		{"a missing key of a method", "-- signpost.toml --\n-- conf.d/a.toml --\n\n[publish.domain.\"a.example\"]\nmethod = \"zonefile\"\n",
			"conf.d/a.toml:3: publish.domain.a.example.method: \"zonefile\" requires publish.path"},
		{"one domain twice in a file", "-- signpost.toml --\n[publish.domain.\"a.example\"]\nttl = \"1h\"\n[publish.domain.\"A.example\"]\nttl = \"2h\"\n[dmarc.domain]\n\"a.example\" = { reject = \"never\" }\n\"A.example\" = { reject = \"always\" }\n",
			"signpost.toml:2: publish.domain.a.example.ttl: is set twice\nsignpost.toml:6: dmarc.domain.a.example.reject: is set twice"},
		{"one login twice in a file", "-- signpost.toml --\n[sign.login_domains]\nann = []\nAnn = []\n", "signpost.toml:2: sign.login_domains.ann: is set twice"},
		{"a fault under a name with capitals", "-- signpost.toml --\n[publish.domain.\"A.example\"]\nmetod = \"zonefile\"\n", "signpost.toml:2: publish.domain.a.example.metod: unknown key"},
		{"not text", "-- signpost.toml --\n-- conf.d/a.toml --\n\xff\n", "conf.d/a.toml: is not a text file in UTF-8"},
		{"a directory with the name of a file", "-- signpost.toml --\n-- conf.d/a.toml/b.toml --\n", "conf.d/a.toml: is not a regular file"},
		{"a file with the name of the directory", "-- signpost.toml --\n-- conf.d --\n", "conf.d: not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := unpack(t, c.files)
			_, err := Load(file)
			if err == nil {
				t.Fatal("accepted")
			}
			if got := strings.ReplaceAll(err.Error(), filepath.Dir(file)+"/", ""); !strings.HasSuffix(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// A drop-in file may be a symbolic link, and so may the directory conf.d. A dangling link is an error.
func TestDropInLinks(t *testing.T) {
	file := unpack(t, "-- signpost.toml --\n-- elsewhere/a --\nmode = \"observe\"\n")
	dir := filepath.Dir(file)
	link := func(target, name string) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(filepath.Join(dir, "conf.d")), os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.Symlink(target, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	link("../elsewhere/a", "conf.d/a.toml")
	if c, err := Load(file); err != nil || !c.Observe {
		t.Error(c, err)
	}
	if err := os.Rename(filepath.Join(dir, "elsewhere/a"), filepath.Join(dir, "elsewhere/a.toml")); err != nil {
		t.Fatal(err)
	}
	link("elsewhere", "conf.d")
	if c, err := Load(file); err != nil || !c.Observe {
		t.Error(c, err)
	}
	for _, name := range []string{"conf.d", "conf.d/a.toml"} {
		link("nowhere", name)
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "signpost.toml(5)") {
			t.Errorf("a dangling %s: %v", name, err)
		}
		if !Exists(file) || !Exists(filepath.Join(dir, "other.toml")) {
			t.Errorf("Exists is false for a dangling %s", name)
		}
	}
}

// If conf.d has a file, a configuration exists, even without signpost.toml. Programs then report an error, and do not use the defaults.
func TestExists(t *testing.T) {
	file := unpack(t, "-- conf.d/README --\n")
	if Exists(file) {
		t.Error("without a file")
	}
	if err := os.WriteFile(filepath.Join(DropIns(file), "a.toml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); !Exists(file) || err == nil || !strings.Contains(err.Error(), file+": no such file") {
		t.Error(err)
	}
}

func TestDropInBounds(t *testing.T) {
	file := unpack(t, "-- signpost.toml --\n-- conf.d/0.toml --\n")
	put := func(n, size int) {
		t.Helper()
		for i := range n {
			if err := os.WriteFile(filepath.Join(DropIns(file), strconv.Itoa(i)+".toml"), []byte(strings.Repeat("#", size)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	refused := func(what string) {
		t.Helper()
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), DropIns(file)) {
			t.Errorf("want %s, got %v", what, err)
		}
	}
	put(maxDropIns, 0)
	if c, err := Load(file); err != nil || len(c.Files) != maxDropIns+1 {
		t.Error(err)
	}
	put(maxDropIns+1, 0)
	refused("the limit is 1000")
	if err := os.Remove(filepath.Join(DropIns(file), "1000.toml")); err != nil {
		t.Fatal(err)
	}
	put(1, maxFile+1)
	refused("larger than 1 MiB")
	put(9, maxFile)
	refused("larger than 8 MiB in total")
}

// The fuzz test merges two files. The result may be valid although one file alone is not. Each error names the file that contains it.
func FuzzDropIns(f *testing.F) {
	f.Add([]byte("mode = \"observe\"\n[[deny]]\ndomain = \"a.example\"\n"+exception), []byte("mode = \"enforce\"\n[[deny]]\nnetwork = \"192.0.2.1\"\n"+exception))
	f.Add([]byte("[publish.domain.\"A.example\"]\nttl = \"1h\""), []byte("[publish.domain.\"a.example\"]\nttl = \"2h\""))
	f.Add([]byte("[keys]\nselectors = []"), []byte("[keys.selectors]\nrsa = [\"a\", \"b\", \"c\"]"))
	f.Add([]byte("sign.login_domains.ann = []"), []byte("[sign]\nlogin_domains = { Ann = [] }"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		both, err := parseAll([]source{{"a.toml", a}, {"b.toml", b}})
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "a.toml:") && !strings.HasPrefix(line, "b.toml:") {
					t.Fatal(err)
				}
			}
			return
		}
		for _, o := range both.Overrides {
			if !strings.HasPrefix(o.By, "b.toml:") || !strings.HasPrefix(o.Of, "a.toml:") {
				t.Fatalf("%+v", o)
			}
		}
		// If the last file is read a second time, the result does not change.
		again, err := parseAll([]source{{"a.toml", a}, {"b.toml", b}, {"b.toml", b}})
		if err != nil || len(again.Deny) < len(both.Deny) {
			t.Fatal(err)
		}
		for _, key := range Changed(both, again) {
			if key != "allow" && key != "deny" {
				t.Fatalf("%s is not the same when the last file is read twice", key)
			}
		}
	})
}
