package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/conformance"
	"signpost/internal/testdns"
	"signpost/internal/testmta"
)

// startRspamd runs the real rspamd as a milter with only the given plugins, and returns its socket in the syntax of smtpd_milters.
func startRspamd(t *testing.T, zone, local, conf string, plugins ...string) string {
	t.Helper()
	s, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	dir := t.TempDir()
	addr, _ := freeAddr(t)
	filters := "dkim"
	if strings.Contains(conf, "lua = ") { // a rule in place of rspamd's own modules
		filters = ""
	}
	text := strings.NewReplacer("%FILTERS%", filters, "%DIR%", dir, "%ADDR%", addr, "%DNS%", s.Addr(), "%LOCAL%", local).Replace(`lua = "/usr/share/rspamd/rules/rspamd.lua"
options { filters = "%FILTERS%"; dns { nameserver = ["%DNS%:1"]; timeout = 2s; } local_addrs = %LOCAL%; pidfile = "%DIR%/pid"; tempdir = "%DIR%";
  control_socket = "%DIR%/control mode=0600"; url_tld = "%DIR%/suffixes"; cache_file = "%DIR%/symbols.cache"; hs_cache_dir = "%DIR%"; }
logging { type = "console"; level = "info"; }
worker "rspamd_proxy" { bind_socket = "%ADDR%"; milter = yes; timeout = 20s; count = 1; upstream "local" { default = yes; self_scan = yes; } }
spf { }
dkim { }
dmarc { }
actions { reject = null; add_header = null; greylist = null; }
`) + conf + "\nmodules {\n"
	for _, p := range plugins {
		text += fmt.Sprintf("  path = \"/usr/share/rspamd/plugins/%s.lua\";\n", p)
	}
	// The public suffixes of the test zones. The path of rspamd's own list depends on its version.
	for name, text := range map[string]string{"conf": text + "}\n", "suffixes": "com\nexample\norg\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	startMilter(t, addr, exec.Command("rspamd", "-f", "-c", filepath.Join(dir, "conf"), "-u", "root", "-g", "root", "--insecure"))
	return "inet:" + addr
}

// Signpost verifies rspamd's signatures from a real Postfix, and a changed body fails.
func TestWeVerifyRspamd(t *testing.T) {
	needRoot(t)
	t.Parallel()
	key, record := newKey(t)
	file := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, file, key)
	rspamd := startRspamd(t, "", `["127.0.0.0/8"]`, fmt.Sprintf("dkim_signing { domain { example.org { path = %q; selector = \"rs\"; } } use_domain = \"header\"; }", file), "dkim_signing")
	mta, err := testmta.Start(t.Context(), testmta.Options{Domains: []string{"example.org"}, Milters: rspamd})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mta.Stop() })
	// By RFC 6376 section 3.4.4, a body that consists of white space becomes empty. rspamd 3.4 and 3.12 hash a line end instead. rspamd 4.1,
	// OpenDKIM and dkimpy hash an empty body, as Signpost does.
	version, err := exec.Command("rspamd", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	var wrong []string
	if bytes.Contains(version, []byte("version 3.")) {
		wrong = append(wrong, " \t \r\n \r\n")
	}
	verified := verifySigned(t, &world{MTA: mta, t: t}, record, wrong...)
	conformance.Add(t, "dkim-signer-rspamd", "DKIM: Signpost verifies %d of 7 messages that rspamd signed in a real Postfix. rspamd hashes a body that has only white space incorrectly.", verified)
}

// With the rule of docs/from-rspamd.md, a rspamd after Signpost scores our results and not those of other hosts. Our signature still
// verifies after rspamd has handled the message.
func TestRspamdScoresOurResults(t *testing.T) {
	needRoot(t)
	page, err := os.ReadFile("../../docs/from-rspamd.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rule, _ := strings.Cut(string(page), "```lua\n")
	rule, _, ok := strings.Cut(rule, "```\n")
	if !ok {
		t.Fatal("the page has no rule")
	}
	file := filepath.Join(t.TempDir(), "rule.lua")
	if err := os.WriteFile(file, []byte(rule), 0o644); err != nil {
		t.Fatal(err)
	}
	rspamd := startRspamd(t, "", "[]", fmt.Sprintf("lua = %q;\ngroup \"policies\" {\n  .include \"/etc/rspamd/scores.d/policies_group.conf\"\n}\nmilter_headers { use = [\"x-spamd-result\"]; skip_local = false; skip_authenticated = false; }", file), "milter_headers")
	w := newWorld(t, setup{zone: zone(), after: []string{rspamd}})
	symbols := func(n int) string {
		mail := w.mail(n)
		if all := field(mail, "X-Spamd-Result"); len(all) == 1 {
			return all[0]
		}
		t.Fatalf("no X-Spamd-Result: %s", mail)
		return ""
	}
	has := func(got string, want ...string) {
		t.Helper()
		for _, s := range want {
			if !strings.Contains(got, s+"(") {
				t.Errorf("there is no %s:\n%s", s, got)
			}
		}
		if n := strings.Count(got, "R_SPF_") + strings.Count(got, "R_DKIM_") + strings.Count(got, "DMARC_"); n != len(want) {
			t.Errorf("%d symbols, want %q:\n%s", n, want, got)
		}
	}
	w.swaks(w.SMTP, args(good(), w.signedBy("good.example", "Ann <ann@good.example>"))...)
	has(symbols(1), "R_SPF_ALLOW", "R_DKIM_ALLOW", "DMARC_POLICY_ALLOW")
	w.swaks(w.SMTP, args(stranger(), written("ann@quarantine.example", "Authentication-Results: mx.example.org; dkim=pass header.d=quarantine.example; dmarc=pass header.from=quarantine.example"))...)
	has(symbols(2), "R_SPF_ALLOW", "R_DKIM_NA", "DMARC_POLICY_QUARANTINE")
	w.swaks(w.SMTP, args(stranger(), written("ann@none.example", "Authentication-Results: other.example; spf=fail; dmarc=pass"))...)
	has(symbols(3), "R_SPF_ALLOW", "R_DKIM_NA", "DMARC_POLICY_SOFTFAIL")
	w.swaks(w.Submission, written("ann@example.org")...)
	has(symbols(4))
	w.signed(w.mail(4), "example.org")
}
