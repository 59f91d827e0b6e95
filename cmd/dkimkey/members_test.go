package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"signpost/internal/cluster"
	"signpost/internal/cluster/control"
	"signpost/internal/testsql"
	"signpost/keys"
)

// member is a host: its files, its daemon, its cluster process and its cron.
type member struct {
	*house
	site     *site
	name     string
	skew     time.Duration // of its clock
	off      bool          // the machine is off
	down     bool          // the cluster process does not run
	proxy    *testsql.Proxy
	db       *cluster.DB
	node     *cluster.Host
	control  *http.Server
	listener net.Listener
	socket   string
	watcher  *keys.Watcher
	guard    *keys.Guard
	log      logBuffer
	since    time.Time // when it joined
}

// logBuffer is a log that several goroutines write.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *logBuffer) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// lines returns the lines with a text, and clears the log.
func (j *logBuffer) lines(text string) (found []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	j.text.Reset()
	return found
}

func (m *member) now() time.Time { return m.site.now().Add(m.skew) }

// newMember returns a new machine. It has not joined.
func (s *site) newMember(name string) *member {
	s.Helper()
	dir, err := os.MkdirTemp("", "socket") // t.TempDir may be too long for a socket
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	m := &member{site: s, name: name, socket: filepath.Join(dir, "s")}
	m.house = houseAt(s.T, "127.0.0.1:1", 1, s.more+fmt.Sprintf("[cluster]\ndatabase = \"%s\"\nname = %q\nkey_file = %q\nsocket = %q\n", "mysql://u@h/d", name, s.keyFile, m.socket))
	m.house.dns, m.env.authority, m.env.publisher = s.dns, s.dns, s.dns
	m.env.now, m.env.newRSA = m.now, s.newRSA
	m.proxy = s.server.Proxy(s.T)
	if m.db, err = cluster.Open(strings.Replace(m.proxy.URL(s.name), "signpost:", "host:", 1)); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { m.db.Close() })
	if err := os.MkdirAll(m.keyStore().Dir, 0o700); err != nil {
		s.Fatal(err)
	}
	m.start()
	s.Cleanup(m.stop)
	return m
}

// join registers a machine.
func (s *site) join(name string) *member {
	s.Helper()
	m := s.newMember(name)
	if _, err := m.node.Join(s.Context()); err != nil {
		s.Fatal(err)
	}
	s.add(m)
	return m
}

func (s *site) add(m *member) {
	m.since = s.now()
	s.members = append(s.members, m)
}

func (m *member) keyStore() keys.Store {
	store := m.store()
	store.Now = m.now
	return store
}

// start starts the daemon and the cluster process.
func (m *member) start() {
	m.Helper()
	log := slog.New(slog.NewTextHandler(&m.log, nil))
	checker := &keys.Checker{Authority: m.site.dns}
	var err error
	if m.watcher, err = keys.Open(m.keyStore(), log); err != nil {
		m.Fatal(err)
	}
	m.guard = &keys.Guard{Watcher: m.watcher, Checker: checker, Now: m.now, Log: log}
	m.node = cluster.New(cluster.Options{DB: m.db, KeyFile: m.site.keyFile, Store: m.keyStore(), Name: m.name, Program: "test", Now: m.now, Log: log,
		Verify: func(ctx context.Context, domain, selector string) (bool, error) {
			set, err := m.keyStore().LoadDomain(domain, nil)
			if err != nil {
				return false, err
			}
			for _, k := range set.Of(domain) {
				if k.Selector == selector && k.Metadata != nil {
					return checker.Look(ctx, k.Metadata, k.Signer).Outcome().Ready, nil
				}
			}
			return false, nil
		}})
	if m.listener, err = net.Listen("unix", m.socket); err != nil {
		m.Fatal(err)
	}
	n := m.node
	m.control = &http.Server{Handler: control.Server{Lease: n.Lease, Lead: n.Lead, Missing: n.Missing, Sync: n.Sync, Status: n.Status}.Handler()}
	go func(l net.Listener) { _ = m.control.Serve(l) }(m.listener)
}

// stop stops the cluster process. Its lease is not released, as after a crash.
func (m *member) stop() {
	m.control.Close()
	m.listener.Close() // Serve may not have begun, and then Close does not know the listener
}

// restart restarts the daemon and the cluster process.
func (m *member) restart() {
	m.Helper()
	m.stop()
	m.start()
}

// rotate runs the daily job. Exit code 1 (action needed) is allowed.
func (m *member) rotate() {
	m.Helper()
	out, code := m.run("rotate")
	if out != "" && !strings.Contains(out, "rotates the keys of this cluster") {
		fmt.Fprintf(&m.site.out, "%s %s: rotate: %d\n%s", m.site.at(), m.name, code, events(out))
	}
	if code > 1 {
		m.Errorf("%s: %s: dkimkey rotate: exit code %d\n%s", m.site.at(), m.name, code, out)
	}
	m.site.judge(m)
}

// files returns the contents of the key files and of the hosted domains of a host, by path. Metadata of a key whose creation was interrupted
// is omitted, because only a run on the same host deletes it.
func (m *member) files() map[string]string {
	m.Helper()
	all := map[string]string{}
	for _, dir := range []string{"keys", "hosted"} {
		root := filepath.Join(m.dir, "state", dir)
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if dir == "hosted" {
				data = nil
			}
			all[strings.TrimPrefix(path, filepath.Dir(root))] = string(data)
			return err
		})
		if err != nil {
			m.Error(err)
		}
	}
	maps.DeleteFunc(all, func(path, text string) bool {
		selector, isMetadata := strings.CutSuffix(path, ".json")
		_, hasKey := all[selector+".pem"]
		return isMetadata && !hasKey && !strings.Contains(text, `"published"`)
	})
	return all
}
