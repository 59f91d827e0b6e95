package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"signpost/internal/testbind"
	"signpost/keys"
	"signpost/keys/publish"
)

// update changes a TXT record at a BIND server, as a DNS provider does.
func update(addr, zone, name string, texts ...string) error {
	m := new(dns.Msg).SetUpdate(zone)
	rr := &dns.TXT{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 300}, Txt: texts}
	m.RemoveRRset([]dns.RR{rr})
	if len(texts) > 0 {
		m.Insert([]dns.RR{rr})
	}
	m.SetTsig("signpost.", dns.HmacSHA256, 300, time.Now().Unix())
	reply, _, err := (&dns.Client{Net: "tcp", TsigSecret: map[string]string{"signpost.": testbind.Secret}}).Exchange(m, addr)
	if err == nil && reply.Rcode != dns.RcodeSuccess {
		err = fmt.Errorf("the server answers %s", dns.RcodeToString[reply.Rcode])
	}
	return err
}

// provider is the operator's program for publishing records. It reads a change from its standard input.
func provider() {
	var c keys.Change
	err := json.NewDecoder(os.Stdin).Decode(&c)
	if err == nil && (c.Type != "TXT" || c.Action != "remove" && strings.Join(c.Strings, "") != c.Text) {
		err = fmt.Errorf("an invalid change: %+v", c)
	}
	if err == nil {
		err = update(os.Args[1], c.Domain+".", c.Name, c.Strings...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// days runs rotate once on each of n days.
func (h *house) days(n int) {
	h.Helper()
	for range n {
		h.must("rotate")
		h.now = h.now.Add(24 * time.Hour)
	}
}

// wholeLife takes a domain through add, activation, hand-over, revocation and removal, with any publish.method.
func (h *house) wholeLife(domain string) {
	h.Helper()
	h.must("add", domain)
	if got := h.signing(domain); got != "" {
		h.Fatalf("%s signs immediately", got)
	}
	h.now = h.now.Add(90 * time.Minute)
	h.must("rotate") // finds the record
	h.now = h.now.Add(130 * time.Minute)
	h.must("rotate")
	first := h.signing(domain)
	if first == "" {
		h.Fatal("nothing signs after the waiting time:", h.must("status"))
	}
	name := keys.RecordName(domain, first)
	for range 90 {
		h.days(1)
	}
	h.days(3)
	second := h.signing(domain)
	if second == "" || second == first {
		h.Fatalf("after 93 days %q signs, as before", second)
	}
	if txt, err := h.txt(name); err != nil || len(txt) != 1 || strings.HasSuffix(txt[0], "p=") {
		h.Fatalf("the old record disappeared immediately: %q %v", txt, err)
	}
	h.days(15)
	if txt, err := h.txt(name); err != nil || len(txt) != 1 || !strings.HasSuffix(txt[0], "p=") {
		h.Fatalf("the old record is not revoked: %q %v", txt, err)
	}
	h.days(31)
	if txt, err := h.txt(name); err != nil || len(txt) != 0 {
		h.Fatalf("the old record is still there: %q %v", txt, err)
	}
}

func TestPublishRFC2136(t *testing.T) {
	t.Parallel()
	newBINDHouse(t, rfc2136).wholeLife(named.zone(t))
}

func TestPublishRFC2136Knot(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs Knot")
	}
	knot, err := testbind.StartKnot(t.Context(), "127.0.0.1", map[string]string{"example.org.": exampleZone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := knot.Stop(); err != nil {
			t.Error(err)
		}
	})
	h := houseAt(t, knot.Addr(), knot.Port, rfc2136)
	h.bind = knot
	h.wholeLife("example.org")
}

func TestPublishCommand(t *testing.T) {
	t.Parallel()
	newBINDHouse(t, "[publish]\nmethod = \"command\"\nargv = [\"provider\", \"%BIND%\"]\n").wholeLife(named.zone(t))
}

// BIND can read the included file. The operator's command increases the serial and reloads the zone.
func TestPublishZoneFile(t *testing.T) {
	t.Parallel()
	sharedBIND(t)
	include := named.include
	h := newBINDHouse(t, "[publish]\nmethod = \"zonefile\"\npath = \""+include+"\"\nreload = [\"%DIR%/reload\"]\n")
	serial := filepath.Join(h.dir, "serial")
	h.write("reload", fmt.Sprintf(`#!/bin/sh
set -e
n=$(cat %[1]s 2>/dev/null || echo 1); n=$((n + 1)); echo $n > %[1]s
sed -i "s/hostmaster [0-9]*/hostmaster $n/" %[2]s/included.example.zone
kill -HUP %[3]d
`, serial, h.bind.Dir(), h.bind.PID()), 0o755)
	// named reloads asynchronously, so the test waits for the new records.
	loaded := func() {
		t.Helper()
		text, err := os.ReadFile(include)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			n, ok := 0, true
			for line := range strings.Lines(string(text)) {
				if name, _, found := strings.Cut(line, ". "); found && strings.Contains(line, " IN TXT (") {
					n++
					txt, err := h.txt(name)
					ok = ok && err == nil && len(txt) == 1
				}
			}
			if ok {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("named has not read\n%s\n%s", text, h.bind.Log())
			}
		}
	}
	h.must("add", "included.example")
	loaded()
	h.must("rotate")
	h.now = h.now.Add(3 * time.Hour)
	h.must("rotate")
	loaded()
	if h.signing("included.example") == "" {
		t.Fatal("nothing signs:", h.must("status"))
	}
	text, err := os.ReadFile(include)
	if err != nil || strings.Count(string(text), "_domainkey.included.example. 3600 IN TXT") != 2 {
		t.Errorf("the key that signs and the standby: %v\n%s", err, text)
	}
	// A file that dkimkey did not write is not changed.
	h.write("mine", "www IN A 192.0.2.1\n", 0o644)
	err = publish.ZoneFile{Path: filepath.Join(h.dir, "mine")}.Publish(t.Context(), keys.Change{Action: keys.Add, Domain: "example.org", Selector: "x", Name: "x._domainkey.example.org", Text: "x"})
	if err == nil || !strings.Contains(err.Error(), "was not written by dkimkey") {
		t.Error(err)
	}
}

// If publish.method is manual, the record is printed once and checked daily. After a week, rotate prints a reminder.
func TestPublishManual(t *testing.T) {
	t.Parallel()
	h := newHouse(t, map[string]string{"example.org.": exampleZone}, "")
	out := h.must("add", "example.org")
	if !strings.Contains(out, "IN TXT (") {
		t.Error(out)
	}
	for day := range 7 {
		if out := h.must("rotate"); out != "" {
			t.Errorf("day %d is not quiet: %s", day, out)
		}
		h.now = h.now.Add(24 * time.Hour)
	}
	out, code := h.run("rotate")
	if code != 1 || !strings.Contains(out, "its record is still not in DNS") || !strings.Contains(out, "IN TXT (") {
		t.Errorf("no reminder after a week: %d %s", code, out)
	}
	set, err := h.store().Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	k := set.Of("example.org")[0]
	// Web forms may change the spaces and the order of tags. Only the key matters.
	record := strings.ReplaceAll(k.Metadata.Record, "; ", ";")
	h.show("example.org", k.Selector, record)
	if out := h.must("rotate"); !strings.Contains(out, "is visible in DNS") {
		t.Error(out)
	}
	if got := h.signing("example.org"); got != "" {
		t.Error("signs immediately")
	}
	h.now = h.now.Add(61 * time.Minute)
	if out := h.must("rotate"); !strings.Contains(out, "activated key ") {
		t.Error(out)
	}
	// With manual publishing, keys do not rotate by default.
	h.now = h.now.Add(6 * 24 * time.Hour)
	h.days(200)
	if got := h.signing("example.org"); got != k.Selector {
		t.Errorf("%q signs", got)
	}
	if out := h.must("status"); !strings.Contains(out, "replace it: dkimkey rotate example.org --now") {
		t.Error(out)
	}
}

// Each publishing fault is reported in one line, and a key signs only if its record is in DNS.
func TestPublishFaults(t *testing.T) {
	for _, c := range []struct{ name, domain, config, want string }{
		{"UPDATE refused", "static.example", rfc2136, "REFUSED"},
		{"wrong TSIG name", "example.org", strings.Replace(rfc2136, `"signpost"`, `"somebody"`, 1), "NOTAUTH"},
		{"wrong TSIG algorithm", "example.org", strings.Replace(rfc2136, "hmac-sha256", "hmac-sha512", 1), "NOTAUTH"},
		{"no server", "example.org", strings.Replace(rfc2136, "%BIND%", "127.0.0.1:1", 1), "refused"},
		{"no secret", "example.org", strings.Replace(rfc2136, "%SECRET%", "/nonexistent", 1), "publish.tsig_secret_file"},
		{"an alias loop", "loop.example",
			rfc2136 + "[keys.selectors]\nrsa = [\"sp1\", \"sp2\", \"sp3\"]\n", "form a loop"},
		{"a program that fails", "example.org", "[publish]\nmethod = \"command\"\nargv = [\"sh\", \"-c\", \"echo no quota left >&2; exit 3\"]\n", "no quota left"},
		{"a program that hangs", "example.org", "[publish]\nmethod = \"command\"\ntimeout = \"1s\"\nargv = [\"sh\", \"-c\", \"sleep 100 & wait\"]\n", "timeout after 1s"},
		{"no directory for the zone file", "example.org", "[publish]\nmethod = \"zonefile\"\npath = \"/proc/nonexistent/x\"\n", "publish.path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newBINDHouse(t, c.config)
			for _, args := range [][]string{{"add", c.domain}, {"rotate"}} {
				out, code := h.run(args...)
				if code != 1 || !strings.Contains(out, c.want) || strings.Count(out, c.want) > 2 {
					t.Errorf("%q: %d %s", args, code, out)
				}
				h.now = h.now.Add(3 * time.Hour)
			}
			if got := h.signing(c.domain); got != "" {
				t.Errorf("%s signs", got)
			}
		})
	}
}

// Another record at the selector is never overwritten.
func TestRecordOfAnotherProgram(t *testing.T) {
	t.Parallel()
	h, domain := newBINDHouse(t, rfc2136), named.zone(t)
	if err := update(h.bind.Addr(), domain+".", keys.RecordName(domain, "mine"), "v=DKIM1; p="); err != nil {
		t.Fatal(err)
	}
	out, code := h.run("add", domain, "--selector", "mine")
	if code != 1 || !strings.Contains(out, "already has another TXT record") {
		t.Errorf("%d %s", code, out)
	}
	if txt, err := h.txt(keys.RecordName(domain, "mine")); err != nil || len(txt) != 1 || txt[0] != "v=DKIM1; p=" {
		t.Errorf("%q %v", txt, err)
	}
}

// A secret is read in the format of tsig-keygen, but not from a file that all users can read.
func TestTSIGSecretFile(t *testing.T) {
	out, err := exec.Command("tsig-keygen", "signpost").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tsig.key")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	secret, err := publish.ReadTSIGSecret(file, "signpost", "hmac-sha256")
	if err != nil || !strings.Contains(string(out), "\""+secret+"\"") {
		t.Errorf("%q %v of\n%s", secret, err, out)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := publish.ReadTSIGSecret(file, "signpost", "hmac-sha256"); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
		t.Error(err)
	}
}

// A name server is queried on the port in the configuration.
func TestKnownPort(t *testing.T) {
	t.Parallel()
	h := newBINDHouse(t, rfc2136)
	h.env.authorityPort = 53
	domain := named.zone(t)
	h.must("add", domain)
	if out, code := h.run("check"); code != 0 || !strings.Contains(out, "ns1."+domain+" 127.0.0.1  correct") {
		t.Errorf("%d %s", code, out)
	}
}
