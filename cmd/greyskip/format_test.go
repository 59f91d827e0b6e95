package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// The list has the same networks in each format.
func TestFormats(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"postscreen": "37.0.0.0/23\tpermit 37.0.3.0/24\tpermit 37.0.4.1/32\tpermit 37.0.9.0/24\tpermit 2a00:1::/48\tpermit",
		"cidr":       "37.0.0.0/23 37.0.3.0/24 37.0.4.1/32 37.0.9.0/24 2a00:1::/48",
		"pf":         "37.0.0.0/23 37.0.3.0/24 37.0.4.1/32 37.0.9.0/24 2a00:1::/48",
		"rspamd":     "37.0.0.0/23 37.0.3.0/24 37.0.4.1/32 37.0.9.0/24 2a00:1::/48",
		"nftables": "add table inet greyskip " +
			"add set inet greyskip ipv4 { type ipv4_addr; flags interval; } flush set inet greyskip ipv4 add element inet greyskip ipv4 { 37.0.0.0/23, 37.0.3.0/24, 37.0.4.1/32, 37.0.9.0/24, } " +
			"add set inet greyskip ipv6 { type ipv6_addr; flags interval; } flush set inet greyskip ipv6 add element inet greyskip ipv6 { 2a00:1::/48, }",
	} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, records, "one.example\nthree.example\n")
			w.quiet(w.cron(0, "--format", format))
			if got := strings.ReplaceAll(w.entries(), "\n", " "); got != want {
				t.Errorf("%s\nwant\n%s", got, want)
			}
			w.contains(w.text(), "# three.example; since 2026-11-28")
			// greyskip can read a list that it wrote: another run finds no change.
			w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.10.0/24", 1))
			if out := w.cron(0, "--format", format, "--diff"); out != "- 37.0.9.0/24  one.example\n+ 37.0.10.0/24  one.example\n" {
				t.Error(out)
			}
		})
	}
}

// nft accepts the file, even if the sets already have elements. It also accepts an empty list.
func TestNftables(t *testing.T) {
	if testing.Short() {
		t.Skip("runs nft")
	}
	t.Parallel()
	w := newWorld(t, records+`none.example. TXT "v=spf1 -all"`, "one.example\nthree.example\n")
	nft, err := exec.LookPath("nft")
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("there is no nft: scripts/setup installs it")
	}
	w.quiet(w.cron(0, "--format", "nftables"))
	for _, domain := range []string{"", "none.example\n"} {
		if domain != "" {
			w.put(w.file, domain)
			w.contains(w.cron(0, "--format", "nftables", "--force"), "none.example: no address is listed")
		}
		if out, err := exec.Command(nft, "-c", "-f", w.list).CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, w.text())
		}
	}
}

// For one DOMAIN, greyskip prints the list to standard output, and the notes to standard error.
func TestPrint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(records, "a -all", "ptr a -all", 1), "one.example\n")
	out, errs, code := w.run("three.example", "--format", "cidr")
	want := `# Allow list, made by greyskip(1) from SPF records. Do not edit: the next run replaces it.
# Created on 2026-11-28 by: greyskip --format cidr three.example
# Networks: 2. Domains: 1. Each block has the domains that authorize it and the date since which it is listed.
# Note on three.example: ptr of three.example depends on more than the client address: its addresses are not listed

# three.example; since 2026-11-28
37.0.3.0/24
37.0.4.1/32
`
	if out != want || code != 0 || errs != "greyskip: three.example: ptr of three.example depends on more than the client address: its addresses are not listed\n" {
		t.Errorf("%d %s%s", code, out, errs)
	}
	out, errs, code = w.run("gone.example")
	if code != 1 || out != "" || errs != "greyskip: gone.example has no SPF record; the domain is not listed\ngreyskip: action needed, see above\n" {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if out, errs, code = w.run("-f", w.file); code != 0 || errs != "" || !strings.Contains(out, "37.0.0.0/23\tpermit\n") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

// Control characters in DNS records reach neither the terminal nor the list.
func TestHostileRecords(t *testing.T) {
	t.Parallel()
	for name, record := range map[string]string{
		"escape":   `"v=spf1 a:\027[31m.example -all"`,
		"line end": `"v=spf1 include:x\0100.0.0.0/0.example -all"`,
		"bytes":    `"v=spf1 exists:\255\254.example -all"`,
		"name":     `"v=spf1 include:%%.\226\128\174.example redirect=a.example"`,
		"alias":    `"v=spf1 ip4:37.0.0.0/24 mx -all"` + "\nevil.example. MX 1 \\010x\\027.example.\n;fault \\010x\\027.example. SERVFAIL",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, records+"evil.example. TXT "+record+"\n", "")
			out, errs, _ := w.run("one.example", "evil.example")
			for _, text := range []string{out, errs} {
				if strings.Trim(text, "\t\n"+printableASCII()) != "" {
					t.Errorf("%q", text)
				}
			}
			for line := range strings.Lines(out) {
				if !strings.HasPrefix(line, "#") && line != "\n" && !strings.HasPrefix(line, "37.0.") && !strings.HasPrefix(line, "2a00:1::/48") {
					t.Errorf("%q", line)
				}
			}
		})
	}
}

// A record can have a thousand errors; only some are printed.
func TestManyNotes(t *testing.T) {
	t.Parallel()
	zone := "evil.example. TXT \"v=spf1 ip4:37.0.0.0/24\""
	for i := range 62 {
		zone += fmt.Sprintf(` " ip4:10.1.%d.0/24"`, 2*i)
	}
	w := newWorld(t, zone+` " include:`+strings.Repeat(strings.Repeat("a", 60)+".", 4)+strings.Repeat("b.", 90)+`example -all"`, "evil.example\n")
	said := w.cron(0)
	if n := strings.Count(said, "\n"); n != 21 || !strings.Contains(said, "greyskip: evil.example: 43 more notes\n") {
		t.Errorf("%d lines:\n%s", n, said)
	}
	for text := range strings.Lines(said + w.text()) {
		if len(text) > 500 {
			t.Errorf("%d bytes: %s", len(text), text)
		}
	}
}

func printableASCII() string {
	var b strings.Builder
	for c := byte(' '); c < 0x7f; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

// Server errors, and answers to other questions, do not change the list.
func TestForgedAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, records, "one.example\ntwo.example\nthree.example\n")
	w.quiet(w.cron(0))
	for _, fault := range []string{"SERVFAIL", "REFUSED", "OTHER-TYPE", "LOOP", "HUGE", "TRUNCATED"} {
		w.zone(records + ";fault three.example. " + fault + "\n")
		w.same(func() {
			if out, errs, code := w.run("-f", w.file, "-o", w.list); code == 2 || (errs != "") != (code == 1) {
				t.Errorf("%s: %d %s%s", fault, code, out, errs)
			}
		})
	}
}
