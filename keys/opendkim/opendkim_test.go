package opendkim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/domain"
)

// writeTables writes a KeyTable and a SigningTable.
func writeTables(t *testing.T, keyTable, signingTable string) (kt, st string) {
	t.Helper()
	dir := t.TempDir()
	kt, st = filepath.Join(dir, "KT"), filepath.Join(dir, "ST")
	for path, text := range map[string]string{kt: keyTable, st: signingTable} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return kt, st
}

// Each type of line (opendkim.conf(5)) is read, and a line without an equivalent is explained once.
func TestRead(t *testing.T) {
	const all = "OpenDKIM signs the mail of all domains as a.test; Signpost signs only mail of a.test and the domains below it. For each other domain: dkimkey add DOMAIN"
	const percent = `KeyTable entry all has % for the domain, but the pattern has no domain; replace the line by one for each domain, such as "*@example.org all", or run dkimkey import KEYFILE --domain DOMAIN --selector mail for each`
	for _, c := range []struct {
		name, keyTable, signingTable string
		found                        string // DOMAIN SELECTOR FILE, ...
		skipped                      string // lines, with the table and line number
	}{
		{"plain", "k a.test:mail:/k", "*@a.test k", "a.test mail /k", ""},
		{"commas alone", "k a.test:mail:/k", "*@a.test ,,", "", "ST:1: *@a.test: the line has no key"},
		{"an empty name", "k a.test:mail:/k", "*@a.test k,:x", "a.test mail /k", `ST:1: *@a.test: "k,:x" has an empty key name`},
		{"all, as a pattern", "k a.test:mail:/k", "*@* k", "a.test mail /k", "ST:1: *@*: " + all},
		{"all, as a file", "k a.test:mail:/k", "* k", "a.test mail /k", "ST:1: *: " + all},
		{"a user of all domains", "k a.test:mail:/k", "ann@* k", "a.test mail /k", "ST:1: ann@*: " + all},
		{"percent and all", "all %:mail:/k", "*@* all", "", "ST:1: *@*: " + percent},
		{"percent and all, as a file", "all %:mail:/k", "* all", "", "ST:1: *: " + percent},
		{"percent and part of a name", "all %:mail:/k", "*@x*.test all", "", "ST:1: *@x*.test: " + percent},
		{"percent in the path", "all %:mail:/k/%/mail.private", "*@a.test all", "a.test mail /k/a.test/mail.private", ""},
		{"percent in the path alone", "all a.test:mail:/k/%", "* all", "", "ST:1: *: " + percent},
		{"percent and domains", "all %:mail:/k", "*@a.test all\n*@b.test all", "a.test mail /k, b.test mail /k", ""},
		{"key by name of the domain", "a.test a.test:mail:/a\nB.test b.test:mail:/b", "* %", "a.test mail /a, b.test mail /b", ""},
		{"key by name of one domain", "a.test a.test:mail:/a", "*@a.test %\n*@b.test %", "a.test mail /a", "ST:2: the KeyTable has no b.test"},
		{"second field", "k a.test:mail:/k", "*@a.test k:postmaster@a.test", "a.test mail /k", ""},
		{"byte order mark", "\ufeffk a.test:mail:/k", "\ufeff*@a.test k", "a.test mail /k", ""},
		{"CR LF and spaces", "k a.test:mail:/k  \r\n\r\nl b.test:mail:/l\t\r\n", "*@a.test k \r\n# x\r\n*@b.test  l\r\n*@c.test m\r\n", "a.test mail /k, b.test mail /l", "ST:4: the KeyTable has no m"},
		{"CR", "k a.test:mail:/k\rl b.test:mail:/l", "*@a.test k\r*@b.test l\r", "a.test mail /k, b.test mail /l", ""},
		{"another domain", "k a.test:mail:/k", "*@b.test k", "", "ST:1: *@b.test: OpenDKIM signs mail of b.test as a.test; Signpost cannot do this"},
		{"a user", "k a.test:mail:/k", "ann@a.test k", "a.test mail /k", "ST:1: ann@a.test: imported for all addresses of a.test; use sign.login_domains to limit who may use them"},
		{"below", "k a.test:mail:/k", "*@*.a.test k\n.a.test k", "a.test mail /k", ""},
		{"no key", "k a.test:mail:/k", "*@a.test", "", "ST:1: *@a.test: the line has no key"},
		{"a name that cannot be hosted", "k com:mail:/k", "*@com k", "", `ST:1: *@com: "com" is a single label: a top-level domain, or a host name without its domain`},
		{"no selector", "k a.test:b/c:/k", "*@a.test k", "", `ST:1: *@a.test: "b/c" is not a selector`},
		{"no value", "k", "*@a.test k", "", "KT:1: k: the value must have the form DOMAIN:SELECTOR:/PATH, ST:1: the KeyTable has no k"},
		{"a relative path", "k a.test:mail:./k", "*@a.test k", "", "KT:1: k: the path is relative to OpenDKIM's working directory; change it to an absolute path, DOMAIN:SELECTOR:/PATH, ST:1: the KeyTable has no k"},
		{"the key itself", "k a.test:mail:-----BEGIN PRIVATE KEY-----", "", "", "KT:1: k: the value is the private key itself, not a path; write the key to a file, and DOMAIN:SELECTOR:/PATH to the table"},
		{"a key in base64", "k a.test:mail:" + strings.Repeat("MIIE", 100), "", "", "KT:1: k: the value is the private key itself, not a path; write the key to a file, and DOMAIN:SELECTOR:/PATH to the table"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kt, st := writeTables(t, c.keyTable, c.signingTable)
			for _, prefix := range []string{"", "refile:", "file:"} {
				found, skipped, err := Read(prefix+kt, prefix+st)
				var keys []string
				for _, k := range found {
					keys = append(keys, k.Domain+" "+k.Selector+" "+k.Source)
				}
				lines := strings.NewReplacer(prefix+kt, "KT", prefix+st, "ST").Replace(strings.Join(skipped, ", "))
				if err != nil || strings.Join(keys, ", ") != c.found || lines != c.skipped {
					t.Errorf("%v\n%q\nnot\n%q\n%s\nnot\n%s", err, keys, c.found, lines, c.skipped)
				}
			}
		})
	}
}

// A table that is not a text file causes a one-line error with a remedy, and without the password of a database.
func TestOpenDKIMTableTypes(t *testing.T) {
	kt, st := writeTables(t, "k a.test:mail:/k", "*@a.test k")
	const export = `; export it to a file with lines of the form "NAME DOMAIN:SELECTOR:/PATH", and import that file`
	for spec, want := range map[string]string{
		"dsn:mysql://user:secret@host/db/table=x?keycol=a?datacol=b": "KeyTable: dsn: an SQL database" + export,
		"odbx:mysql://user:secret@host":                              "KeyTable: odbx: an SQL database" + export,
		"csl:k=a.test:mail:/k":                                       `KeyTable: the list (csl) is in opendkim.conf itself; write it to a file with lines`,
		"k=/secret":                                                  `KeyTable: the list (csl) is in opendkim.conf itself; write it to a file with lines`,
		"ldap://host/dc=secret":                                      "KeyTable: ldap: an LDAP directory" + export,
		"ldaps://host/dc=secret":                                     "KeyTable: ldaps: an LDAP directory" + export,
		"ldapi://%2Fsecret":                                          "KeyTable: ldapi: an LDAP directory" + export,
		"db:/etc/secret":                                             "KeyTable: db: a database file" + export,
		"mdb:/etc/secret":                                            "KeyTable: mdb: a database file" + export,
		"lua:/etc/secret":                                            "KeyTable: lua: a program returns the answers; write them to a file with lines",
		"memcache:secret/x":                                          "KeyTable: memcache: a program returns the answers;",
		"erlang:node@host:secret:m:f":                                "KeyTable: erlang: a program returns the answers;",
		"refile:":                                                    `KeyTable: "refile:" has no file name`,
		"":                                                           `KeyTable: "" has no file name`,
		"regex:/secret":                                              `KeyTable: unknown type "regex"` + export,
		"/nonexistent/KeyTable":                                      "open /nonexistent/KeyTable: no such file or directory",
	} {
		_, _, err := Read(spec, st)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", spec, err)
		}
	}
	if _, _, err := Read(kt, "dsn:x"); err == nil || !strings.Contains(err.Error(), `SigningTable: dsn: an SQL database; export it to a file with lines of the form "*@DOMAIN NAME"`) {
		t.Error(err)
	}
	for text, want := range map[string]string{"\xff\xfek\x00": "the file is in UTF-16; save it as UTF-8", "\x00\x05\x31\x62": "not a text file; if it is a database"} {
		kt, st := writeTables(t, text, "*@a.test k")
		if _, _, err := Read(kt, st); err == nil || !strings.HasPrefix(err.Error(), "KeyTable "+kt+": "+want) {
			t.Error(err)
		}
	}
}

// FuzzRead checks that each key that is found can be hosted, and that each explanation is one line.
func FuzzRead(f *testing.F) {
	f.Add("k a.test:mail:/k", "*@* k")
	f.Add("all %:mail:/k/%", "*@a.test all")
	f.Add("a.test %:mail:/k", "* %")
	f.Add("\ufeffk a.test:mail:/k\r\n", "ann@a.test k:x, k\r")
	f.Fuzz(func(t *testing.T, keyTable, signingTable string) {
		found, skipped := parse("/kt", keyTable, "/st", signingTable)
		for _, k := range found {
			d, domainErr := domain.ParseHosted(k.Domain)
			if domainErr != nil || d != k.Domain || strings.Contains(k.Source, "%") || !filepath.IsAbs(k.Source) || strings.Contains(k.Selector, "/") {
				t.Errorf("%+v %v", k, domainErr)
			}
		}
		for _, s := range skipped {
			if strings.Contains(s, "\n") || !strings.HasPrefix(s, "/kt:") && !strings.HasPrefix(s, "/st:") {
				t.Errorf("%q", s)
			}
		}
	})
}
