package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"signpost/internal/testbind"
)

// bindZones is the number of zones z1.example, z2.example ... of the shared name server. Each zone is used by one test.
const bindZones = 100

// shared is the name server of the package. Its zones are example.org and bindZones others, and three special ones: static.example
// refuses updates, selectors sp1 to sp3 of loop.example are CNAME loops, and included.example includes a file.
type shared struct {
	once    sync.Once
	bind    *testbind.Server
	include string // the file
	err     error
	mu      sync.Mutex
	taken   int
}

var named shared

func (s *shared) start() {
	dir, err := os.MkdirTemp("", "dkimkey-include")
	if s.err = err; err != nil {
		return
	}
	s.include = filepath.Join(dir, "dkim.include")
	zones := map[string]string{
		"example.org.":      exampleZone,
		"static.example.":   zoneOf("static.example") + "; static\n",
		"hidden.example.":   zoneOf("hidden.example") + "; hidden\n",
		"loop.example.":     zoneOf("loop.example") + "sp1._domainkey IN CNAME sp1._domainkey\nsp2._domainkey IN CNAME sp2._domainkey\nsp3._domainkey IN CNAME sp3._domainkey\n",
		"included.example.": strings.Replace(zoneOf("included.example"), "\n@ IN NS", "\n$INCLUDE "+s.include+" .\n$ORIGIN included.example.\n@ IN NS", 1),
	}
	for n := range bindZones {
		name := fmt.Sprintf("z%d.example", n+1)
		zones[name+"."] = zoneOf(name)
	}
	if s.err = os.WriteFile(s.include, nil, 0o644); s.err == nil {
		s.bind, s.err = testbind.Start(context.Background(), "127.0.0.1", zones)
	}
}

func (s *shared) stop() error {
	if s.bind == nil {
		return nil
	}
	return errors.Join(s.bind.Stop(), os.RemoveAll(filepath.Dir(s.include)))
}

// sharedBIND returns the name server of the package. The first call starts it.
func sharedBIND(t *testing.T) *testbind.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs BIND")
	}
	named.once.Do(named.start)
	if named.err != nil {
		t.Fatal(named.err)
	}
	return named.bind
}

// zone returns a domain that no other test uses.
func (s *shared) zone(t *testing.T) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken++; s.taken > bindZones {
		t.Fatal("no zone is left: raise bindZones")
	}
	return fmt.Sprintf("z%d.example", s.taken)
}

func zoneOf(domain string) string { return strings.ReplaceAll(exampleZone, "example.org", domain) }

// tests runs the tests, and then stops the name server.
type tests struct{ *testing.M }

func (m tests) Run() int {
	code := m.M.Run()
	if err := named.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}
