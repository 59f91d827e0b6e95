package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/keys"
)

// For 1000 domains with nothing due, rotate and status take seconds, because they read each domain once. If they read all domains again for
// each domain, they would take 11 minutes.
func TestThousandDomains(t *testing.T) {
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "[publish]\nmethod = \"manual\"\n[keys]\nalgorithms = [\"ed25519\"]\n")
	store := h.store()
	store.Now = func() time.Time { return h.now }
	metadata, err := store.Create(keys.Options{Domain: "example.org", Algorithm: "ed25519", Publish: "manual"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Activate("example.org", metadata.Selector); err != nil {
		t.Fatal(err)
	}
	const domains = 1000
	first := filepath.Join("state", "keys", "example.org", metadata.Selector)
	pem, pemErr := os.ReadFile(filepath.Join(h.dir, first+".pem"))
	// The record was found, so no DNS lookup is due.
	seen := fmt.Sprintf("\"seen\": %q,\n  \"activated\"", h.now.Format(time.RFC3339))
	text, textErr := os.ReadFile(filepath.Join(h.dir, first+".json"))
	if err := errors.Join(pemErr, textErr); err != nil {
		t.Fatal(err)
	}
	for i := range domains - 1 { // the key files are copied, because Create waits for the disk
		domain := fmt.Sprintf("d%d.example.org", i)
		if err := os.Mkdir(filepath.Join(store.Dir, domain), 0o700); err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join("state", "keys", domain, metadata.Selector)
		h.write(copied+".pem", string(pem), 0o600)
		h.write(copied+".json", strings.NewReplacer("example.org", domain, `"activated"`, seen).Replace(string(text)), 0o600)
		h.write(filepath.Join("state", "hosted", domain), "", 0o600)
	}
	const most = time.Minute // an idle machine with two cores needs a few seconds, a loaded one more
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
