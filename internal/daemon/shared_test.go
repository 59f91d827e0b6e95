package daemon

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/journal"
	"signpost/internal/testdns"
)

// A change of the shared rules takes effect within seconds, without SIGHUP. A file with an error changes nothing, and is logged once. At a
// reload, it keeps the previous configuration in effect.
func TestSharedRules(t *testing.T) {
	server, err := testdns.Start("example.com. TXT \"v=spf1 -all\"\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	text := "[dns]\nservers = [\"" + server.Addr() + "\"]\n[cluster]\ndatabase = \"mysql://signpost@db.example.org/signpost\"\n"
	r := start(t, text)
	denied := func() bool {
		answers := r.dial().Message("ann@example.com", "From\x00 ann@example.com\x00")
		return strings.HasPrefix(answers[len(answers)-1], "y550")
	}
	if denied() {
		t.Fatal("denied without a rule")
	}
	const entry = "[[deny]]\ndomain = \"example.com\"\ncomment = \"x\"\nexpires = 2099-01-01\n"
	r.put("state/cluster/rules.toml", entry)
	if line := r.log.after("shared rules reloaded"); !strings.Contains(line, "deny=1") || !denied() {
		t.Error("not denied: " + line)
	}
	r.put("state/cluster/rules.toml", "[[deny]]\n")
	if line := r.log.after("shared rules not reloaded"); !strings.Contains(line, "rules.toml:1: deny[1]: must have a comment") || !denied() {
		t.Error("not denied: " + line)
	}
	if log, ok := r.hangup(text + "[spf]\nfail = \"reject\"\n"); ok || !strings.Contains(log, "rules.toml:1: deny[1]") || strings.Contains(log, "shared rules not reloaded") {
		t.Error("a reload with a broken file of shared rules: " + log)
	}
	r.put("state/cluster/rules.toml", "# nothing\n")
	if line := r.log.after("shared rules reloaded"); !strings.Contains(line, "deny=0") || denied() {
		t.Error("still denied: " + line)
	}
	r.put("state/cluster/rules.toml", entry)
	if log, ok := r.hangup(text); !ok || !strings.Contains(log, "changed=rules.toml") && !strings.Contains(log, "shared rules reloaded") || !denied() {
		t.Error("the rules are not read at a reload: " + log)
	}
}

// With journal.addresses = "hash", the words of addresses are made with the key that signpost-cluster writes, within seconds.
func TestHashKey(t *testing.T) {
	server, err := testdns.Start("example.com. TXT \"v=spf1 -all\"\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	text := "[dns]\nservers = [\"" + server.Addr() + "\"]\n[journal]\naddresses = \"hash\"\n[cluster]\ndatabase = \"mysql://signpost@db.example.org/signpost\"\n"
	sent := 0
	word := func(r *running) (word string) { // of the sender of a new message
		sent++
		id := fmt.Sprintf("<%d@example.com>", sent)
		r.dial().Message("ann@example.com", "From\x00 ann@example.com\x00", "Message-ID\x00 "+id+"\x00")
		for deadline := time.Now().Add(20 * time.Second); word == "" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if reader, err := journal.OpenReader(filepath.Join(r.dir, "state", "journal", "journal.db")); err == nil {
				if found, err := reader.Find(t.Context(), id); err == nil && len(found) > 0 {
					word = found[0].Sender
				}
				reader.Close()
			}
		}
		return word
	}
	a, b := start(t, text), start(t, text)
	if first, second := word(a), word(b); first == "" || first == second {
		t.Fatalf("the journals have the words %q and %q without a key", first, second)
	}
	const key = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\n"
	a.put("state/cluster/hash.key", key)
	b.put("state/cluster/hash.key", key)
	for deadline := time.Now().Add(20 * time.Second); word(a) != word(b); {
		if time.Now().After(deadline) {
			t.Fatal("the journals have different words with the same key")
		}
	}
	a.put("state/cluster/hash.key", "x")
	if line := a.log.after("the key for addresses in the journal cannot be read"); !strings.Contains(line, "not a key in hexadecimal") {
		t.Error(line)
	}
}
