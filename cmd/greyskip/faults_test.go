package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// many returns a zone with ten senders, and a domains file that lists them.
func many() (zone, domains string) {
	for i := range 10 {
		zone += fmt.Sprintf("d%d.example. TXT \"v=spf1 ip4:37.%d.0.0/16 -all\"\n", i, 2*i)
		domains += fmt.Sprintf("d%d.example\n", i)
	}
	return zone, domains
}

// If DNS is down, the file is not changed or created, and the message states the reason.
func TestDNSDown(t *testing.T) {
	t.Parallel()
	zone, domains := many()
	w := newWorld(t, zone, domains)
	w.quiet(w.cron(0))
	w.dns.Stop()
	w.same(func() {
		said := w.cron(1, "--force")
		w.contains(said, "the lookup failed for 10 of 10 domains (lookup failed for d0.example: connection refused)", "check DNS on this host: "+w.list+" was not changed")
		if strings.Count(said, "\n") != 1 {
			t.Error("more than one line:", said)
		}
	})
	other := filepath.Join(w.dir, "other")
	if _, errs, code := w.run("-f", w.file, "-o", other); code != 1 || !strings.Contains(errs, "10 of 10 domains") {
		t.Error(code, errs)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("an empty list was written")
	}
}

// If half of the lookups fail, the file is not changed, and the message states the reason. If fewer than half of the lookups fail, the
// other domains are updated.
func TestHalfFails(t *testing.T) {
	t.Parallel()
	zone, domains := many()
	w := newWorld(t, zone, domains)
	w.quiet(w.cron(0))
	changed := strings.Replace(zone, "37.18.0.0/16", "37.18.0.0/16 ip4:38.0.0.0/16", 1)
	faults := ""
	for i := range 5 {
		if faults += fmt.Sprintf(";fault d%d.example. SERVFAIL\n", i); i == 3 {
			continue
		}
	}
	w.zone(changed + faults)
	w.same(func() {
		w.contains(w.cron(1), "the lookup failed for 5 of 10 domains (lookup failed for d0.example: SERVFAIL)", w.list+" was not changed")
	})
	w.zone(changed + strings.Replace(faults, ";fault d0.example. SERVFAIL\n", "", 1))
	w.quiet(w.cron(0))
	w.contains(w.entries(), "38.0.0.0/16", "37.2.0.0/16")
}

// The second of two concurrent runs exits immediately with a message.
func TestTwoRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("builds greyskip")
	}
	t.Parallel()
	w := newWorld(t, records, "one.example\nthree.example\n")
	w.quiet(w.cron(0))
	w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.10.0/24", 1))
	// The first run starts the second run as its --reload command.
	program := filepath.Join(w.dir, "greyskip")
	build := exec.Command("go", "build", "-trimpath", "-o", program, ".") // the same flags as in make build, so that cached packages are reused
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	w.quiet(w.cron(0, "--reload", fmt.Sprintf("%s -c %s -f %s -o %s > %s/second 2>&1; echo $? >> %s/second", program, w.config, w.file, w.list, w.dir, w.dir)))
	second, err := os.ReadFile(w.dir + "/second")
	if err != nil || string(second) != "greyskip: another greyskip process is updating "+w.list+": try again when it has finished\n1\n" {
		t.Errorf("%v %s", err, second)
	}
	w.contains(w.entries(), "37.0.10.0/24")
	w.same(func() { w.quiet(w.cron(0)) })
}

// A damaged or missing state file is reported and recreated. Until the state file is complete again, a failed lookup is an error, because
// the last good answers are unknown.
func TestStateLost(t *testing.T) {
	t.Parallel()
	const one = `"one.example": {"at": "2026-11-28T00:00:00Z", "networks": `
	for name, c := range map[string]struct{ text, why string }{
		"empty":      {"", "is damaged (not valid JSON at byte 0) and will be recreated"},
		"cut":        {`{"version": 1, "domains": {` + one, "is damaged (not valid JSON at byte "},
		"null":       {"null", "is damaged (unknown version 0)"},
		"nulls":      {`{"version": 1, "domains": null, "since": null}`, "is damaged (a field is missing)"},
		"version":    {`{"version": 2}`, "is damaged (unknown version 2)"},
		"no network": {`{"version": 1, "domains": {` + one + `["37.0.0.0"]}}}`, "is damaged ("},
		"no prefix":  {`{"version": 1, "domains": {` + one + `[""]}}}`, `is damaged (a network of "one.example" is invalid)`},
		"binary":     {"\x00\x1b[31m\xff", "is damaged (not valid JSON"},
		"not a file": {"-", "not a regular file"},
		"not there":  {"--", "does not exist, although"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, records, "one.example\ntwo.example\nthree.example\n")
			w.quiet(w.cron(0))
			state := w.list + ".state"
			if err := os.Remove(state); err != nil {
				t.Fatal(err)
			}
			switch c.text {
			case "--":
			case "-":
				if err := os.Mkdir(state, 0o700); err != nil {
					t.Fatal(err)
				}
			default:
				w.put(state, c.text)
			}
			w.zone(records + ";fault three.example. SERVFAIL\n")
			w.same(func() {
				said := w.cron(1, "--force")
				w.contains(said, state, c.why, "three.example: lookup failed for three.example: SERVFAIL, and its last good answer is unknown: "+w.list+" was not changed")
				if strings.Contains(said, "\x1b") {
					t.Errorf("%q", said)
				}
			})
			w.zone(records)
			if c.text == "-" { // no file can be created there
				w.same(func() { w.cron(1) })
				return
			}
			w.contains(w.cron(1), c.why)
			w.contains(w.entries(), "37.0.3.0/24")
			w.same(func() { w.quiet(w.cron(0)) })
		})
	}
}

// greyskip tests the new list with postmap before it replaces the old list. If postmap returns an error or other results, the file is
// not changed.
func TestPostmap(t *testing.T) {
	w := newWorld(t, records, "one.example\nthree.example\n")
	w.quiet(w.cron(0))
	w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.10.0/24", 1))
	bin := filepath.Join(w.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for script, why := range map[string]string{
		"cat >/dev/null; echo 'postmap: warning: cidr map, line 7: bad' >&2": "cannot read the new list: postmap: warning: cidr map, line 7: bad",
		"cat >/dev/null; exit 75":                           "cannot read the new list: exit status 75",
		"cat >/dev/null; exit 1":                            "does not return the results of the new list",
		"while read a; do printf '%s\\tpermit\\n' $a; done": "does not return the results of the new list",
	} {
		if err := os.WriteFile(filepath.Join(bin, "postmap"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		w.same(func() { w.contains(w.cron(1), filepath.Join(bin, "postmap")+" "+why, w.list+" was not changed") })
	}
	if err := os.Remove(filepath.Join(bin, "postmap")); err != nil {
		t.Fatal(err)
	}
	w.quiet(w.cron(0)) // with Debian's postmap
	w.contains(w.entries(), "37.0.10.0/24")
}
