package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/internal/testmilter"
)

// lines is a log. A test can wait for a text in this log.
type lines struct {
	mu   sync.Mutex
	more *sync.Cond
	buf  bytes.Buffer
}

func newLines() *lines {
	l := &lines{}
	l.more = sync.NewCond(&l.mu)
	return l
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.more.Broadcast()
	return l.buf.Write(p)
}

// after waits for a text and returns the log up to the end of its line. The next call starts after that line. It waits until the
// timeout of the test.
func (l *lines) after(text string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !strings.Contains(l.buf.String(), text) {
		l.more.Wait()
	}
	i := strings.Index(l.buf.String(), text) + len(text)
	i += strings.IndexByte(l.buf.String()[i:], '\n') + 1
	return string(l.buf.Next(i))
}

// running is a daemon in this process.
type running struct {
	*service
	t      testing.TB
	dir    string
	log    *lines
	result chan bool
}

func start(t *testing.T, text string) *running {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "state", "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, dir: dir, log: newLines(), result: make(chan bool, 1)}
	r.write(text)
	file := filepath.Join(dir, "signpost.toml")
	conf, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	r.service = &service{Options: Options{Config: conf, File: file, Stderr: r.log}, reloaded: func(ok bool) { r.result <- ok }}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	r.log.after("signpost started")
	return r
}

// write writes the configuration. It contains text, and those settings that each daemon in these tests needs and that text does not set.
func (r *running) write(text string) {
	base := ""
	for _, line := range []string{
		fmt.Sprintf("listen = [\"unix:%s/milter.sock\"]", r.dir), "socket_group = \"\"", fmt.Sprintf("state_dir = %q", filepath.Join(r.dir, "state")),
	} {
		if !strings.Contains("\n"+text, "\n"+strings.Fields(line)[0]+" ") {
			base += line + "\n"
		}
	}
	text = strings.ReplaceAll(base+text, "DIR", r.dir)
	if !strings.Contains(text, "[dns]") {
		text += "\n[dns]\nservers = [\"127.0.0.1:1\"]\n"
	}
	r.put("signpost.toml", text)
}

// put writes a file below the directory of the test.
func (r *running) put(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		r.t.Fatal(err)
	}
}

// hangup writes the configuration, sends SIGHUP, and waits for the end of the reload. It returns the log up to that point, and whether
// the reload succeeded.
func (r *running) hangup(text string) (log string, ok bool) {
	r.write(text)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		r.t.Fatal(err)
	}
	return r.log.after("(SIGHUP)"), <-r.result
}

func (r *running) dial() *testmilter.MTA {
	m := testmilter.Dial(r.t, "unix", filepath.Join(r.dir, "milter.sock"))
	m.Connect()
	return m
}

// A message keeps the rules that were in effect when it began. The next message on the same connection has the new rules.
func TestReloadUnderMail(t *testing.T) {
	const hostile = "From\x00 ann@a.example\x00"
	r := start(t, "")
	m := r.dial()
	m.Send('M', "<>\x00")
	m.Send('R', "<bob@example.net>\x00")
	m.Send('L', hostile)
	for r.messages.Load() == 0 {
		runtime.Gosched()
	}
	if log, ok := r.hangup("mode = \"observe\"\n"); !ok || !strings.Contains(log, "mode=observe") {
		t.Fatal(log)
	}
	m.Send('L', hostile)
	m.Send('N', "")
	m.Send('E', "")
	if a := m.Answers(); !strings.HasPrefix(a[len(a)-1], "y550") {
		t.Errorf("the message in progress was answered %q", a)
	}
	if a := m.Message("", hostile, hostile); !strings.HasPrefix(a[len(a)-1], "c") && !strings.HasPrefix(a[len(a)-1], "a") {
		t.Errorf("the next message was answered %q", a)
	}
}

// If the configuration is invalid, or the keys cannot be read, a reload changes nothing.
func TestReloadBroken(t *testing.T) {
	r := start(t, "")
	before := r.now.Load()
	for text, want := range map[string]string{
		"mode = \"enforce\"\nmodus = 1\n":           "signpost.toml:5: modus: unknown key",
		"[sign]\nkeys_dir = \"DIR/nowhere\"\n":      "nowhere",
		"[sign\n":                                   "signpost.toml:4: syntax error",
		"mode = \"observe\"\n[spf]\nfail = \"x\"\n": "signpost.toml:6: spf.fail",
	} {
		if log, ok := r.hangup(text); ok || !strings.Contains(log, want) || !strings.Contains(log, "level=ERROR") {
			t.Errorf("%q: %v %s, want %s", text, ok, log, want)
		}
	}
	if r.now.Load() != before {
		t.Error("a broken configuration is in effect")
	}
	if log, ok := r.hangup(""); !ok || !strings.Contains(log, "changed=\"\"") {
		t.Error(log)
	}
}

// A reload reads conf.d again after files were added, changed or deleted. If a file is invalid, the reload changes nothing.
func TestReloadDropIns(t *testing.T) {
	r := start(t, "[spf]\nfail = \"reject\"\n")
	file := filepath.Join(r.dir, "conf.d", "a.toml")
	reload := func(text, want string, good bool) {
		t.Helper()
		if text == "" {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		} else {
			r.put("conf.d/a.toml", text)
		}
		if log, ok := r.hangup("[spf]\nfail = \"reject\"\n"); ok != good || !strings.Contains(log, want) {
			t.Errorf("%q: %s, want %s", text, log, want)
		}
	}
	reload("mode = \"observe\"\n", "changed=mode mode=observe", true)
	reload("mode = \"observe\"\nauthserv_id = \"mx.example\"\n", "changed=authserv_id mode=observe", true)
	before := r.now.Load()
	reload("mode = \"observe\"\n[spf]\nfail = \"x\"\n", file+":3: spf.fail: ", false)
	reload("mode = \n", file+":1: syntax error: ", false)
	if r.now.Load() != before {
		t.Error("a broken drop-in is in effect")
	}
	reload("authserv_id = \"mx.example\"\nlisten = [\"unix:/nowhere/s\"]\n[spf]\nfail = \"dmarc\"\n", "listen: needs a restart", true)
	if now := r.now.Load(); now.conf.SPF.Fail != "dmarc" || now.conf.Observe {
		t.Errorf("the changed drop-in is not in effect: %+v", now.conf)
	}
	reload("", "changed=\"authserv_id spf.fail\" mode=enforce", true)
}

// For each key of the configuration, one of three things is true. The key takes effect at a reload, the log states that it needs a
// restart, or only dkimkey or signpost reports uses it. These need no reload, because they read the file each time they run.
func TestReloadEveryKey(t *testing.T) {
	values := map[string]string{
		"mode": `"observe"`, "listen": `["unix:/nowhere/s"]`, "socket_mode": `"0600"`, "socket_group": `"other"`, "authserv_id": `"mx.example"`,
		"authserv_aliases": `["old.example"]`, "trusted_networks": `[]`, "state_dir": `"/nowhere"`,
		"domains.tables": `["static:x"]`, "domains.server": `"unix:/nowhere/s"`, "domains.timeout": `"3s"`,
		"dns.servers": `["127.0.0.1:2"]`, "dns.timeout": `"3s"`, "dns.message_timeout": `"30s"`,
		"sign.keys_dir": `"DIR/state"`, "sign.domains": `["a.example"]`, "sign.subdomains": `false`, "sign.expire": `"6d"`,
		"sign.on_missing_key": `"hold"`, "sign.login_maps": `["static:x"]`, "sign.login_local": `["a.example"]`, "sign.login_unlisted": `"reject"`,
		"sign.login_sender": `true`, "sign.login_mismatch": `"log"`, "recipient_delimiter": `"+"`,
		"sign.login_domains":   `{ a = ["a.example"] }`,
		"verify.skip_networks": `["192.0.2.1"]`, "verify.hostile_from": `"tag"`,
		"dmarc.reject": `"never"`, "dmarc.quarantine": `"hold"`, "dmarc.quarantine_handled": `true`, "dmarc.temperror": `"tempfail"`, "dmarc.trusted_forwarders": `["192.0.2.1"]`,
		"dmarc.trusted_sealers": `["a.example"]`, "dmarc.forwarders_file": `"DIR/accepted.toml"`, "dmarc.domain": `{ "a.example" = { reject = "never" } }`, "spf.fail": `"reject"`,
		"allow":           `[{ domain = "a.example", comment = "x", expires = 2099-01-01 }]`,
		"deny":            `[{ domain = "a.example", comment = "x", expires = 2099-01-01 }]`,
		"keys.algorithms": `["rsa", "ed25519"]`, "keys.rsa_bits": `3072`, "keys.rotate_every": `"30d"`, "keys.retire_after": `"20d"`, "keys.keep_revoked": `"9d"`,
		"keys.selectors": `{ rsa = ["a", "b", "c"] }`, "keys.resolver": `"127.0.0.1:3"`,
		"publish.server": `"127.0.0.1:4"`, "publish.domain": `{ "a.example" = { server = "127.0.0.1:5" } }`,
		"journal.enabled": `false`, "journal.keep": `"2d"`, "journal.max_size": `"64MiB"`, "journal.addresses": `"full"`,
		"reports.send.from": `"dmarc@reports.example"`, "reports.send.contact": `"a@b.example"`, "reports.send.retention": `"60d"`,
		"reports.receive.addresses": `["dmarc@a.example"]`, "reports.receive.retention": `"60d"`,
		"metrics.listen": `"127.0.0.1:0"`, "cluster.database": `"mysql://u@h/d"`, "log.level": `"debug"`, "log.format": `"json"`, "log.syslog": `"mail"`,
	}
	r := start(t, "")
	accepted := "[[forwarder]]\nsealer = \"a.example\"\ncomment = \"x\"\nexpires = 2099-01-01\n"
	r.put("accepted.toml", accepted)
	for _, key := range config.KeyNames() {
		value, known := values[key]
		if strings.HasPrefix(key, "keys.selectors.") || strings.HasPrefix(key, "publish.") && !known {
			continue // keys.selectors.X is logged as keys.selectors; only dkimkey uses publish.X
		}
		if key == "reports.send.enabled" {
			continue // it requires other keys, and only signpost reports uses it
		}
		if key == "reports.receive.discard" {
			continue // it requires addresses: TestReloadDiscard
		}
		if !known {
			value = someValue(t, key)
		}
		before := effect(r.now.Load())
		text := setting(key, value)
		if strings.HasPrefix(key, "dns.") && key != "dns.servers" {
			text += "servers = [\"127.0.0.1:1\"]\n"
		}
		log, ok := r.hangup(text)
		if !ok {
			t.Errorf("%s: %s", key, log)
			continue
		}
		restart := strings.Contains(log, "\""+key+": needs a restart\"")
		effective := !reflect.DeepEqual(before, effect(r.now.Load()))
		switch {
		case strings.HasPrefix(key, "cluster."): // used by signpost-cluster
			if restart || effective || !strings.Contains(log, "\""+key+": needs a restart of signpost-cluster\"") {
				t.Errorf("%s is used by signpost-cluster, but the reload logs or changes something else: %s", key, log)
			}
		case strings.HasPrefix(key, "keys.") && key != "keys.resolver", // used only by dkimkey
			strings.HasPrefix(key, "reports.") && !strings.HasPrefix(key, "reports.receive.addr") && key != "reports.send.from": // used only by signpost reports
			if restart || effective || !strings.Contains(log, "changed="+key) {
				t.Errorf("%s is used only by another program, but the reload logs or changes something else: %s", key, log)
			}
		case restart == effective:
			t.Errorf("%s: took effect %v, needs a restart %v; pass it on in internal/setup, or add it to restartKeys in reload.go: %s", key, effective, restart, log)
		case effective && !strings.Contains(log, "changed="+key):
			t.Errorf("%s is not logged as changed: %s", key, log)
		}
		if log, ok := r.hangup(""); !ok || strings.Contains(log, "needs a restart\"") || !reflect.DeepEqual(before, effect(r.now.Load())) {
			t.Errorf("%s: the previous configuration was not restored: %s", key, log)
		}
	}
}

// setting returns the text of a file that sets one key.
func setting(key, value string) string {
	if table, name, ok := strings.Cut(key, "."); ok {
		return "[" + table + "]\n" + name + " = " + value + "\n"
	}
	return key + " = " + value + "\n"
}

// someValue returns a valid value of a key other than the key's default. If the key has a list of words, the error for an unknown word
// contains these words.
func someValue(t *testing.T, key string) string {
	t.Helper()
	values := []string{`true`, `false`, `3`, `3000`, `"30s"`, `"2h"`, `"3d"`, `"40MiB"`, `"127.0.0.1:6"`, `"/nowhere"`, `["192.0.2.1"]`, `["a.example"]`, `"?"`}
	for i := 0; i < len(values); i++ {
		c, err := config.Parse("signpost.toml", []byte(setting(key, values[i])))
		if err == nil && len(config.Changed(config.Default(), c)) > 0 {
			return values[i]
		}
		if words, ok := strings.CutSuffix(fmt.Sprint(err), `, not "?"`); ok {
			values = append(values, regexp.MustCompile(`"[^"]+"`).FindAllString(words, -1)...)
		}
	}
	t.Fatalf("no value is known for %s: add one to TestReloadEveryKey", key)
	return ""
}

// effect returns all values of a generation that affect the behaviour of the daemon.
func effect(g *generation) []any {
	f := *g.filter
	f.Keys, f.Resolver, f.Now, f.Log, f.Finished, f.Listed, f.Owners = nil, nil, nil, nil, nil, nil, nil
	return []any{f, g.conf.Tables(), g.conf.Sign.LoginLocal, g.conf.RecipientDelimiter, g.level, g.servers, g.conf.DNS.Timeout, g.conf.KeysDir(), g.conf.HostedDir(), g.conf.Keys.Resolver, JournalLimits(g.conf), g.checker.Authority.(*dns.Authority).Known, g.conf.TagUnhandled()}
}
