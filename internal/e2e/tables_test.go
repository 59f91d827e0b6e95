package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
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
