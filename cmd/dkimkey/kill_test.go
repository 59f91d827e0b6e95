package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"signpost/keys"
)

// mortal runs dkimkey with the clock and the port that its environment variables set. Before durable operation number MORTAL_STEP, it kills
// itself with SIGKILL.
func mortal() {
	now, err := time.Parse(time.RFC3339, os.Getenv("MORTAL_NOW"))
	if err != nil {
		panic(err)
	}
	port, err := strconv.Atoi(os.Getenv("MORTAL_PORT"))
	if err != nil {
		panic(err)
	}
	last, err := strconv.Atoi(os.Getenv("MORTAL_STEP"))
	if err != nil {
		panic(err)
	}
	step := 0
	e := &env{now: func() time.Time { return now }, newRSA: keys.NewRSA, authorityPort: uint16(port), hook: func(string) {
		if step++; step == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // waits for the signal
		}
	}}
	os.Exit(e.execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// lifeCycle takes a pair of keys through all states, and returns the durable operations of each run. Run number killed is a process that is
// killed before operation number step. A key signs only while its record is in DNS, and the final state is the same as without the kill.
func lifeCycle(t *testing.T, killed, step int) (operations [][]string) {
	h, domain := newBINDHouse(t, rfc2136+"[keys]\nalgorithms = [\"rsa\", \"ed25519\"]\n"), named.zone(t)
	start := h.now
	consistent := func() {
		t.Helper()
		for _, s := range strings.Fields(h.signing(domain)) {
			txt, err := h.txt(keys.RecordName(domain, s))
			if err != nil || len(txt) != 1 || strings.HasSuffix(txt[0], "p=") {
				t.Fatalf("%s signs and DNS has %q %v", s, txt, err)
			}
		}
	}
	run := func(args ...string) {
		t.Helper()
		if len(operations) == killed {
			cmd := exec.Command("mortal", append([]string{"-c", h.config}, args...)...)
			cmd.Env = append(os.Environ(), "MORTAL_NOW="+h.now.Format(time.RFC3339), fmt.Sprint("MORTAL_PORT=", h.bind.Port), fmt.Sprint("MORTAL_STEP=", step))
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("%q was not killed: %v\n%s", args, err, out)
			}
			consistent()
			if set, err := h.store().Load(nil); err == nil && len(set.Of(domain)) > 0 {
				args = []string{"rotate"} // completes the interrupted command
			}
		}
		var done []string
		h.env.hook = func(operation string) { done = append(done, operation) }
		h.must(args...)
		operations = append(operations, done)
		consistent()
	}
	run("add", domain)
	for _, day := range []int{0, 1, 2, 90, 91, 92, 105, 106, 107, 136, 137, 138} {
		h.now = start.Add(time.Duration(day) * 24 * time.Hour)
		run("rotate")
	}
	// One pair is active, one is a standby, and the first is removed. Nothing else is in DNS or on disk.
	states := map[keys.State]int{}
	known := map[string]bool{}
	for selector, state := range h.state(domain) {
		states[state]++
		_, err := os.Stat(filepath.Join(h.dir, "state", "keys", domain, selector+".pem"))
		if (err == nil) != (state != keys.Removed) {
			t.Errorf("%s is %s, its private key: %v", selector, state, err)
		}
		if state != keys.Removed {
			known[keys.RecordName(domain, selector)] = true
		}
	}
	if states[keys.Active] != 2 || states[keys.Verified] != 2 || states[keys.Removed] != 2 || len(states) != 3 {
		t.Errorf("at the end: %v", states)
	}
	transfer, err := new(dns.Transfer).In(new(dns.Msg).SetAxfr(domain+"."), h.bind.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for e := range transfer {
		for _, rr := range e.RR {
			if name := strings.TrimSuffix(rr.Header().Name, "."); rr.Header().Rrtype == dns.TypeTXT && !known[name] {
				t.Errorf("left in the zone: %s", rr)
			}
		}
	}
	return operations
}

// dkimkey is killed with SIGKILL before each durable operation.
func TestKill(t *testing.T) {
	n := 0
	for run, operations := range lifeCycle(t, -1, 0) {
		for i, name := range operations {
			n++
			t.Run(fmt.Sprint(n, " ", name), func(t *testing.T) {
				t.Parallel()
				lifeCycle(t, run, i+1)
			})
		}
	}
}
