package main

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

// 1000 domains with nothing due: rotate and status read each domain once, and take seconds. The time was a square of the number of
// domains: 11 minutes.
func TestThousandDomains(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "[publish]\nmethod = \"manual\"\n[keys]\nalgorithms = [\"ed25519\"]\n")
	store := h.store()
	store.Now = func() time.Time { return h.now }
	if err := store.Make(); err != nil {
		t.Fatal(err)
	}
	const domains = 1000
	for i := range domains {
		domain := fmt.Sprintf("d%d.example.org", i)
		life, err := store.Create(keys.Options{Domain: domain, Algorithm: "ed25519", Publish: "manual", Random: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Activate(domain, life.Selector); err != nil {
			t.Fatal(err)
		}
	}
	const most = 10 * time.Second
	for _, command := range [][]string{{"rotate"}, {"status"}} {
		begin := time.Now()
		out, _ := h.run(command...)
		if took := time.Since(begin); took > most {
			t.Errorf("%s of %d domains took %v, want at most %v", command, domains, took, most)
		}
		if command[0] == "status" && strings.Count(out, "example.org") < domains {
			t.Errorf("status shows %d domains", strings.Count(out, "example.org"))
		}
	}
}
