package main

import (
	"context"
	"crypto/rsa"
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signpost/internal/cluster"
	"signpost/internal/testsql"
	"signpost/keys/keystest"
)

// site has the hosts of a cluster, their database and their DNS, and one clock.
type site struct {
	*testing.T
	server   *testsql.Server
	name     string // of the database
	admin    *sql.DB
	readOnly bool
	dns      *keystest.DNS
	clock    atomic.Int64 // ns since 1970
	random   *rand.Rand
	world    *receivers
	newRSA   func(bits int) (*rsa.PrivateKey, error) // of all hosts
	keyFile  string
	more     string // of signpost.toml
	members  []*member
	domains  map[string]time.Time // that must be signed, and since when
	signed   map[string]bool      // all keys that have signed
	leaked   map[string]time.Time // revoked as compromised: domain and selector
	step     time.Duration        // between two checks of the daemons
	revoked  int
	broken   string          // the fault, for messages; "": there is none
	out      strings.Builder // what the commands printed
}

const secondary = `$ORIGIN %s.
$TTL 3600
@ IN SOA ns1 hostmaster 1 3600 600 86400 300
@ IN NS ns1
@ IN NS ns2
ns1 IN A 127.0.0.1
ns2 IN A 127.0.0.2
`

// newSite starts the database of a cluster without hosts. Each zone has a primary and a secondary.
func newSite(t *testing.T, server *testsql.Server, seed uint64, more string, domains ...string) *site {
	t.Helper()
	zones := map[string]string{}
	for _, d := range domains {
		zones[d+"."] = fmt.Sprintf(secondary, d)
	}
	dns, err := keystest.New(zones)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, newRSA: rsaKeys.Source(), server: server, name: server.Database(), dns: dns, random: rand.New(rand.NewPCG(seed, seed)), more: more,
		domains: map[string]time.Time{}, leaked: map[string]time.Time{}, signed: map[string]bool{}, keyFile: filepath.Join(t.TempDir(), "cluster.key")}
	s.clock.Store(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC).UnixNano())
	s.world = &receivers{T: t, dns: dns, zones: map[string]map[string]answer{}, cached: map[string][]answer{}, mail: map[string]message{}, results: map[string]error{}, exempt: map[string]bool{}}
	for _, d := range domains {
		s.world.zones[d], _ = s.world.transfer(d)
	}
	if err := os.WriteFile(s.keyFile, []byte(cluster.NewSiteKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.init()
	s.admin = openAdmin(t, server.URL(s.name))
	t.Cleanup(func() {
		if t.Failed() || testing.Verbose() {
			t.Log(s.out.String())
		}
	})
	return s
}

// openAdmin opens a database as the user of a URL.
func openAdmin(t *testing.T, address string) *sql.DB {
	t.Helper()
	driver := "pgx"
	if u, err := url.Parse(address); err == nil && u.Scheme == "mysql" {
		driver, address = "mysql", u.User.String()+"@tcp("+u.Host+")"+u.Path
	}
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(0) // a restart of the server breaks idle connections
	t.Cleanup(func() { db.Close() })
	return db
}

// init creates the tables as their owner, and grants the other user the privileges of signpost-cluster.
func (s *site) init() {
	s.Helper()
	db, err := cluster.Open(s.server.URL(s.name))
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	k, err := cluster.ReadSiteKeys(s.keyFile)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := db.Init(s.Context(), k); err != nil {
		s.Fatal(err)
	}
	secret := "PASSWORD"
	if s.server.Name == "MariaDB" {
		secret = "IDENTIFIED BY"
	}
	s.sql("CREATE USER host " + secret + " 'secret'")
	for _, table := range cluster.Tables() {
		s.sql("GRANT " + table.Rights + " ON " + table.Name + " TO host")
	}
}

// sql runs statements as the administrator of the database.
func (s *site) sql(statements ...string) {
	s.Helper()
	for _, statement := range statements {
		s.server.Run(s.name, statement)
	}
}

func (s *site) now() time.Time { return time.Unix(0, s.clock.Load()).UTC() }

// leader returns the host that holds the lease, or nil. Two leaders are an error.
func (s *site) leader() (leader *member) {
	s.Helper()
	for _, m := range s.members {
		if l, err := m.node.Lease(s.Context()); err != nil {
			s.Error(err)
		} else if l.Mine && !m.off {
			if leader != nil {
				s.Errorf("%s: %s and %s hold the lease", s.at(), leader.name, m.name)
			}
			leader = m
		}
	}
	return leader
}

func (s *site) at() string {
	if s.broken == "" {
		return s.now().Format(time.DateTime)
	}
	return s.now().Format(time.DateTime) + " (" + s.broken + ")"
}

// shuffled returns the hosts whose machines are on: the leader, and then the others in random order.
func (s *site) shuffled() (all []*member) {
	leader := s.leader()
	if leader != nil {
		all = append(all, leader)
	}
	for _, i := range s.random.Perm(len(s.members)) {
		if m := s.members[i]; m != leader && !m.off {
			all = append(all, m)
		}
	}
	return all
}

// patience is how long a cluster process waits for a database that does not answer.
const patience = time.Second

// sync makes the cluster process of each host synchronize, one after another. While nothing is broken, an error fails the test.
func (s *site) sync() {
	s.Helper()
	for _, m := range s.shuffled() {
		if m.down {
			continue
		}
		ctx, cancel := s.Context(), func() {}
		if s.broken != "" {
			ctx, cancel = context.WithTimeout(ctx, patience)
		}
		if err := m.node.Sync(ctx); err != nil && s.broken == "" {
			s.Errorf("%s: %s: %v", s.at(), m.name, err)
		}
		cancel()
		s.judge(m)
	}
}

// command runs dkimkey on a host, while the other hosts synchronize. The test fails if the exit code is 2.
func (s *site) command(m *member, args ...string) (out string, code int) {
	s.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		out, code = m.run(args...)
	}()
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-done:
			fmt.Fprintf(&s.out, "%s %s: dkimkey %s: %d\n%s", s.at(), m.name, strings.Join(args, " "), code, events(out))
			if code > 1 {
				s.Errorf("%s: %s: dkimkey %q: exit code %d\n%s", s.at(), m.name, args, code, out)
			}
			for _, m := range s.members {
				s.judge(m)
			}
			s.deliver()
			return out, code
		case <-t.C:
			for _, other := range s.members {
				if other != m && !other.off && !other.down {
					ctx, cancel := context.WithTimeout(s.Context(), patience)
					_ = other.node.Sync(ctx)
					cancel()
				}
			}
		}
	}
}

// events returns the lines of an output that begin with a domain or a program.
func events(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if name, _, ok := strings.Cut(line, ": "); ok && !strings.ContainsAny(name, " ;") {
			b.WriteString("\t" + line)
		}
	}
	return b.String()
}

// cron runs the daily job of each host.
func (s *site) cron() {
	s.Helper()
	for _, m := range s.shuffled() {
		if !m.down { // otherwise, a command is still at work
			m.rotate()
		}
	}
}

// pass advances the clock. A lease that is not renewed ends.
func (s *site) pass(d time.Duration) {
	s.Helper()
	s.clock.Add(int64(d))
	if !s.server.Running() || s.readOnly {
		return
	}
	for _, statement := range []string{"UPDATE sp_lease SET until = until - %d WHERE until > 0", "UPDATE sp_host SET seen = seen - %d"} {
		if _, err := s.admin.ExecContext(s.Context(), fmt.Sprintf(statement, d.Milliseconds())); err != nil {
			s.Fatal(err)
		}
	}
}

// same checks that two minutes later one of the hosts leads, and all have the same files.
func (s *site) same() {
	s.Helper()
	s.pass(2 * time.Minute)
	for range 4 {
		s.sync()
	}
	if s.leader() == nil {
		s.Errorf("%s: no host leads", s.at())
	}
	var first *member
	for _, m := range s.members {
		if m.off || m.down {
			continue
		}
		if first == nil {
			first = m
			continue
		}
		a, b := first.files(), m.files()
		for _, path := range slices.Sorted(maps.Keys(merged(a, b))) {
			if a[path] != b[path] {
				s.Errorf("%s: %s differs: %s has\n%s, %s has\n%s", s.at(), path, first.name, public(a, path), m.name, public(b, path))
			}
		}
	}
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// public returns the content of a file, unless it is a private key.
func public(files map[string]string, path string) string {
	if text, ok := files[path]; !ok {
		return "nothing"
	} else if filepath.Ext(path) == ".pem" {
		return "a private key"
	} else {
		return text
	}
}
