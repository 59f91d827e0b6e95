package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"signpost/internal/doctor"
)

// In enforce mode, doctor is red and the daemon warns at each start and reload, until dmarc.quarantine_handled states that another
// program acts on the tag. No warning is needed in observe mode, because nothing is tagged. The same is true if quarantined mail goes to
// Postfix's hold queue.
func TestQuarantineHandled(t *testing.T) {
	const key = "dmarc.quarantine_handled is false"
	for _, c := range []struct {
		name, mode, tables string
		want               bool
	}{
		{"the defaults", "", "", true},
		{"stated", "", "[dmarc]\nquarantine_handled = true\n", false},
		{"set to false", "", "[dmarc]\nquarantine_handled = false\n", true},
		{"every failure at p=reject rejected: p=quarantine is still tagged", "", "[dmarc]\nreject = \"always\"\n", true},
		{"hold queue", "", "[dmarc]\nquarantine = \"hold\"\n", false},
		{"hold queue, and hostile From tagged", "", "[verify]\nhostile_from = \"tag\"\n[dmarc]\nquarantine = \"hold\"\n", true},
		{"observe mode", "mode = \"observe\"\n", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			toml := c.mode + c.tables + "[dns]\nservers = [\"127.0.0.1:1\"]\n"
			p := startProgram(t, t.TempDir(), toml, exec.Command(asSignpost(t)))
			began := p.log.String()
			p.hangup(toml)
			for when, log := range map[string]string{"start": began, "reload": p.log.String()} {
				if strings.Contains(log, "level=ERROR") {
					t.Fatal(log)
				}
				warned := false
				for line := range strings.Lines(log) {
					warned = warned || strings.Contains(line, "level=WARN") && strings.Contains(line, key) &&
						strings.Contains(line, "X-Signpost-Disposition") && strings.Contains(line, "signpost.toml(5)")
				}
				if warned != c.want {
					t.Errorf("warned at %s: %v, want %v\n%s", when, warned, c.want, log)
				}
			}

			file, postfix := doctorHost(t, c.tables)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, append([]byte(c.mode), text...), 0o644); err != nil {
				t.Fatal(err)
			}
			_, out, errs := doctorSays(t, "-c", file, "--postfix", postfix, "--json")
			var found []doctor.Finding
			if err := json.Unmarshal([]byte(out), &found); err != nil {
				t.Fatalf("%v\n%s%s", err, out, errs)
			}
			red := false
			for _, f := range found {
				red = red || f.Check == "config" && f.Level == doctor.Red && strings.Contains(f.What, key) &&
					strings.Contains(f.Why, "delivered to the inbox") && strings.HasPrefix(f.Fix, "quarantine_handled = true")
			}
			if red != c.want {
				t.Errorf("doctor is red: %v, want %v\n%s", red, c.want, out)
			}

			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), []string{"check-config", "-c", file}, &stdout, &stderr); code != 0 || strings.Contains(stderr.String(), key) != c.want {
				t.Errorf("check-config: exit code %d, %s", code, &stderr)
			}
		})
	}
}
