package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"signpost/internal/testbind"
	"signpost/keys"
	"signpost/keys/keystest"
)

const exampleZone = `$ORIGIN example.org.
$TTL 3600
@ IN SOA ns1 hostmaster 1 3600 600 86400 300
@ IN NS ns1
ns1 IN A 127.0.0.1
`

// rsaKeys is the pool of RSA keys of all tests.
var rsaKeys keystest.Pool

// house runs dkimkey with its own clock, and with an in-memory DNS or a real name server.
type house struct {
	*testing.T
	env    *env
	now    time.Time
	config string
	dir    string
	dns    *keystest.DNS // nil: the name server is bind
	bind   *testbind.Server
}

func newHouse(t *testing.T, zones map[string]string, more string) *house {
	t.Helper()
	dns, err := keystest.New(zones)
	if err != nil {
		t.Fatal(err)
	}
	h := houseAt(t, "127.0.0.1:1", 1, more)
	h.dns, h.env.authority, h.env.publisher = dns, dns, dns
	return h
}

// newBINDHouse is like newHouse, with the shared name server.
func newBINDHouse(t *testing.T, more string) *house {
	t.Helper()
	bind := sharedBIND(t)
	h := houseAt(t, bind.Addr(), bind.Port, more)
	h.bind = bind
	return h
}

// houseAt returns a house without DNS.
func houseAt(t *testing.T, addr string, port uint16, more string) *house {
	t.Helper()
	h := &house{T: t, now: time.Date(2026, 11, 24, 4, 15, 0, 0, time.UTC), dir: t.TempDir()}
	h.env = &env{now: func() time.Time { return h.now }, newRSA: rsaKeys.Source(), authorityPort: port, lockTimeout: 100 * time.Millisecond, after: func(d time.Duration) <-chan time.Time {
		h.now = h.now.Add(d)
		passed := make(chan time.Time)
		close(passed)
		return passed
	}}
	h.config = filepath.Join(h.dir, "signpost.toml")
	secret := filepath.Join(h.dir, "tsig")
	h.write("tsig", testbind.Secret+"\n", 0o600)
	h.write("signpost.toml", strings.NewReplacer("%BIND%", addr, "%SECRET%", secret, "%DIR%", h.dir).Replace(
		"state_dir = \"%DIR%/state\"\n[dns]\nservers = [\"%BIND%\"]\ntimeout = \"2s\"\n"+more), 0o644)
	return h
}

// txt returns the TXT records of a name in DNS.
func (h *house) txt(name string) ([]string, error) {
	if h.dns != nil {
		return h.dns.LookupTXT(h.Context(), name)
	}
	return h.bind.TXT(name)
}

func (h *house) write(name, text string, mode os.FileMode) {
	h.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), mode); err != nil {
		h.Fatal(err)
	}
}

// run runs a command and returns its output and exit code.
func (h *house) run(args ...string) (out string, code int) {
	var b bytes.Buffer
	code = h.env.execute(context.Background(), append([]string{"-c", h.config}, args...), &b, &b)
	return b.String(), code
}

// must runs a command and returns its output. The test fails unless the exit code is 0.
func (h *house) must(args ...string) string {
	h.Helper()
	out, code := h.run(args...)
	if code != 0 {
		h.Fatalf("dkimkey %q: exit code %d\n%s", args, code, out)
	}
	return out
}

func (h *house) store() keys.Store {
	return keys.Store{State: filepath.Join(h.dir, "state"), Dir: filepath.Join(h.dir, "state", "keys")}
}

// signing returns the selectors that sign for a domain.
func (h *house) signing(domain string) string {
	h.Helper()
	set, err := h.store().Load(nil)
	if err != nil {
		h.Fatal(err)
	}
	var all []string
	for _, k := range set.Signing(domain) {
		all = append(all, k.Selector)
	}
	return strings.Join(all, " ")
}

// state returns the state of each key of a domain, by selector.
func (h *house) state(domain string) map[string]keys.State {
	h.Helper()
	set, err := h.store().Load(nil)
	if err != nil {
		h.Fatal(err)
	}
	all := map[string]keys.State{}
	for _, k := range set.Of(domain) {
		if k.Err != nil {
			h.Errorf("%s: %v", k.Selector, k.Err)
		}
		all[k.Selector] = k.State
	}
	return all
}

const rfc2136 = `[publish]
method = "rfc2136"
server = "%BIND%"
tsig_name = "signpost"
tsig_algorithm = "hmac-sha256"
tsig_secret_file = "%SECRET%"
`

// daysOf returns the duration of a test in days of its clock. The result is SIGNPOST_DAYS, or short if that variable is not set. The target
// "matrix" of the Makefile sets SIGNPOST_DAYS.
func daysOf(t *testing.T, short int) int {
	t.Helper()
	text := os.Getenv("SIGNPOST_DAYS")
	if text == "" {
		return short
	}
	days, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return days
}
