package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// serveTables starts signpost tables serve. It returns a function that kills it.
func (w *world) serveTables() (kill func()) {
	w.t.Helper()
	log := &buffer{}
	cmd := exec.CommandContext(context.Background(), filepath.Join(programs, "signpost"), "tables", "serve", "-c", w.config,
		"--postfix", filepath.Join(w.MTA.Dir, "etc"), "--answers", filepath.Join(w.dir, "answers"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	}
	w.t.Cleanup(func() {
		kill()
		if w.t.Failed() {
			w.t.Logf("the log of the table server:\n%s", log)
		}
	})
	return kill
}

// reload replaces a text of the configuration and reloads the daemon.
func (w *world) reload(old, new string) {
	w.t.Helper()
	text, err := os.ReadFile(w.config)
	if err == nil {
		err = os.WriteFile(w.config, []byte(strings.Replace(string(text), old, new, 1)), 0o644)
	}
	before := w.lines("configuration reloaded")
	if err == nil {
		err = w.daemon.cmd.Process.Signal(syscall.SIGHUP)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.until("the configuration is reloaded", func() bool { return w.lines("configuration reloaded") > before })
}

// The log names a domain that is in Postfix's tables but has no key. While the table server is down, only mail without any known answer gets
// 451, also after a restart of the daemon.
func TestTables(t *testing.T) {
	dir, err := os.MkdirTemp("", "signpost-tables")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	table := "texthash:" + filepath.Join(dir, "domains")
	if err := os.WriteFile(filepath.Join(dir, "domains"), []byte("listed.example yes\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setup{config: "[domains]\ntables = [\"" + table + "\"]\nserver = \"unix:" + dir + "/socket\"\n"})
	sent := 0
	accepted := func(author, signed string, logged ...string) {
		t.Helper()
		w.swaks(w.SMTP, append(client("ann"), letter(author)...)...)
		sent++
		mail := w.mail(sent)
		if signed != "" {
			w.signed(mail, signed)
		} else {
			w.unsigned(mail)
		}
		w.logged(append(logged, "header_from="+author[len("ann@"):])...)
	}
	unknown := func(author string) {
		t.Helper()
		w.refused(w.swaks(w.SMTP, append(client("ann"), letter(author)...)...), "451 4.3.5")
		w.logged("action=tempfail code=table_failed", "header_from="+author[len("ann@"):])
	}

	unknown("ann@listed.example") // the daemon has started without the table server
	kill := w.serveTables()
	w.until("the table server answers", func() bool {
		_, err := os.Stat(filepath.Join(dir, "socket"))
		return err == nil
	})
	accepted("ann@example.org", "example.org", "action=sign code=authenticated")
	accepted("ann@listed.example", "", "action=accept code=listed_no_key", table)
	accepted("ann@www.listed.example", "", "action=accept code=listed_no_key")
	accepted("ann@other.example", "", "action=accept code=not_hosted")

	kill()
	w.stop() // saves the answers
	w.start("signpost")
	accepted("ann@example.org", "example.org", "action=sign code=authenticated")
	accepted("ann@listed.example", "", "action=accept code=listed_no_key", table)
	accepted("ann@other.example", "", "action=accept code=not_hosted")
	unknown("ann@another.example")

	w.serveTables()
	w.dkimkey("add", "listed.example", "--unsafe-activate")
	w.logged("its record was never found in DNS", "listed.example")
	accepted("ann@listed.example", "listed.example", "action=sign")
}

// A login may use exactly the From addresses that Postfix's tables assign to it. Mail whose From domain is not ours is not affected.
func TestLoginMaps(t *testing.T) {
	dir, err := os.MkdirTemp("", "signpost-tables")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	table := "texthash:" + filepath.Join(dir, "logins")
	if err := os.WriteFile(filepath.Join(dir, "logins"), []byte("ann@example.org ann\nsales@example.org bob, Ann\ncarl@example.org carl\njürgen@example.org ann\n@team.example.org ann\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tables := "[domains]\nserver = \"unix:" + dir + "/socket\"\n[sign]\nlogin_maps = [\"" + table + "\"]\n"
	w := newWorld(t, setup{config: "recipient_delimiter = \"+\"\n" + tables})
	w.serveTables()
	w.until("the table server answers", func() bool {
		_, err := os.Stat(filepath.Join(dir, "socket"))
		return err == nil
	})
	sent := 0
	signed := func(author string, more ...string) {
		t.Helper()
		w.swaks(w.SMTP, append(append(client("ann"), letter(author)...), more...)...)
		sent++
		w.signed(w.mail(sent), "example.org")
	}
	forged := func(author string, more ...string) {
		t.Helper()
		w.refused(w.swaks(w.SMTP, append(append(client("ann"), letter(author)...), more...)...), "553 5.7.1")
		w.logged("action=reject code=login_mismatch role=sign", "login=ann")
	}
	signed("ann@example.org")
	signed("Ann <ANN@Example.ORG>")
	signed("ann+shop@example.org")                              // an address extension
	signed("sales@example.org")                                 // an alias of several logins
	signed("jürgen@example.org")                                // SMTPUTF8
	signed("anyone@team.example.org")                           // all addresses of a domain
	signed("new@example.org")                                   // no entry: login_unlisted = "accept"
	signed("ann@example.org, sales@example.org")                // two authors
	forged("Carl <carl@example.org>")                           // a colleague
	forged("ann@example.org, carl@example.org")                 // one of two
	forged("carl+x@example.org")                                // a colleague's extension
	forged("carl@example.org", "--h-Sender", "ann@example.org") // login_sender = false
	w.swaks(w.SMTP, append(client("ann"), letter("carl@other.example")...)...)
	sent++
	w.unsigned(w.mail(sent))
	w.logged("action=accept code=not_hosted")

	w.reload("[sign]\n", "[sign]\nlogin_sender = true\nlogin_unlisted = \"reject\"\n")
	signed("carl@example.org", "--h-Sender", "Ann <ann@example.org>")
	forged("carl@example.org", "--h-Sender", "carl@example.org")
	forged("new@example.org")

	w.reload("login_sender = true", "login_mismatch = \"log\"")
	signed("carl@example.org")
	w.logged("action=sign code=login_mismatch", `login=ann`, "carl@example.org (sign.login_maps)")
}
