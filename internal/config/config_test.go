package config

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each testdata/bad/NAME.toml is a configuration with one kind of error. The first line of the file describes the error. NAME.want is the
// exact output. `go test ./internal/config -update` writes the .want files. Read the differences before you commit.
func TestBrokenConfigurations(t *testing.T) {
	update := flag.Lookup("update")
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 50 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(filepath.Base(file), data)
		if err == nil {
			t.Errorf("%s: was accepted", file)
			continue
		}
		got := err.Error() + "\n"
		// A new method at the end of the list does not change the output of existing cases.
		got = strings.ReplaceAll(got, quotedList(PublishMethods()), quotedList(PublishMethods()[:4]))
		wanted := strings.TrimSuffix(file, "toml") + "want"
		if update != nil && update.Value.String() == "true" {
			if err := os.WriteFile(wanted, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(wanted); err != nil || got != string(want) {
			t.Errorf("%s:\ngot  %swant %s(%v)", file, got, want, err)
		}
		for line := range strings.Lines(got) {
			if !regexp.MustCompile(`^[a-z0-9-]+\.toml:[0-9]+: \S`).MatchString(line) {
				t.Errorf("not FILE:LINE: MESSAGE: %s", line)
			}
		}
	}
}

func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite testdata/bad/*.want")
	flag.Parse()
	os.Exit(m.Run())
}

func parse(t *testing.T, file string) *Config {
	t.Helper()
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGoodConfigurations(t *testing.T) {
	if c := parse(t, "testdata/good/empty.toml"); c.KeysDir() != "/var/lib/signpost/keys" || c.Sign.Expire != 7*24*time.Hour {
		t.Errorf("%+v", c)
	}
	if c := parse(t, "testdata/good/lists-empty.toml"); len(c.TrustedNetworks) != 0 || len(c.Keys.Selectors) != 0 {
		t.Errorf("%+v", c)
	}
	c := parse(t, "testdata/good/names.toml")
	if c.Sign.Domains[0] != "xn--bcher-kva.example" || c.TrustedNetworks[1].String() != "192.0.2.7/32" || c.Sign.LoginDomains["ann@example.org"][0] != "example.org" ||
		c.Listen[0] != (Listener{"tcp", "[::1]:8891"}) || c.Listen[1] != (Listener{"unix", "/run/s.sock"}) {
		t.Errorf("%+v", c)
	}
	c = parse(t, "testdata/good/rings.toml")
	if c.Keys.RotateEvery != 0 || len(c.Keys.Selectors["rsa"]) != 3 || c.PublishDomain["example.net"].Method != "manual" || c.Publish.Method != "command" {
		t.Errorf("%+v", c)
	}
	if c.RotateEveryFor("example.org") != 0 || c.PublishFor("example.net").Method != "manual" || c.PublishFor("example.org").Method != "command" {
		t.Errorf("%+v", c)
	}
	if empty := parse(t, "testdata/good/empty.toml"); empty.RotateEveryFor("example.org") != 0 {
		t.Error("keys rotate automatically with manual publishing")
	}
	c = parse(t, "testdata/good/local.toml")
	if len(c.Allow) != 1 || c.Allow[0].Domain != "example.com" || c.Allow[0].Network.String() != "192.0.2.0/24" || c.Allow[0].Comment != "their newsletter host" ||
		!c.Allow[0].Expires.Equal(time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", c.Allow)
	}
	if len(c.Deny) != 1 || c.Deny[0].Network.String() != "198.51.100.7/32" || c.Deny[0].Domain != "" || !c.Deny[0].Expires.Equal(time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", c.Deny)
	}
	if c.DMARC.RejectFor["example.org"] != "always" {
		t.Errorf("%+v", c.DMARC)
	}
	if c, err := Parse("x", []byte("[metrics]\nlisten = \"127.0.0.1:9890\"\n")); err != nil || c.MetricsOpen() {
		t.Errorf("metrics.listen: %v", err)
	}
	for listen, open := range map[string]bool{"": false, "[::1]:1": false, "localhost:1": false, "0.0.0.0:1": true, "192.0.2.1:1": true, "mail.example.org:1": true} {
		if c := (&Config{MetricsListen: listen}); c.MetricsOpen() != open {
			t.Errorf("%q open: %v", listen, !open)
		}
	}
}

// The sample shows every key with its default: if the settings in its comments are activated, the configuration does not change.
func TestSample(t *testing.T) {
	data, err := os.ReadFile("../../dist/signpost.toml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("signpost.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	c.Files, c.tree, c.places, c.PublishDomain, want.PublishDomain = nil, nil, nil, nil, nil
	// Compare empty lists and maps as nil.
	if got, want := normal(c), normal(want); !reflect.DeepEqual(got, want) {
		t.Errorf("the sample differs from the defaults:\n%+v\n%+v", got, want)
	}
	examples := regexp.MustCompile(`(?m)^# ?((?:\[[^\]\n]+\]|[a-z_0-9]+\s*=).*)$`).ReplaceAllString(string(data), "$1")
	var keys []string
	for key := range keyLines([]byte(examples)) {
		keys = append(keys, key)
	}
	for key := range schema() {
		if !slices.Contains(keys, key) {
			t.Errorf("%s: add it to dist/signpost.toml, directly below its table and above the first [[...]] example", key)
		}
	}
}

// The configuration of a new installation has the defaults, except for observe mode and hashes of addresses.
func TestMinimal(t *testing.T) {
	c := parse(t, "../../dist/minimal.toml")
	if got := slices.Sorted(maps.Keys(c.given())); !reflect.DeepEqual(got, []string{"journal.addresses", "mode"}) || !c.Observe || c.Journal.Addresses != "hash" {
		t.Errorf("it sets %q, observe %v, addresses %s", got, c.Observe, c.Journal.Addresses)
	}
}

func normal(c *Config) Config {
	n := *c
	v := reflect.ValueOf(&n).Elem()
	empty(v)
	return n
}

// empty makes every empty list and map nil.
func empty(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case !f.CanSet():
		case f.Kind() == reflect.Struct:
			empty(f)
		case (f.Kind() == reflect.Slice || f.Kind() == reflect.Map) && f.Len() == 0:
			f.SetZero()
		}
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{filepath.Join(dir, "none.toml"): "no such file", dir: "is not a regular file"} {
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Parse("x.toml", []byte("a = \"\xff\"")); err == nil || !strings.Contains(err.Error(), "x.toml: is not a text file") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("mode = \"enforce\"\n[sign]\nlogin_domains = { a = [\"example.org\"] }\n[publish.domain.\"x.example\"]\nttl=\"1h\""))
	f.Add([]byte("[keys]\nselectors = { rsa = [] }"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Parse("x.toml", data); err != nil && !strings.HasPrefix(err.Error(), "x.toml:") {
			t.Fatal(err)
		}
	})
}

// A table that no lookup can reach is an error of the configuration.
func TestTables(t *testing.T) {
	for table, want := range map[string]string{
		"mysql:/etc/postfix/a.cf": "", "hash": "TYPE:NAME", "texthash:/a b": "contains a space", "socketmap:unix:a:b": "is not a socketmap",
	} {
		file := filepath.Join(t.TempDir(), "signpost.toml")
		if err := os.WriteFile(file, []byte("[domains]\ntables = [\""+table+"\"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); err == nil != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", table, err, want)
		}
	}
}
