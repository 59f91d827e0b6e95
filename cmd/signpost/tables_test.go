package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"signpost/internal/config"
	"signpost/internal/doctor/postfix"
)

// suggest prints the tables and domains of Postfix's configuration as TOML that is valid for domains.tables. It omits this host and names
// without a dot.
func TestTablesSuggest(t *testing.T) {
	if testing.Short() {
		t.Skip("runs postconf")
	}
	if _, err := exec.LookPath("/usr/sbin/postconf"); err != nil {
		t.Skip("Postfix is not installed")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("main.cf", `compatibility_level = 3.6
myhostname = mx.example.org
mydomain = example.org
mydestination = $myhostname, localhost.$mydomain, localhost, Example.NET, /etc/postfix/names, !no.example
virtual_mailbox_domains = proxy:mysql:/etc/postfix/sql/domains.cf, inline:{a.example=1, b.example=2}
virtual_alias_domains = mysql:/etc/postfix/sql/domains.cf
relay_domains = relay.example
`)
	write("master.cf", "10025 inet n - n - - smtpd -o mydestination=extra.example -o { virtual_alias_domains = pgsql:/x y.example }\n")
	suggest := func(args ...string) string {
		t.Helper()
		var out, complaint bytes.Buffer
		if code := run(t.Context(), append([]string{"tables", "suggest", "--postfix", dir}, args...), &out, &complaint); code != 0 {
			t.Fatalf("exit code %d: %s", code, complaint.String())
		}
		return out.String()
	}
	const main, inMaster = "main.cf: ", "master.cf: 10025/inet -o "
	want := `[domains]
tables = [
    "mysql:/etc/postfix/sql/domains.cf", # ` + main + `virtual_mailbox_domains
    "inline:{a.example=1, b.example=2}", # ` + main + `virtual_mailbox_domains
    "pgsql:/x", # ` + inMaster + `virtual_alias_domains
    "inline:{ y.example=1 example.net=1 extra.example=1 }", # ` + inMaster + `virtual_alias_domains, ` + main + `mydestination, ` + inMaster + `mydestination
]
# not usable: /etc/postfix/names (main.cf: mydestination): it is a file with patterns, not a table
# not usable: !no.example (main.cf: mydestination): it excludes a pattern
`
	got := suggest()
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	conf, err := config.Load(write("signpost.toml", got))
	if err != nil {
		t.Fatal(err)
	}
	if len(conf.Domains.Tables) != 4 {
		t.Errorf("the suggested file has the tables %q", conf.Domains.Tables)
	}
	if got := suggest("--relay"); !strings.Contains(got, "relay.example=1") {
		t.Errorf("--relay: relay_domains is missing:\n%s", got)
	}

	// With smtpd_sender_login_maps, the settings about logins follow.
	write("main.cf", "compatibility_level = 3.6\nmyhostname = mx.example.org\nmydestination = $myhostname, example.net\nrecipient_delimiter = +-\n"+
		"smtpd_sender_login_maps = proxy:mysql:/etc/postfix/sql/logins.cf, /etc/postfix/logins\n")
	write("master.cf", "smtp inet n - n - - smtpd\nsubmission inet n - n - - smtpd -o smtpd_sender_restrictions=reject_authenticated_sender_login_mismatch\n"+
		"smtps inet n - n - - smtpd -o { smtpd_recipient_restrictions = permit_mynetworks, reject_known_sender_login_mismatch }\n")
	if got := suggest(); got != `recipient_delimiter = "+-"

[domains]
tables = [
    "inline:{ example.net=1 }", # main.cf: mydestination
]

[sign]
login_maps = [
    "mysql:/etc/postfix/sql/logins.cf", # smtpd_sender_login_maps
]
login_local = ["mx.example.org", "example.net"]
login_unlisted = "reject" # submission/inet
# but smtps/inet: accept
login_mismatch = "log" # for a first week; then "reject"
# not usable: /etc/postfix/logins (main.cf: smtpd_sender_login_maps): it is a file with patterns, not a table
` {
		t.Errorf("logins:\n%s", got)
	} else if conf, err := config.Load(write("logins.toml", got)); err != nil || len(conf.Sign.LoginMaps) != 1 || conf.Sign.LoginUnlisted != "reject" {
		t.Errorf("the suggested file: %v", err)
	}

	var many strings.Builder
	for i := range 400 {
		fmt.Fprintf(&many, " customer-%d.example", i)
	}
	write("main.cf", "compatibility_level = 3.6\nmyhostname = mx.example.org\nvirtual_alias_domains = inline:{a.example="+strings.Repeat("x", 5000)+"}"+many.String()+"\n")
	write("master.cf", "")
	got = suggest()
	if conf, err = config.Load(write("signpost.toml", got)); err != nil {
		t.Fatal(err)
	}
	if listed := strings.Join(conf.Domains.Tables, " "); len(conf.Domains.Tables) < 2 || strings.Count(listed, "customer-") != 400 || !strings.Contains(got, "# not usable: inline:{a.example=xxx") {
		t.Errorf("400 domains: %.200s", got)
	}
}

// If no entry can be used, the error names each entry and states why.
func TestTablesSuggestNothing(t *testing.T) {
	var out bytes.Buffer
	err := suggestTables(&out, []postfix.DomainEntry{{Text: "/etc/postfix/names", Where: "main.cf: mydestination", Why: "it is a file with patterns, not a table"}})
	if err == nil || !strings.Contains(err.Error(), "\nnot usable: /etc/postfix/names (main.cf: mydestination): it is a file with patterns") || out.Len() > 0 {
		t.Errorf("%v, output %q", err, &out)
	}
}

// If the table server cannot read a file of the configuration, the hint has the commands that make it readable for its group.
func TestTablesServerReadsConfiguration(t *testing.T) {
	denied := fmt.Errorf("reading the configuration: %w", &fs.PathError{Op: "open", Path: "/etc/signpost/conf.d/a b.toml", Err: syscall.EACCES})
	want := denied.Error() + "\nhint: chgrp signpost '/etc/signpost/conf.d/a b.toml' && chmod g+rX '/etc/signpost/conf.d/a b.toml'"
	if got := permitGroup(denied, "signpost"); got.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", got, want)
	}
	if wrong := fs.ErrNotExist; permitGroup(wrong, "signpost") != wrong {
		t.Error("another error was changed")
	}
}
