package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/testmilter"
	"signpost/keys"
)

// BenchmarkDomains compares 10 domains with 10,000: in a table, where only example.org has a key, and with a key for each domain. It alternates
// between the two numbers, so that both are measured on the same machine in the same minutes, and reports medians of the processor time in
// milliseconds:
//
//	go test ./internal/daemon -run '^$' -bench Domains -benchtime 1x
func BenchmarkDomains(b *testing.B) {
	const few, many = 10, 10_000
	for _, withKeys := range []bool{false, true} {
		b.Run(map[bool]string{false: "listed", true: "keys"}[withKeys], func(b *testing.B) {
			sites := map[int]*site{few: newSite(b, few, withKeys), many: newSite(b, many, withKeys)}
			took := map[string]map[int][]time.Duration{"start": {}, "reload": {}, "check": {}, "message": {}}
			for b.Loop() {
				for range 11 {
					for _, n := range []int{few, many} {
						for what, d := range sites[n].measure(b) {
							took[what][n] = append(took[what][n], d...)
						}
					}
				}
			}
			for what, of := range took {
				for n, all := range of {
					slices.Sort(all)
					b.ReportMetric(float64(all[len(all)/2])/float64(time.Millisecond), fmt.Sprintf("%s-%d-ms", what, n))
				}
			}
		})
	}
}

// processorTime returns the processor time of this process.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// site is the state of a daemon with a number of domains.
type site struct {
	dir, text string
}

func newSite(b *testing.B, domains int, withKeys bool) *site {
	b.Helper()
	s := &site{dir: b.TempDir()}
	state := filepath.Join(s.dir, "state")
	if err := os.MkdirAll(filepath.Join(state, "keys"), 0o700); err != nil {
		b.Fatal(err)
	}
	store := keys.Store{State: state, Dir: filepath.Join(state, "keys"), Now: time.Now}
	metadata, err := store.Create(keys.Options{Domain: "example.org", Algorithm: "rsa", Bits: 2048, Publish: "manual", NewRSA: keys.NewRSA})
	if err == nil {
		_, err = store.Activate("example.org", metadata.Selector)
	}
	if err != nil {
		b.Fatal(err)
	}
	var table strings.Builder
	for i := range domains - 1 {
		domain := fmt.Sprintf("d%d.example", i)
		fmt.Fprintf(&table, "%s 1\n", domain)
		if !withKeys {
			continue
		}
		from, to := filepath.Join(store.Dir, "example.org"), filepath.Join(store.Dir, domain)
		pem, pemErr := os.ReadFile(filepath.Join(from, metadata.Selector+".pem"))
		text, textErr := os.ReadFile(filepath.Join(from, metadata.Selector+".json"))
		text = []byte(strings.ReplaceAll(string(text), "example.org", domain))
		if err := errors.Join(pemErr, textErr, os.Mkdir(to, 0o700), os.WriteFile(filepath.Join(to, metadata.Selector+".pem"), pem, 0o600),
			os.WriteFile(filepath.Join(to, metadata.Selector+".json"), text, 0o600), os.WriteFile(filepath.Join(state, "hosted", domain), nil, 0o600)); err != nil {
			b.Fatal(err)
		}
	}
	file := filepath.Join(s.dir, "domains")
	if err := os.WriteFile(file, []byte(table.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	s.text = fmt.Sprintf("trusted_networks = [\"127.0.0.0/8\"]\n[domains]\ntables = [\"texthash:%s\"]\n", file)
	return s
}

// measure starts a daemon, sends messages that it signs, waits for five checks of the keys, reloads it, and stops it.
func (s *site) measure(b *testing.B) map[string][]time.Duration {
	b.Helper()
	r := &running{t: b, dir: s.dir, log: newLines(), result: make(chan bool, 1)}
	r.write(s.text)
	file := filepath.Join(s.dir, "signpost.toml")
	conf, err := config.Load(file)
	if err != nil {
		b.Fatal(err)
	}
	r.service = &service{Options: Options{Config: conf, File: file, Stderr: r.log}, reloaded: func(ok bool) { r.result <- ok }}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	took := map[string][]time.Duration{}
	timed := func(what string, f func()) {
		begin := processorTime(b)
		f()
		took[what] = append(took[what], processorTime(b)-begin)
	}
	timed("start", func() {
		go func() { done <- r.run(ctx) }()
		r.log.after("signpost started")
	})
	m := testmilter.Dial(b, "unix", filepath.Join(s.dir, "milter.sock"))
	m.ConnectFrom(netip.MustParseAddr("127.0.0.1"), "localhost")
	for range 50 {
		timed("message", func() {
			if a := m.Message("ann@example.org", "From\x00 ann@example.org\x00"); !strings.Contains(strings.Join(a, "\n"), "DKIM-Signature") {
				b.Fatalf("not signed: %q", a)
			}
		})
	}
	timed("check", func() { time.Sleep(5 * keysInterval) }) // five checks whether the keys have changed
	timed("reload", func() {
		if log, ok := r.hangup(s.text); !ok {
			b.Fatal(log)
		}
	})
	stop()
	if err := <-done; err != nil {
		b.Error(err)
	}
	return took
}
