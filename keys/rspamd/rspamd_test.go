package rspamd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/keys"
)

// write writes files, and creates their directories. DIR in a text is the directory that it returns.
func write(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// check compares keys in the form DOMAIN SELECTOR SOURCE or DOMAIN SELECTOR TEXT, and the explanations.
func check(t *testing.T, dir string, found []keys.Foreign, skipped []string, err error, want, wantSkipped string) {
	t.Helper()
	var all []string
	for _, k := range found {
		from := k.Text
		if from == "" {
			from = k.Source
		}
		all = append(all, k.Domain+" "+k.Selector+" "+from)
	}
	lines := strings.Join(skipped, "\n")
	if err != nil {
		lines = err.Error()
	}
	lines = strings.ReplaceAll(lines, dir+"/", "")
	got := strings.ReplaceAll(strings.Join(all, ", "), dir+"/", "")
	if got != want || lines != wantSkipped {
		t.Errorf("found\n%s\nwant\n%s\nexplained\n%s\nwant\n%s", got, want, lines, wantSkipped)
	}
}

// mailcow signs with the selector in DKIM_SELECTORS. Each other field is explained, and no message contains a value.
func TestReadMailcow(t *testing.T) {
	const hint = "\nhint: write the file with redis-cli --json HGETALL NAME >FILE"
	const unused = "rspamd does not sign with this key: it is not the key of a domain's selector"
	for _, c := range []struct{ name, selectors, private, found, skipped string }{
		{"plain", `{"example.org":"dkim"}`, `{"dkim.example.org":"KEY\nLINE\n"}`, "example.org dkim KEY\nLINE\n", ""},
		{"dots in the selector", `{"example.org":"a.b","b.example.org":"a"}`, `{"a.b.example.org":"KEY"}`, "example.org a.b KEY, b.example.org a KEY", ""},
		{"one key with two readings", `{"b.example.org":"a"}`, `{"a.b.example.org":"KEY"}`, "b.example.org a KEY", ""},
		{"an old selector", `{"example.org":"new"}`, "{\"new.example.org\":\"KEY\",\n\"old.example.org\":\"SECRET\"}", "example.org new KEY", `keys:2: "old.example.org": ` + unused},
		{"no key", `{"example.org":"dkim"}`, `{"dkim.example.net":"SECRET"}`, "", `selectors:1: "example.org": keys has no field "dkim.example.org"` + "\n" + `keys:1: "dkim.example.net": ` + unused},
		{"an empty key", `{"example.org":"dkim"}`, `{"dkim.example.org":" \n"}`, "", `keys:1: "dkim.example.org": the key is empty`},
		{"path in the domain", `{"../../etc":"dkim","a/b.org":"x"}`, `{"dkim.../../etc":"SECRET"}`, "", `selectors:1: "../../etc": "../../etc" is not a domain name` + "\n" +
			`selectors:1: "a/b.org": "a/b.org" is not a domain name` + "\n" + `keys:1: "dkim.../../etc": ` + unused},
		{"path in the selector", `{"example.org":"../x"}`, `{"../x.example.org":"SECRET"}`, "", `selectors:1: "example.org": the selector is not valid` + "\n" + `keys:1: "../x.example.org": ` + unused},
		{"control characters", `{"\u001b[2J":"dkim"}`, `{"x":"SECRET"}`, "", `selectors:1: "\x1b[2J": "\x1b[2J" is not a domain name` + "\n" + `keys:1: "x": ` + unused},
		{"upper case", `{"Example.org":"S1","example.org":"s1"}`, `{"S1.Example.org":"ONE","s1.example.org":"TWO"}`, "example.org s1 ONE",
			`selectors:1: "example.org": key s1 of example.org is imported from keys:1: "S1.Example.org" instead`},
		{"twice", `{"example.org":"a"}`, "{\"a.example.org\":\"ONE\",\n\n\"a.example.org\":\"TWO\"}", "", `keys:3: "a.example.org": the field is in the file twice`},
		{"wrong order", `{"dkim.example.org":"-----BEGIN PRIVATE KEY-----SECRET"}`, `{"example.org":"dkim"}`, "",
			`selectors:1: "dkim.example.org": the value is a private key, not a selector` + "\nhint: the file with the selectors comes first"},
		{"password missing", "error:\"NOAUTH Authentication required.\"\n", `{}`, "", "selectors: redis-cli failed: NOAUTH Authentication required.\nhint: set REDISCLI_AUTH to the password of Redis"},
		{"not a hash", "error:\"WRONGTYPE wrong kind of value\"", `{}`, "", "selectors: redis-cli failed: WRONGTYPE wrong kind of value"},
		{"not JSON", `{"example.org":"dkim"}`, "dkim.example.org\n-----BEGIN PRIVATE KEY-----\n", "", "keys: the file is not a JSON object" + hint},
		{"a list", `{"example.org":"dkim"}`, `["dkim.example.org","SECRET"]`, "", "keys: the file is not a JSON object" + hint},
		{"cut", `{"example.org":"dkim"}`, `{"dkim.example.org":"SECR`, "", "keys: the JSON is not valid or not complete" + hint},
		{"RDB", "REDIS0011\xfa", `{}`, "", "selectors: the file is a dump in binary format (RDB)" + hint},
		{"not a string", `{"example.org":["dkim"]}`, `{}`, "", `selectors:1: "example.org": the value is not a string` + hint},
		{"empty", `{"example.org":"dkim"}`, "{}\n", "", "keys: the hash is empty\nhint: the name of the hash is case-sensitive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"selectors": c.selectors, "keys": c.private})
			found, skipped, err := ReadMailcow(filepath.Join(dir, "selectors"), filepath.Join(dir, "keys"))
			if strings.Contains(strings.Join(skipped, " "), "SECRET") || err != nil && strings.Contains(err.Error(), "SECR") {
				t.Error("a message contains a value")
			}
			check(t, dir, found, skipped, err, c.found, c.skipped)
		})
	}
}

// rspamd's domain blocks, maps, defaults and default path determine the same selector and file as in rspamd.
func TestRead(t *testing.T) {
	const other = ": rspamd does not sign with this key; to import it, run dkimkey import KEYFILE --domain DOMAIN --selector SELECTOR"
	for _, c := range []struct {
		name, config string
		found        string
		skipped      string
	}{
		{"default path", `{"path":"DIR/k/$domain.$selector.key","selector":"dkim"}`, "example.net dkim k/example.net.dkim.key, example.org dkim k/example.org.dkim.key",
			`"k/example.org.2019.key"` + other + "\n" + `"k/localhost.dkim.key": "localhost": names under localhost are never in DNS, so the key record cannot be published`},
		{"braces, and the domain twice", `{"path":"DIR/d/${domain}/${domain}.${selector}"}`, "example.edu dkim d/example.edu/example.edu.dkim", ""},
		{"no fallback", `{"path":"DIR/k/$domain.$selector.key","try_fallback":false,"domain":{"example.org":{}}}`, "example.org dkim k/example.org.dkim.key", ""},
		{"domain blocks", `{"path":"DIR/none/$domain.$selector","domain":{"a.org":{"path":"/k/$domain.$selector.key","selector":2024},"b.org":{"selector":"s","selectors":[{"path":"/1","selector":"x"},{"path":"/2","selector":"y"}]}}}`,
			"a.org 2024 /k/a.org.2024.key, b.org s none/b.org.s, b.org x /1, b.org y /2", ""},
		{"maps", `{"path":"DIR/none/$domain.$selector","selector":"def","selector_map":"DIR/selectors","path_map":"file://DIR/paths","domain":{"c.org":{"selector":"own"}}}`,
			"a.org sel none/a.org.sel, b.org sel2 /p/b.org.sel2, c.org own /p/c, d.org def /p/d", ""},
		{"one file for all", `{"path":"DIR/k/example.org.dkim.key"}`, "", "config: rspamd signs mail of all domains with k/example.org.dkim.key; import it for each of your domains: dkimkey import KEYFILE --selector dkim --domain DOMAIN"},
		{"hostile names", `{"try_fallback":false,"domain":{"../x.org":{},"a.org":{"selector":"../../b"},"b.org":{"path":"k"}}}`, "",
			`config: domain "../x.org": "../x.org" is not a domain name` + "\n" + `config: domain "a.org": the selector is not valid` + "\n" + `config: domain "b.org": the path of the key is not absolute`},
		{"a list as map", `{"selector_map":["a.org x"]}`, "", "config: selector_map is not the path of a file\nhint: write the map to a file, and change selector_map in config to the path of this file"},
		{"a wrong map", `{"selector_map":"DIR/wrong"}`, "", `wrong:2: the line does not have the form "DOMAIN VALUE"`},
		{"not JSON", "*** Section dkim_signing ***\n", "", "config: the file is not the output of rspamadm\nhint: write it with rspamadm configdump --json dkim_signing >FILE"},
		{"two sections", `{"domain":[{"a.org":{}}]}`, "", "config: the value of domain has a form that dkimkey cannot read\nhint: import each key: dkimkey import KEYFILE --domain DOMAIN --selector SELECTOR"},
		{"vault", `{"use_vault":true}`, "", "config: the keys are in Vault (use_vault)\nhint: write each key to a file, and run dkimkey import KEYFILE --domain DOMAIN --selector SELECTOR"},
		{"tables", `{"signing_table":"/x","key_table":"/y"}`, "", "config: rspamd signs with signing_table and key_table, which have the form of OpenDKIM's tables\nhint: dkimkey import opendkim KEYTABLE SIGNINGTABLE"},
		{"Redis", `{"use_redis":true,"key_prefix":"K","selector_prefix":"S"}`, "", "config: the keys are in Redis: --redis-keys FILE and --redis-selectors FILE needed\nhint: run redis-cli --json HGETALL K >FILE and redis-cli --json HGETALL S >FILE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"config": c.config,
				"k/example.org.dkim.key": "", "k/example.net.dkim.key": "", "k/example.org.2019.key": "", "k/localhost.dkim.key": "", "d/example.edu/example.edu.dkim": "",
				"selectors": "# who\na.org sel # x\n\"b.org\" sel2\nc.org not\n", "paths": "b.org /p/$domain.$selector\nC.org /p/c\nd.org /p/d\n", "wrong": "a.org x\nb.org\n"})
			found, skipped, err := Read(filepath.Join(dir, "config"), "", "")
			check(t, dir, found, skipped, err, c.found, c.skipped)
		})
	}
}

// Keys in Redis: selector_prefix, or else the configuration, determines the selectors.
func TestReadRedis(t *testing.T) {
	const private = `{"dkim.a.org":"A","s.b.org":"B","dkim.b.org":"OLD"}`
	dir := write(t, map[string]string{"with": `{"use_redis":true,"selector_prefix":"S"}`, "without": `{"use_redis":true,"domain":{"b.org":{"selector":"s"}}}`,
		"files": "{}", "keys": private, "selectors": `{"b.org":"s"}`})
	path := func(name string) string { return filepath.Join(dir, name) }
	found, skipped, err := Read(path("without"), path("keys"), "")
	check(t, dir, found, skipped, err, "b.org s B, a.org dkim A", `keys:1: "dkim.b.org": rspamd does not sign with this key: it is not the key of a domain's selector`)
	found, _, err = Read(path("with"), path("keys"), path("selectors"))
	check(t, dir, found, nil, err, "b.org s B", "")
	_, _, err = Read(path("without"), path("keys"), path("selectors"))
	check(t, dir, nil, nil, err, "", "without: the configuration has no selector_prefix\nhint: omit --redis-selectors")
	_, _, err = Read(path("files"), path("keys"), "")
	check(t, dir, nil, nil, err, "", "files: the keys are in files: use_redis is not set\nhint: omit --redis-keys and --redis-selectors")
}
