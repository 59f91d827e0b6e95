package cluster_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/cluster"
	"signpost/internal/cluster/control"
	"signpost/internal/testsql"
	"signpost/keys"
)

// TestPostgreSQL and TestMariaDB run the same tests.
func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	suite(t, testsql.PostgreSQL(t))
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	suite(t, testsql.MariaDB(t))
}

func suite(t *testing.T, server *testsql.Server) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *site)
	}{
		{"Init", testInit}, {"OlderSchema", testOlderSchema}, {"BothWays", testBothWays}, {"Life", testLife}, {"Conflict", testConflict},
		{"NeverBackwards", testNeverBackwards}, {"Revoked", testRevoked}, {"Removal", testRemoval}, {"LostFiles", testLostFiles},
		{"Join", testJoin}, {"Restore", testRestore}, {"Lease", testLease}, {"LeaseExpires", testLeaseExpires}, {"Members", testMembers},
		{"Attacker", testAttacker}, {"Repair", testRepair}, {"Flood", testFlood}, {"LostSuccessor", testLostSuccessor},
		{"Faults", testFaults}, {"Rekey", testRekey}, {"Rules", testRules}, {"Names", testNames},
		{"Items", testItems}, {"ItemsPages", testItemsPages}, {"ItemsForged", testItemsForged}, {"ItemsExpire", testItemsExpire}, {"ItemsRekey", testItemsRekey},
		{"Ship", testShip}, {"ShipCrash", testShipCrash}, {"ShipOutage", testShipOutage}, {"ShipForged", testShipForged},
		{"ShipExpiry", testShipExpiry}, {"ShipParts", testShipParts}, {"ShipAgain", testShipAgain}, {"HashKey", testHashKey}, {"ShipForget", testShipForget},
		{"SearchHangs", testSearchHangs}, {"ShipAddresses", testShipAddresses},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &site{t: t, server: server, database: server.Database(), keyFile: filepath.Join(t.TempDir(), "cluster.key")}
			s.setKeys(cluster.NewSiteKey())
			if c.name != "Init" && c.name != "OlderSchema" {
				s.init()
			}
			c.run(t, s)
		})
	}
}

// site is a database and the hosts that use it.
type site struct {
	t        *testing.T
	server   *testsql.Server
	database string
	keyFile  string
}

func (s *site) setKeys(lines ...string) {
	s.t.Helper()
	if err := os.WriteFile(s.keyFile, []byte(strings.Join(lines, "")), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) open(url string) *cluster.DB {
	s.t.Helper()
	db, err := cluster.Open(url)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { db.Close() })
	return db
}

func (s *site) init() (created bool) {
	s.t.Helper()
	k, err := cluster.ReadSiteKeys(s.keyFile)
	if err != nil {
		s.t.Fatal(err)
	}
	if created, err = s.open(s.server.URL(s.database)).Init(s.t.Context(), k); err != nil {
		s.t.Fatal(err)
	}
	return created
}

// sql changes the database as an attacker could, who has all rights.
func (s *site) sql(format string, args ...any) string {
	s.t.Helper()
	return s.server.Run(s.database, fmt.Sprintf(format, args...))
}

// host is a host of the cluster, with its own state directory and clock.
type host struct {
	*cluster.Host
	t     *testing.T
	store keys.Store
	log   *lines
	ahead time.Duration // of its clock
	name  string
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take returns the log since the last call.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func (s *site) host(name string) *host { return s.hostAt(name, s.server.URL(s.database)) }

func (s *site) hostAt(name, url string) *host {
	s.t.Helper()
	dir := s.t.TempDir()
	h := &host{t: s.t, name: name, log: &lines{}}
	h.store = keys.Store{State: filepath.Join(dir, "state"), Dir: filepath.Join(dir, "keys"), Now: func() time.Time { return time.Now().Add(h.ahead) }}
	for _, d := range []string{h.store.State, h.store.Dir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	s.start(h, url)
	return h
}

// start replaces the process of a host.
func (s *site) start(h *host, url string) {
	s.t.Helper()
	h.Host = cluster.New(cluster.Options{DB: s.open(url), KeyFile: s.keyFile, Store: h.store, Name: h.name, Program: "signpost 0.3.0", Now: h.store.Now,
		Log: slog.New(slog.NewTextHandler(h.log, nil)), Verify: func(context.Context, string, string) (bool, error) { return true, nil }})
}

// joined returns a host that has joined.
func (s *site) joined(name string) *host {
	s.t.Helper()
	h := s.host(name)
	if _, err := h.Join(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return h
}

// sync synchronizes the hosts one after the other.
func sync2(hosts ...*host) {
	for _, h := range hosts {
		h.t.Helper()
		if err := h.Sync(h.t.Context()); err != nil {
			h.t.Fatalf("host %s: %v", h.name, err)
		}
	}
}

// create creates an Ed25519 key.
func (h *host) create(domain, selector string) *keys.Metadata {
	h.t.Helper()
	defer h.lock(domain)()
	m, err := h.store.Create(keys.Options{Domain: domain, Selector: selector, Algorithm: "ed25519", Publish: "manual", Ring: true})
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func (h *host) lock(domain string) (unlock func()) {
	h.t.Helper()
	unlock, err := h.store.Lock(h.t.Context(), domain)
	if err != nil {
		h.t.Fatal(err)
	}
	return unlock
}

// edit changes the metadata of a key as dkimkey does.
func (h *host) edit(domain, selector string, change func(m *keys.Metadata, now *time.Time)) {
	h.t.Helper()
	defer h.lock(domain)()
	files, err := h.store.FilesOf(domain)
	if err != nil || files[selector] == nil {
		h.t.Fatalf("%s %s: %v", domain, selector, err)
	}
	m, err := files[selector].Parsed()
	if err != nil {
		h.t.Fatal(err)
	}
	change(m, new(h.store.Now().UTC()))
	pem := files[selector].PEM
	if s := m.State(); s == keys.Revoked || s == keys.Removed {
		pem = nil
	}
	f, err := keys.FilesFrom(m, pem)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.store.Put(f); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) activate(domain, selector string) {
	h.t.Helper()
	h.edit(domain, selector, func(m *keys.Metadata, now *time.Time) { m.Published, m.Seen, m.Activated = now, now, now })
}

func (h *host) retire(domain, selector string) {
	h.t.Helper()
	h.edit(domain, selector, func(m *keys.Metadata, now *time.Time) { m.Retired = now })
}

func (h *host) revoke(domain, selector string) {
	h.t.Helper()
	h.edit(domain, selector, func(m *keys.Metadata, now *time.Time) { m.Retired, m.Revoked = now, now })
}

// expect checks the state of a key: "none", "unmanaged" or a keys.State, followed by " pem" if there is a private key.
func (h *host) expect(what, domain, selector, want string) {
	h.t.Helper()
	if got := h.stateOf(domain, selector); got != want {
		h.t.Errorf("%s: %s %s on host %s is %q, want %q", what, domain, selector, h.name, got, want)
	}
}

func (h *host) stateOf(domain, selector string) string {
	h.t.Helper()
	defer h.lock(domain)()
	files, err := h.store.FilesOf(domain)
	if err != nil {
		h.t.Fatal(err)
	}
	f := files[selector]
	if f == nil {
		return "none"
	}
	got := "unmanaged"
	if m, err := f.Parsed(); err != nil {
		h.t.Fatal(err)
	} else if m != nil {
		got = string(m.State())
	}
	if f.PEM != nil {
		got += " pem"
	}
	return got
}

// same checks that the files of a key are the same on two hosts.
func same(what string, a, b *host, domain, selector string) {
	a.t.Helper()
	read := func(h *host) string {
		data, err := os.ReadFile(filepath.Join(h.store.Dir, domain, selector+".pem"))
		if err != nil && !os.IsNotExist(err) {
			h.t.Fatal(err)
		}
		return h.stateOf(domain, selector) + string(data)
	}
	if read(a) != read(b) {
		a.t.Errorf("%s: %s %s differs: %s on %s, %s on %s", what, domain, selector, a.stateOf(domain, selector), a.name, b.stateOf(domain, selector), b.name)
	}
}

func (h *host) hosted(domain string) bool {
	h.t.Helper()
	all, err := h.store.Hosted()
	if err != nil {
		h.t.Fatal(err)
	}
	return all[domain]
}

func (h *host) reported() control.Status {
	s, err := h.Status(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *host) leads() bool {
	l, err := h.Lease(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return l.Mine
}

// stopped checks that the error is a *cluster.Stop with a reason.
func stopped(t *testing.T, err error, want cluster.Reason) {
	t.Helper()
	if stop := (*cluster.Stop)(nil); !errors.As(err, &stop) || stop.Reason != want || stop.Refusal.Hint == "" {
		t.Fatalf("error %v, want one with reason %s and a hint", err, want)
	}
}

// unmanaged writes a private key without metadata.
func (h *host) unmanaged(domain, selector string) {
	h.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		h.t.Fatal(err)
	}
	dir := filepath.Join(h.store.Dir, domain)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, selector+".pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)); err != nil {
		h.t.Fatal(err)
	}
}
