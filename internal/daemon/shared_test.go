package daemon

import (
	"strings"
	"testing"

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
