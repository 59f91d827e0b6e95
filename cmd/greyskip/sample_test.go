package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// scripts/greyskip-sample succeeds if all senders of the sample publish addresses. It names the line of a sender that does not. Without DNS, it
// states that nothing was checked. A failed lookup is no reason to delete a line.
func TestSampleScript(t *testing.T) {
	if testing.Short() {
		t.Skip("builds greyskip")
	}
	t.Parallel()
	text, err := os.ReadFile("../../dist/greyskip.domains")
	if err != nil {
		t.Fatal(err)
	}
	lines := linesOf(string(text))
	var names []string
	zone := ""
	for name := range lines {
		names = append(names, name)
		zone += fmt.Sprintf("%s. TXT \"v=spf1 ip4:37.%d.0.0/16 -all\"\n", name, 2*len(names))
	}
	w := newWorld(t, zone, "")
	program := filepath.Join(w.dir, "greyskip")
	build := exec.Command("go", "build", "-trimpath", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	run := func(want int, texts ...string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), "../../scripts/greyskip-sample", "-c", w.config)
		c.Env = append(os.Environ(), "GREYSKIP="+program)
		out, err := c.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || c.ProcessState.ExitCode() != want {
			t.Fatalf("%v, want exit code %d\n%s", err, want, out)
		}
		w.contains(string(out), texts...)
		if deletes := strings.Count(string(out), "delete line"); deletes != strings.Count(strings.Join(texts, ""), "delete line") {
			t.Errorf("%d lines to delete\n%s", deletes, out)
		}
	}
	run(0, fmt.Sprintf("the %d domains of dist/greyskip.domains publish %d networks", len(names), len(names)))
	remove := func(name string) string {
		return fmt.Sprintf("greyskip-sample: delete line dist/greyskip.domains:%d: %s publishes no address\n", lines[name], name)
	}
	record := func(name string) string { return name + `. TXT "v=spf1 ` }
	w.zone(strings.Replace(zone, record(names[0]), record(names[0])+`-all `, 1))
	run(1, remove(names[0]))
	w.zone(strings.Replace(zone, record(names[1]), names[1]+`. TXT "none `, 1))
	run(1, remove(names[1]))
	w.zone(zone + ";fault " + names[2] + ". SERVFAIL\n")
	run(1, names[2]+": lookup failed")
	w.dns.Stop()
	run(0, "no DNS: ")
}
