package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The list is sorted, IPv4 first. Adjacent networks are merged and host bits removed. Each block has its domains and date.
func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example  # the first\n# a comment\n\ntwo.example\nTHREE.example.\nthree.example\n")
	w.quiet(w.cron(0))
	want := `# Allow list, made by greyskip(1) from SPF records. Do not edit: the next run replaces it.
# Created on 2026-11-28 by: greyskip -f ` + w.file + ` -o ` + w.list + `
# Networks: 5. Domains: 3. Each block has the domains that authorize it and the date since which it is listed.
# postscreen_access_list = permit_mynetworks, cidr:` + w.list + `

# one.example, two.example; since 2026-11-28
37.0.0.0/23	permit
# three.example; since 2026-11-28
37.0.3.0/24	permit
37.0.4.1/32	permit
# one.example, two.example; since 2026-11-28
37.0.9.0/24	permit
# one.example; since 2026-11-28
2a00:1::/48	permit
`
	if got := w.text(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if mode := stat(t, w.list).Mode(); mode != 0o644 {
		t.Errorf("Postfix has to read it: %v", mode)
	}
}

// A file is replaced only if it has changed. A new date alone is not a change, and listed networks keep their date.
func TestOnlyChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\nthree.example\n")
	w.quiet(w.cron(0))
	if err := os.Chmod(w.list, 0o640); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(3 * day)
	w.same(func() { w.quiet(w.cron(0)) })
	w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.9.0/24 ip4:37.0.10.0/24", 1))
	w.quiet(w.cron(0))
	w.contains(w.text(), "# Created on 2026-12-01", "# one.example; since 2026-12-01\n37.0.10.0/24", "# one.example; since 2026-11-28\n37.0.9.0/24")
	if mode := stat(t, w.list).Mode(); mode != 0o640 {
		t.Errorf("the mode was not kept: %v", mode)
	}
}

// A note is printed once, not daily. The file contains it too.
func TestNotesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `one.example. TXT "v=spf1 ip4:37.0.0.0/24 ip4:10.0.0.0/24 exists:%{i}.x.example ~all"`, "one.example\n")
	refused, unknown := "ip4:10.0.0.0/24 of one.example: 10.0.0.0/24 overlaps 10.0.0.0/8 (private, RFC 1918): refused", "exists:%{i}.x.example of one.example depends on more than the client address"
	w.contains(w.cron(0), "greyskip: one.example: "+refused, "greyskip: one.example: "+unknown)
	w.contains(w.text(), "# Note on one.example: "+refused, "# Note on one.example: "+unknown)
	w.same(func() { w.quiet(w.cron(0)) })
}

// If a domain's record authorizes no address, one line states this and the reason. The line is printed once, not daily. This is not an
// error: the record is valid and may be intended.
func TestAuthorizesNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `a.test. TXT "v=spf1 ip4=192.0.2.1 -all"`, "a.test\n")
	const want = `a.test: no address is listed, because the record "v=spf1 ip4=192.0.2.1 -all" authorizes none; ip4=192.0.2.1 of a.test is ignored, because ip4= is an unknown modifier: ip4:192.0.2.1 may be meant` + "\n"
	if out, errs, code := w.run("a.test"); code != 0 || errs != "greyskip: "+want || strings.Contains(out, "permit\n") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if got := w.cron(0); got != "greyskip: "+want {
		t.Error(got)
	}
	w.contains(w.text(), "# Note on "+want)
	w.same(func() { w.quiet(w.cron(0)) })
	w.zone(`a.test. TXT "v=spf1 -all redirect=b.test"`)
	if got := w.cron(0); strings.Count(got, "\n") != 1 || !strings.Contains(got, "redirect=b.test of a.test is ignored, because the record has -all (RFC 7208 section 6.1)\n") {
		t.Error(got)
	}
	w.quiet(w.cron(0))
}

// The line about a domain is short even if the record is long.
func TestAuthorizesNoneLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `a.test. TXT "v=spf1`+strings.Repeat(` ?ip4:37.0.0.0/24`, 12)+` ip4=192.0.2.1"`, "")
	_, errs, code := w.run("a.test")
	w.contains(errs, `no address is listed, because the record "v=spf1 ?ip4:37.0.0.0/24 `, ` ..." authorizes none; ip4=192.0.2.1 of a.test is ignored`)
	if code != 0 || strings.Count(errs, "\n") != 1 || len(errs) > 500 {
		t.Errorf("exit code %d, %d bytes", code, len(errs))
	}
}

// A domain whose lookup fails keeps its last good answer. After a week, each run warns. After 30 days, the domain is no longer listed.
func TestLastGoodAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\ntwo.example\nthree.example\n")
	w.quiet(w.cron(0))
	w.zone(records + ";fault three.example. SERVFAIL\n")
	begun := w.now
	at := func(days int) { w.now = begun.Add(time.Duration(days)*day + time.Hour) }
	at(6)
	w.same(func() { w.quiet(w.cron(0)) })
	at(7)
	w.same(func() {
		w.contains(w.cron(1), "three.example: lookup failed for three.example: SERVFAIL; the last good answer (2026-11-28) is used until 2026-12-28")
	})
	at(29)
	w.same(func() { w.contains(w.cron(1), "three.example: ") })
	at(30)
	w.contains(w.cron(1), "three.example: lookup failed for three.example: SERVFAIL; the last good answer (2026-11-28) is too old, so the domain is not listed")
	if got := w.entries(); strings.Contains(got, "37.0.3.0/24") || !strings.Contains(got, "37.0.9.0/24") {
		t.Error(got)
	}
	at(31)
	w.same(func() {
		w.contains(w.cron(1), "three.example: ", "there is no earlier answer, so the domain is not listed")
	})
	w.zone(records)
	w.quiet(w.cron(0))
	w.contains(w.entries(), "37.0.3.0/24")
}

// A domain without a record causes a warning immediately. Its last good answer is kept for the same time as after a failed lookup.
func TestRecordGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\ntwo.example\nthree.example\n")
	w.quiet(w.cron(0))
	w.zone(strings.Replace(records, "three.example. TXT", "three.example. SPF", 1))
	w.same(func() {
		w.contains(w.cron(1), "three.example has no SPF record; the last good answer (2026-11-28) is used until 2026-12-28")
	})
}

// A domain whose record no longer permits any address is reported at each run, with its line in the domains file. Its networks are kept for the
// same time as after a failed lookup. Then they are dropped with a last warning.
func TestStopsPublishing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "# senders\none.example\ntwo.example\n\nThree.example # the third\n")
	w.quiet(w.cron(0))
	w.zone(regexp.MustCompile(`(?m)^three.example. TXT .*$`).ReplaceAllString(records, `three.example. TXT "v=spf1 -all"`))
	const stopped = "three.example has stopped publishing addresses: its SPF record permitted addresses on 2026-11-28, and permits none now; "
	remove := "; delete line " + w.file + ":5 if the domain no longer sends mail"
	for _, after := range []time.Duration{0, day, 29 * day} {
		w.now = w.now.Add(after)
		w.same(func() {
			w.contains(w.cron(1), stopped+"its last networks are listed until 2026-12-28"+remove, "action needed, see above")
		})
	}
	w.now = w.now.Add(day)
	w.contains(w.cron(1), stopped+"its last networks are no longer listed"+remove)
	if strings.Contains(w.entries(), "37.0.3.0/24") {
		t.Error(w.entries())
	}
	w.same(func() { w.quiet(w.cron(0)) })
}

// A failed lookup of a new domain causes a warning immediately. The other domains are listed.
func TestNewDomainFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\ntwo.example\nfour.example\n")
	w.contains(w.cron(1), "greyskip: four.example has no SPF record; there is no earlier answer, so the domain is not listed", "action needed, see above")
	w.contains(w.entries(), "37.0.9.0/24")
}

// If a lookup fails after the domain's own record was read, the last good answer is used too. If there is no such answer, or it is too old,
// the terms before the failure are listed.
func TestPartOfADomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records+";fault two.example. SERVFAIL\n", "one.example\n")
	why := "one.example: lookup failed for two.example: SERVFAIL; "
	w.contains(w.cron(1), why+"there is no earlier answer, so only the terms before the failure are listed")
	const part = "37.0.0.0/24\tpermit\n2a00:1::/48\tpermit"
	if got := w.entries(); got != part {
		t.Error(got)
	}
	w.same(func() { w.contains(w.cron(1), why) })
	w.zone(records)
	w.quiet(w.cron(0, "--force"))
	w.contains(w.entries(), "37.0.9.0/24")
	w.zone(records + ";fault two.example. SERVFAIL\n")
	w.same(func() { w.quiet(w.cron(0)) })
	w.now = w.now.Add(31 * day)
	w.contains(w.cron(1, "--force"), why+"the last good answer (2026-11-28) is too old, so only the terms before the failure are listed")
	if got := w.entries(); got != part {
		t.Error(got)
	}
	if out, errs, code := w.run("one.example"); code != 1 || !strings.Contains(out, "37.0.0.0/24\tpermit") || !strings.Contains(errs, why+"only the terms before the failure are listed") {
		t.Error(code, out, errs)
	}
}

// A domain that is deleted from the file is deleted from the list.
func TestDomainRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\nthree.example\n")
	w.quiet(w.cron(0))
	w.put(w.file, "one.example\n#three.example\n")
	w.quiet(w.cron(0))
	if got := w.entries(); strings.Contains(got, "37.0.3.0/24") {
		t.Error(got)
	}
}

// A list that changes by more than half is replaced only with --force.
func TestJumps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ zone, why string }{
		"shrinks":       {strings.Replace(records, "include:two.example", "", 1), "the list would shrink from 768 to 256 IPv4 addresses, by more than half"},
		"grows":         {strings.Replace(records, "37.0.9.0/24", "37.8.0.0/23", 1), "the list would have 1024 IPv4 addresses instead of 768"},
		"grows by more": {strings.Replace(records, "37.0.9.0/24", "37.8.0.0/22", 1), "the list would grow from 768 to 1536 IPv4 addresses, by more than half"},
		"IPv6":          {strings.Replace(records, "2a00:1::/48", "2a00:1::/52", 1), "the list would shrink from 1.209e+24 to 7.556e+22 IPv6 addresses, by more than half"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, records, "one.example\n")
			w.quiet(w.cron(0))
			w.zone(c.zone)
			if name == "grows" { // by a third
				w.quiet(w.cron(0))
				return
			}
			w.same(func() {
				for range 2 {
					w.contains(w.cron(1, "--reload", "touch "+w.dir+"/reloaded"), c.why, w.list+" was not changed", "then pass --force")
				}
			})
			if _, err := os.Stat(w.dir + "/reloaded"); err == nil {
				t.Error("reloaded although nothing changed")
			}
			before := w.text()
			w.quiet(w.cron(0, "--force"))
			if w.text() == before {
				t.Error("not even with --force")
			}
			w.same(func() { w.quiet(w.cron(0)) })
		})
	}
}

// The networks of the only domain are dropped 30 days after it has stopped publishing. Also then, an empty list needs --force.
func TestNothingLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\n")
	w.quiet(w.cron(0))
	w.zone(`one.example. TXT "v=spf1 -all"`)
	w.same(func() { w.contains(w.cron(1, "--force"), "its last networks are listed until 2026-12-28") })
	w.now = w.now.Add(31 * day)
	w.same(func() {
		for range 2 {
			w.contains(w.cron(1), "the list would shrink from 768 to 0 IPv4 addresses", w.list+" was not changed", "then pass --force")
		}
	})
	w.quiet(w.cron(0, "--force"))
	if got := w.entries(); got != "" {
		t.Error(got)
	}
	w.same(func() { w.quiet(w.cron(0)) })
}

// --diff prints the changes, and --dry-run changes nothing.
func TestDiffAndDryRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\nthree.example\n")
	if out := w.cron(0, "--dry-run"); out != w.list+" would be replaced; networks: 5 added, 0 removed\n" {
		t.Error(out)
	}
	if left, _ := filepath.Glob(w.dir + "/*list*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	w.contains(w.cron(0, "--diff"), "+ 37.0.0.0/23  one.example\n+ 37.0.3.0/24  three.example\n")
	if out := w.cron(0, "--dry-run", "--diff"); out != w.list+" would not change\n" {
		t.Error(out)
	}
	w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.10.0/24", 1))
	want := "- 37.0.9.0/24  one.example\n+ 37.0.10.0/24  one.example\n"
	w.same(func() {
		if out := w.cron(0, "--dry-run", "--diff"); out != want+w.list+" would be replaced; networks: 1 added, 1 removed\n" {
			t.Error(out)
		}
	})
	if out := w.cron(0, "--diff"); out != want {
		t.Error(out)
	}
	w.quiet(w.cron(0, "--diff"))
}

// --reload runs only after a change. If the command fails, this is reported, and the next run retries it.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\nthree.example\n")
	runs := func() int {
		data, _ := os.ReadFile(w.dir + "/runs")
		return len(data)
	}
	reload := []string{"--reload", "printf x >> " + w.dir + "/runs; echo refreshing >&2"}
	w.quiet(w.cron(0, reload...))
	w.quiet(w.cron(0, reload...))
	if runs() != 1 {
		t.Errorf("it ran %d times for one change", runs())
	}
	w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.10.0/24", 1))
	w.contains(w.cron(1, "--reload", "echo 'no \x1b such thing' >&2; false"), w.list+" was replaced, but the command of --reload failed (exit status 1: no ? such thing); the next run retries it")
	w.contains(w.entries(), "37.0.10.0/24")
	w.same(func() {
		w.quiet(w.cron(0, reload...))
		w.quiet(w.cron(0, reload...))
	})
	if runs() != 2 {
		t.Errorf("it ran %d times", runs())
	}
}

// The PATH of cron has neither /usr/sbin nor /usr/local/sbin, where Postfix's programs are.
func TestCronsPath(t *testing.T) {
	w := newWorld(t, records, "one.example\n")
	t.Setenv("PATH", "/usr/bin:/bin")
	w.quiet(w.cron(0, "--reload", "command -v postfix > "+w.dir+"/found"))
	if found, err := os.ReadFile(w.dir + "/found"); err != nil || string(found) != "/usr/sbin/postfix\n" {
		t.Errorf("%q %v", found, err)
	}
	t.Chdir(w.dir)
	w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.10.0/24", 1))
	if out, errs, code := w.run("-f", "domains", "-o", "list"); code != 0 || out+errs != "" {
		t.Error(code, out, errs)
	}
	w.contains(w.text(), "greyskip -f "+w.file+" -o "+w.list+"\n", "cidr:"+w.list+"\n", "37.0.10.0/24")
}
