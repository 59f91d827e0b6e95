package soak

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// standby is the number of keys of each algorithm that are ready to replace the first key of a domain. A new key has to wait for an hour, so those
// that are created during a run are not used in it.
const standby = 3

// changes are the key changes of a run.
type changes struct {
	last atomic.Int64 // the time of the last change, in nanoseconds
}

func (c *changes) mark() { c.last.Store(time.Now().UnixNano()) }

// changed returns the time of the last change.
func (c *changes) changed() time.Time { return time.Unix(0, c.last.Load()) }

// prepareKeys creates the keys of all domains at the first host. It shifts all their times into the past, as if the keys had signed for a hundred days: the
// first rotation is due, and the standby keys are ready.
func (w *world) prepareKeys() {
	w.Helper()
	h := w.hosts[0]
	domains := append(w.ours(), w.reporter())
	w.run(h, "dkimkey", append([]string{"add", "--unsafe-activate"}, domains...)...)
	for range standby {
		w.run(h, "dkimkey", append([]string{"add"}, domains...)...)
	}
	dir := filepath.Join(h.state(), "keys")
	limit := time.Now().Add(2*lag + time.Minute)
	for {
		out, err := w.try(h, "dkimkey", "rotate") // stores that it has seen the records
		unseen := 0
		for _, text := range w.metadata(dir) {
			if !strings.Contains(text, `"seen"`) {
				unseen++
			}
		}
		if err == nil && unseen == 0 {
			break
		}
		if time.Now().After(limit) {
			w.Fatalf("%d keys have no record: %v\n%s", unseen, err, out)
		}
		time.Sleep(time.Second)
	}
	stamp := regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*Z"`)
	for file, text := range w.metadata(dir) {
		text = stamp.ReplaceAllStringFunc(text, func(s string) string {
			at, err := time.Parse(`"`+time.RFC3339Nano+`"`, s)
			must(w.T, err)
			return at.AddDate(0, 0, -100).Format(`"` + time.RFC3339Nano + `"`)
		})
		must(w.T, os.WriteFile(file, []byte(text), 0o600))
	}
}

// metadata returns the files with the metadata of all keys.
func (w *world) metadata(dir string) map[string]string {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	must(w.T, err)
	all := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(w.T, err)
		all[file] = string(text)
	}
	return all
}

// rotate starts the rotation of a domain, at the host that holds the lease.
func (w *world) rotate(random *rand.Rand) error {
	domain := w.ours()[random.IntN(len(w.ours()))]
	w.keys.mark()
	for _, h := range w.hosts {
		// Exit code 1 means that action is needed, such as waiting for the lagging server.
		out, _ := w.try(h, "dkimkey", "rotate", domain, "--now")
		w.Logf("host %s: rotate %s: %s", h.Name, domain, out)
	}
	return nil
}

// key is the part of a key's metadata that the test uses.
type key struct {
	Domain, Selector, Algorithm       string
	Seen, Activated, Retired, Revoked *time.Time
}

// revoke revokes a signing key that has a ready successor. It returns without doing anything if no domain has one.
func (w *world) revoke(h *host, random *rand.Rand) error {
	signing, ready := map[string]key{}, map[string]int{}
	for file, text := range w.metadata(filepath.Join(h.state(), "keys")) {
		var k key
		if err := json.Unmarshal([]byte(text), &k); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		name := k.Domain + " " + k.Algorithm
		switch {
		case k.Activated != nil && k.Retired == nil && k.Revoked == nil:
			signing[name] = k
		case k.Activated == nil && k.Seen != nil && time.Since(*k.Seen) > 24*time.Hour:
			ready[name]++
		}
	}
	names := slices.Sorted(maps.Keys(signing))
	for _, i := range random.Perm(len(names)) {
		name := names[i]
		k := signing[name]
		if ready[name] == 0 || k.Domain == w.reporter() {
			continue
		}
		w.keys.mark()
		out, err := w.try(h, "dkimkey", "revoke", k.Domain, k.Selector, "--compromised")
		w.Logf("host %s: revoke %s %s, %d keys are ready: %v\n%s", h.Name, name, k.Selector, ready[name], err, out)
		return nil
	}
	return nil
}
