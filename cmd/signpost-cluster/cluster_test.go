package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/cluster/messages"
	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/internal/testsql"
	"signpost/keys"
	"signpost/policy"
)

// machine is a host of a cluster: a configuration and a state directory.
type machine struct {
	*testing.T
	name, dir string
	database  string
	stop      func() // stops the process of run; nil: it is not running
}

func newMachine(t *testing.T, name, database string) *machine {
	t.Helper()
	m := &machine{T: t, name: name, dir: t.TempDir(), database: database}
	m.put("c.toml", fmt.Sprintf("state_dir = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\ntimeout = \"50ms\"\n[cluster]\ndatabase = %q\nname = %q\nkey_file = %q\nsocket = %q\n",
		m.path("state"), database, name, m.path("key"), m.path("s")))
	if err := os.MkdirAll(m.path("state", "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.end() })
	return m
}

func (m *machine) path(names ...string) string {
	return filepath.Join(append([]string{m.dir}, names...)...)
}

func (m *machine) put(name, text string) {
	m.Helper()
	if err := os.WriteFile(m.path(name), []byte(text), 0o600); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) get(name string) string {
	data, err := os.ReadFile(m.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.Fatal(err)
	}
	return string(data)
}

// anyCode accepts every exit code.
const anyCode = -1

// command runs a command and returns its output.
func (m *machine) command(want int, args ...string) string {
	m.Helper()
	var out bytes.Buffer
	if got := run(m.Context(), append(args, "-c", m.path("c.toml")), &out, &out); got != want && want != anyCode {
		m.Fatalf("%s: %q: exit code %d, want %d\n%s", m.name, args, got, want, &out)
	}
	return out.String()
}

// begin starts run, and waits until it answers.
func (m *machine) begin() {
	m.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var out bytes.Buffer
	running.Go(func() { run(ctx, []string{"run", "-c", m.path("c.toml")}, io.Discard, &out) })
	m.stop = func() {
		cancel()
		running.Wait()
		if m.Failed() {
			m.Logf("%s:\n%s", m.name, &out)
		}
	}
	m.until("the first synchronization", func() bool { return m.get("state/cluster/status.json") != "" })
}

func (m *machine) end() {
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
}

func (m *machine) until(what string, done func() bool) {
	m.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.Fatalf("%s: not within a minute: %s", m.name, what)
		}
	}
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("not in the output: %s\n%s", part, text)
		}
	}
}

// Two hosts are set up as docs/cluster.md describes: the second has the keys and the rules of the first. The user of the hosts needs only the
// rights that init prints. A host that left is no longer waited for, and does not synchronize until it joins again.
func TestTwoHosts(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *testsql.Server{"MariaDB": testsql.MariaDB, "PostgreSQL": testsql.PostgreSQL} {
		t.Run(name, func(t *testing.T) { twoHosts(t, start(t)) })
	}
}

func twoHosts(t *testing.T, server *testsql.Server) {
	database := server.Database()
	owner := server.URL(database)
	user := limitedUser(server, database, owner)
	a, b := newMachine(t, "a", user), newMachine(t, "b", user)
	store := keys.Store{State: a.path("state"), Dir: a.path("state", "keys"), Now: time.Now}
	if _, err := store.Create(keys.Options{Domain: "example.org", Selector: "s1", Algorithm: "ed25519", Publish: "manual"}); err != nil {
		t.Fatal(err)
	}

	contains(t, a.command(1, "join"), "hint: ")
	a.put("owner", owner+"\n")
	out := a.command(0, "init", "--owner", a.path("owner"))
	contains(t, out, "The cluster is created. This host is registered as a.", "GRANT SELECT, INSERT, UPDATE ON ", ":"+a.path("c.toml")+" ", ":"+a.path("key")+" ", "signpost cluster join")
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "GRANT ") {
			server.Run(database, line)
		}
	}
	contains(t, a.command(0, "init", "--owner", a.path("owner")), "The cluster exists")
	contains(t, b.command(1, "join"), "site key")
	contains(t, b.command(1, "init", "--owner", a.path("owner")), "belongs to a cluster", "signpost cluster join")
	if b.get("key") != "" {
		t.Error("init left a site key that the cluster does not have")
	}
	b.put("key", a.get("key"))
	contains(t, b.command(0, "join"), "The hosts are: a, b")
	if a, b := a.get("state/keys/example.org/s1.pem"), b.get("state/keys/example.org/s1.pem"); a == "" || a != b {
		t.Error("the second host does not have the key of the first")
	}

	a.begin()
	b.begin()
	if fi, err := os.Stat(a.path("s")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("other users can send commands to the control socket: %v, %v", fi, err)
	}
	b.put("state/cluster/rules.toml", "# ticket 1\n[[deny]]\ndomain = \"example.com\"\ncomment = \"x\"\nexpires = 2099-01-01\n")
	a.until("the rule of b", func() bool {
		return strings.Contains(a.get("state/cluster/rules.toml"), "# ticket 1\n[[deny]]\ndomain = \"example.com\"\n")
	})
	a.until("a leader", func() bool {
		return strings.Contains(a.command(anyCode, "status"), "leader a") || strings.Contains(a.command(anyCode, "status"), "leader b")
	})
	contains(t, a.command(0, "status"), "HOST", "a (this host)", "b ")
	contains(t, b.command(0, "status", "--json"), `"site"`, `"hosts"`)
	a.receive("4AA1")
	client := control.Client{Socket: b.path("s")}
	b.until("the message of a", func() bool {
		found, err := messages.Find(t.Context(), client, "4AA1")
		return err == nil && len(found.Messages) == 1 && found.Messages[0].Host == "a" && found.Messages[0].Action == policy.Reject
	})
	if list, err := messages.Newest(t.Context(), client, messages.Search{Query: journal.Query{Domain: "author.example"}}, 10); err != nil || len(list.Messages) != 1 {
		t.Errorf("%+v, %v", list, err)
	} else if got, err := messages.Get(t.Context(), client, messages.Position{ID: list.Messages[0].ID, Host: "a"}); err != nil || len(got.Messages) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	a.until("the number of copied messages", func() bool {
		return strings.Contains(a.command(anyCode, "status"), "messages of this host in the database: 1 copied, 0 wait, 0 lost")
	})
	contains(t, a.command(1, "leave", "c"), "c is not a host of the cluster")
	b.end()
	contains(t, a.command(0, "leave", "b"), "Host b is no longer a host of the cluster.")
	if out := a.command(0, "status"); strings.Contains(out, "b  ") {
		t.Errorf("the host that left is still listed:\n%s", out)
	}
	if err := os.Remove(b.path("state/cluster/status.json")); err != nil {
		t.Fatal(err)
	}
	b.begin()
	contains(t, b.command(1, "status"), "host b was removed from the cluster", "hint: ")
	contains(t, b.command(0, "join"), "The hosts are: a, b")

	// A new site key is used when both hosts have it.
	contains(t, a.command(1, "rekey"), "these hosts do not have the site key", ": b\n", "scp ")
	b.put("key", a.get("key"))
	b.until("the new site key", func() bool {
		return strings.Count(b.get("state/cluster/status.json"), `"key_ids":["`) > 0 && strings.Contains(a.command(anyCode, "rekey"), "Rows sealed")
	})
	if strings.Contains(fmt.Sprint(a.get("state/cluster/status.json"), a.command(anyCode, "status")), "PASSWORD") {
		t.Error("the password is shown")
	}
}

// receive writes a message that was rejected to the journal of the machine.
func (m *machine) receive(queueID string) {
	m.Helper()
	j := journal.Open(journal.Options{Path: m.path("state", "journal", "journal.db"), Limits: journal.Limits{Keep: 24 * time.Hour, MaxSize: 64 << 20, Addresses: journal.Omit},
		Now: time.Now, Log: slog.New(slog.DiscardHandler), Lost: func(c journal.Cause, _ int) { m.Errorf("the journal lost a message: %s", c) }})
	r := &decision.Record{Version: decision.Version, Assignment: policy.Assignment{Role: policy.RoleVerify}, Verdict: policy.Verdict{Action: policy.Reject}}
	r.QueueID, r.Author = queueID, dmarc.Author{Domains: []string{"author.example"}}
	j.Add(r)
	j.Close()
}

// limitedUser creates a user with the password PASSWORD and no rights, and returns the URL for this user.
func limitedUser(server *testsql.Server, database, owner string) string {
	_, rest, _ := strings.Cut(owner, "@")
	if server.Name == "MariaDB" {
		server.Run("", "CREATE USER IF NOT EXISTS 'limited'@'%' IDENTIFIED BY 'PASSWORD'")
		return "mysql://limited:PASSWORD@" + rest
	}
	server.Run("", "CREATE ROLE limited LOGIN PASSWORD 'PASSWORD'")
	return "postgres://limited:PASSWORD@" + rest
}
