package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"signpost/internal/testdns"
	"signpost/internal/testmilter"
	"signpost/keys"
)

// pemFile writes a private key to a new file.
func pemFile(t *testing.T, path string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// The tests run the released daemon, which confines itself.
func TestConfinedDaemon(t *testing.T) {
	file := built(t)
	t.Run("works", func(t *testing.T) { confinedWorks(t, file) })
	t.Run("refuses", func(t *testing.T) { confinedRefuses(t, file) })
	t.Run("forwarders elsewhere", func(t *testing.T) { confinedForwarders(t, file) })
	t.Run("conf.d", func(t *testing.T) { confinedDropIns(t, file) })
	t.Run("forbidden", func(t *testing.T) { landlockForbidden(t, file) })
}

// All threads of the daemon are confined, and the daemon still works. It signs and verifies, reloads replaced configuration and key
// files, answers a scrape, records observations, and removes its socket.
func confinedWorks(t *testing.T, file string) {
	server, err := testdns.Start("example.com. 60 IN TXT \"v=spf1 -all\"\n")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	dir := t.TempDir()
	text := fmt.Sprintf("[dns]\nservers = [%q]\n[metrics]\nlisten = \"127.0.0.1:0\"\n[reports.receive]\naddresses = [\"rua@example.org\"]\n", server.Addr())
	// dkimkey created one key. The other key is a link into another directory and waits for its record.
	store := keys.Store{State: filepath.Join(dir, "state"), Dir: filepath.Join(dir, "state", "keys"), Now: time.Now}
	pemFile(t, filepath.Join(dir, "key.pem"))
	imported := func(domain string) {
		t.Helper()
		if err := store.Make(); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Import(keys.Foreign{Domain: domain, Selector: "key", Source: filepath.Join(dir, "key.pem")}, "manual"); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Activate(domain, "key"); err != nil {
			t.Fatal(err)
		}
	}
	imported("example.org")
	elsewhere := filepath.Join(dir, "elsewhere", "hand.pem")
	pemFile(t, elsewhere)
	linked := filepath.Join(store.Dir, "example.net")
	if err := errors.Join(os.Mkdir(linked, 0o700), os.Symlink(elsewhere, filepath.Join(linked, "hand.pem"))); err != nil {
		t.Fatal(err)
	}

	p := startProgram(t, dir, text, exec.Command(file))
	p.says("msg=confined landlock_abi=")
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil || len(threads) < 2 {
		t.Fatal(threads, err)
	}
	for _, thread := range threads {
		if status, err := os.ReadFile(thread); err == nil && !strings.Contains(string(status), "NoNewPrivs:\t1\n") {
			t.Errorf("a thread is not confined: %s", thread)
		}
	}

	play := func(client, author, want string) {
		t.Helper()
		m := testmilter.Dial(t, "unix", p.socket)
		defer m.Close()
		m.ConnectFrom(netip.MustParseAddr(client), "helo.example")
		if replies := strings.Join(m.Message(author, "From\x00 "+author+"\x00"), "\n"); !strings.Contains(replies, want) {
			t.Errorf("%s: %q", author, replies)
		}
	}
	play("127.0.0.1", "ann@example.org", "DKIM-Signature")
	play("192.0.2.1", "ann@example.com", "spf=fail")
	p.until("the observation of the linked key is recorded", func() bool {
		_, err := os.Stat(filepath.Join(dir, "state", "observed", "example.net", "hand.json"))
		return err == nil
	})

	imported("example.edu")
	p.says("domain=example.edu selector=key")
	play("127.0.0.1", "ann@example.edu", "DKIM-Signature")
	if _, err := os.Stat(filepath.Join(dir, "state", "hosted", "example.edu")); err != nil {
		t.Error(err)
	}
	put(t, filepath.Join(dir, "state", "reports", "status", "received.json"), `{"last_run":"2026-12-01T06:00:00Z","ok":true}`)
	p.scraped(t)

	p.hangup("mode = \"observe\"\n" + text)
	if log := p.log.String(); !strings.Contains(log, "changed=mode mode=observe") {
		t.Error(log)
	}
	p.stop()
	if _, err := os.Lstat(p.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket after the end: %v", err)
	}
	if log := p.log.String(); strings.Contains(log, "permission denied") {
		t.Error(log)
	}
}

// scraped checks the metrics of the process.
func (p *program) scraped(t *testing.T) {
	t.Helper()
	at := regexp.MustCompile(`metrics server started" listen=(\S+)`).FindStringSubmatch(p.log.String())
	if at == nil {
		t.Fatal(p.log)
	}
	if status, body := get(t, "http://"+at[1]+"/readyz"); status != 200 {
		t.Errorf("/readyz: %d %s", status, body)
	}
	_, scrape := get(t, "http://"+at[1]+"/metrics")
	for _, name := range []string{"cpu_seconds_total", "resident_memory_bytes", "start_time_seconds", "open_fds", "max_fds", "network_receive_bytes_total"} {
		if !strings.Contains(scrape, "\nprocess_"+name+" ") {
			t.Errorf("not in the scrape: process_%s", name)
		}
	}
	if !strings.Contains(scrape, "\nsignpost_reports_read_success 1\n") {
		t.Error("the confined daemon cannot read the result of signpost reports read")
	}
}

// If the new configuration contains a path outside the directories that were known at the start, a reload fails with a hint. The old
// configuration stays in effect.
func confinedRefuses(t *testing.T, file string) {
	const servers = "[dns]\nservers = [\"127.0.0.1:1\"]\n"
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	pemFile(t, filepath.Join(other, "example.net", "key.pem"))
	cmd := exec.Command(file)
	cmd.Env = []string{"TZ=Asia/Tokyo"}
	p := startProgram(t, dir, servers, cmd)
	if log := p.log.String(); !strings.HasPrefix(log, "time=") || strings.Count(log, "+09:00 ") != strings.Count(log, "\n") {
		t.Errorf("the log is not in local time: %s", log)
	}
	for text, want := range map[string]string{
		servers + "[sign]\nkeys_dir = \"" + other + "\"\n": "open " + other + ": permission denied",
		"": "open /etc/resolv.conf: permission denied",
	} {
		p.hangup(text)
		if log := p.log.String(); !strings.Contains(log, want) || !strings.Contains(log, "needs a restart") || !strings.Contains(log, "the previous one stays in effect") {
			t.Errorf("%q: %s", text, log)
		}
	}
	keysDir := filepath.Join(dir, "state", "keys", "example.org")
	if err := errors.Join(os.Mkdir(keysDir, 0o700), os.Symlink(filepath.Join(other, "example.net", "key.pem"), filepath.Join(keysDir, "key.pem"))); err != nil {
		t.Fatal(err)
	}
	p.says("the daemon must be restarted to open links to other directories")
}

// dmarc.forwarders_file may be in a separate directory, may be a link into another directory, and may be created after the start. Each
// reload reads the file. If its directory was unknown at the start, a restart is needed.
func confinedForwarders(t *testing.T, file string) {
	const servers = "[dns]\nservers = [\"127.0.0.1:1\"]\n"
	dir := t.TempDir()
	in := func(path string) string { return filepath.Join(dir, path) }
	text := servers + "[dmarc]\nforwarders_file = \"" + in("accepted/forwarders.toml") + "\"\n"
	entry := func(domain string) string {
		return "[[forwarder]]\nsealer = \"" + domain + "\"\ncomment = \"x\"\nexpires = 2099-01-01\n"
	}
	put(t, in("real/forwarders.toml"), entry("a.example"))
	if err := errors.Join(os.Mkdir(in("accepted"), 0o700), os.Symlink(in("real/forwarders.toml"), in("accepted/forwarders.toml"))); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, dir, text, exec.Command(file))
	p.says("msg=confined landlock_abi=")
	reload := func(text, want string) {
		t.Helper()
		p.hangup(text)
		if log := p.log.String(); !strings.Contains(log, want) {
			t.Errorf("%q: %s", text, log)
		}
	}
	reload(text, `changed=""`)
	put(t, in("real/forwarders.toml"), entry("b.example"))
	reload(text, "changed=dmarc.forwarders_file")
	put(t, in("accepted/forwarders.toml"), entry("c.example")) // replaces the link
	reload(text, "changed=dmarc.forwarders_file")
	if err := os.Remove(in("accepted/forwarders.toml")); err != nil {
		t.Fatal(err)
	}
	reload(text, "changed=dmarc.forwarders_file")
	put(t, in("accepted/forwarders.toml"), "[[forwarder]]\n")
	reload(text, in("accepted/forwarders.toml")+":1: ")
	put(t, in("other/forwarders.toml"), entry("d.example"))
	reload(strings.ReplaceAll(text, "accepted", "other"), "other/forwarders.toml: permission denied; check the owner and mode of the path")
}

// conf.d may be created after the start. It may be a link to a directory that contains links. Each reload reads it. A restart is needed if
// a link was created after the start and leads out of the known directories.
func confinedDropIns(t *testing.T, file string) {
	const servers = "[dns]\nservers = [\"127.0.0.1:1\"]\n"
	dir := t.TempDir()
	in := func(path string) string { return filepath.Join(dir, path) }
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(in(target), in(name)); err != nil {
			t.Fatal(err)
		}
	}
	p := startProgram(t, dir, servers, exec.Command(file))
	reload := func(want string) {
		t.Helper()
		p.hangup(servers)
		if log := p.log.String(); !strings.Contains(log, want) {
			t.Errorf("%s, want %s", log, want)
		}
	}
	put(t, in("etc/conf.d/a.toml"), "mode = \"observe\"\n")
	reload("changed=mode mode=observe")
	put(t, in("etc/conf.d/b.toml"), "modus = 1\n")
	reload(in("etc/conf.d/b.toml") + ":1: modus: unknown key")
	if err := os.Remove(in("etc/conf.d/b.toml")); err != nil {
		t.Fatal(err)
	}
	put(t, in("elsewhere/c"), "authserv_id = \"mx.example\"\n")
	link("elsewhere/c", "etc/conf.d/c.toml")
	reload("permission denied; check the owner and mode of the path")
	p.stop()

	// After a restart, the daemon follows the link. Here the directory is a link as well.
	if err := os.Rename(in("etc/conf.d"), in("drop-ins")); err != nil {
		t.Fatal(err)
	}
	link("drop-ins", "etc/conf.d")
	p = startProgram(t, dir, servers, exec.Command(file))
	reload("changed=\"\" mode=observe")
	put(t, in("elsewhere/c"), "authserv_id = \"mx2.example\"\n")
	put(t, in("drop-ins/a.toml"), "mode = \"enforce\"\n")
	reload("changed=\"authserv_id mode\" mode=enforce")
	if err := os.Remove(in("etc/conf.d")); err != nil {
		t.Fatal(err)
	}
	reload("changed=authserv_id mode=enforce")
}

// TestForbidHelper runs in the second process of landlockForbidden. It executes the daemon as in a container that forbids the system
// calls of Landlock.
func TestForbidHelper(t *testing.T) {
	program, ok := os.LookupEnv("SIGNPOST_FORBID")
	if !ok {
		return
	}
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_LANDLOCK_CREATE_RULESET, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		t.Fatal(err)
	}
	i := 1
	for os.Args[i] != "serve" {
		i++
	}
	t.Fatal(syscall.Exec(program, append([]string{program}, os.Args[i:]...), os.Environ()))
}

// If Landlock is forbidden, the daemon logs that once, and continues.
func landlockForbidden(t *testing.T, file string) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestForbidHelper$")
	cmd.Env = []string{"SIGNPOST_FORBID=" + file}
	p := startProgram(t, t.TempDir(), "[dns]\nservers = [\"127.0.0.1:1\"]\n", cmd)
	if log := p.log.String(); strings.Count(log, `level=WARN msg="not confined" error="the kernel or the container does not support Landlock: operation not permitted"`) != 1 {
		t.Error(log)
	}
	testmilter.Dial(t, "unix", p.socket).Handshake()
}
