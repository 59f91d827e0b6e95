package e2e

import (
	"crypto/rsa"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/testdns"
	"signpost/keys"
	"signpost/policy"
)

// compareZone has senders for which all filters have the same results, and senders for which the results differ.
const compareZone = `example.com. TXT "v=spf1 ip4:203.0.113.9 -all"
_dmarc.example.com. TXT "v=DMARC1; p=none"
example.com. MX 10 mail.example.com.
mail.example.com. A 203.0.113.9
stranger.example. TXT "v=spf1 ip4:203.0.113.9 -all"
_dmarc.b.example.com. TXT "v=DMARC1; p=none; psd=n"
a.b.example.com. A 203.0.113.9
`

// comparison is a message of an unauthenticated client and the expected value of compared= in the log.
type comparison struct {
	name, from, sender string
	sign               []string // d= of the signatures, top to bottom
	tamper             bool
	want               policy.Comparison
}

// compare sends the messages through the other filters, followed by Signpost in observe mode.
func compare(t *testing.T, before []string, zone string, rsaKey *rsa.PrivateKey, cases []comparison) {
	t.Helper()
	w := newWorld(t, setup{config: "mode = \"observe\"", keys: "none", zone: zone, before: before})
	for i, c := range cases {
		fields := []dkim.Field{{Name: "From", Value: " " + c.from}, {Name: "To", Value: " bob@example.net"}, {Name: "Subject", Value: " " + c.name},
			{Name: "Date", Value: " Wed, 25 Nov 2026 10:00:00 +0000"}, {Name: "Message-ID", Value: fmt.Sprintf(" <%d@example.com>", i)}}
		body := "Hello\r\n"
		for _, d := range c.sign {
			key := dkim.Key{Domain: d, Selector: "s", Signer: rsaKey}
			s, err := dkim.NewSigner(fields, []dkim.Key{key}, time.Now(), 24*time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			s.Write([]byte(body))
			signed, err := s.Sign()
			if err != nil {
				t.Fatal(err)
			}
			fields = append(signed, fields...)
		}
		if c.tamper {
			body += "and more\r\n"
		}
		var text strings.Builder
		for _, f := range fields {
			text.WriteString(f.Wire())
		}
		s := w.dial(w.SMTP, "")
		w.cmd(s, 220, "XCLIENT ADDR=203.0.113.9 NAME=mail.example.com")
		w.cmd(s, 250, "EHLO mail.example.com")
		w.cmd(s, 250, "MAIL FROM:<"+c.sender+">")
		w.cmd(s, 250, "RCPT TO:<bob@example.net>")
		if _, err := s.Data(250, []byte(text.String()+"\r\n"+body)); err != nil {
			t.Fatal(err)
		}
		mail := w.mail(i + 1)
		w.logged(fmt.Sprintf("<%d@example.com>", i), "compared=")
		for line := range strings.Lines(w.daemon.log.String()) {
			if !strings.Contains(line, fmt.Sprintf("<%d@example.com>", i)) {
				continue
			}
			_, got, _ := strings.Cut(line, "compared=")
			got, err := strconv.QuotedPrefix(got)
			if err != nil {
				t.Fatal(line, err)
			}
			if want := strconv.Quote(c.want.String()); got != want {
				t.Errorf("%s: compared=%s, want %s\n%s", c.name, got, want, head(mail))
			}
		}
	}
}

// compareCases returns the messages. organization is the DMARC result of the other filter if its Organizational Domain differs. nokey is
// the other filter's result for a signature without a key.
func compareCases(organization, nokey policy.Side) []comparison {
	same := policy.Comparison{Same: []string{"spf", "dkim", "dmarc"}}
	walk := policy.Comparison{Same: []string{"spf", "dkim"}, Different: []policy.Difference{{Method: "dmarc", Name: "a.b.example.com", Theirs: organization,
		Ours: policy.Side{Result: "fail", Cause: string(dmarc.NoAlignedIdentifierPassed), Org: "b.example.com"}}}}
	unsigned := policy.Comparison{Same: []string{"spf", "dmarc"}, Different: []policy.Difference{{Method: "dkim", Name: "nokey.example.com/s", Theirs: nokey,
		Ours: policy.Side{Result: "permerror", Cause: string(dkim.KeyRecordMissing)}}}}
	return []comparison{
		{name: "all pass", from: "Ann <ann@example.com>", sender: "ann@example.com", sign: []string{"example.com"}, want: same},
		{name: "changed in transit", from: "Ann <ann@example.com>", sender: "ann@example.com", sign: []string{"example.com"}, tamper: true, want: same},
		{name: "forged", from: "Ann <ann@example.com>", sender: "x@stranger.example", want: same},
		{name: "another organization by the DNS tree walk", from: "ann@a.b.example.com", sender: "x@stranger.example", sign: []string{"example.com"}, want: walk},
		{name: "a signature without a key", from: "ann@example.com", sender: "ann@example.com", sign: []string{"nokey.example.com"}, want: unsigned},
	}
}

// Signpost runs after OpenDKIM and OpenDMARC in the same Postfix.
func TestCompareOpenDMARC(t *testing.T) {
	needRoot(t)
	key, record := newKey(t)
	zone := compareZone + keys.ZoneText("example.com", "s", record, time.Hour)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys"), []byte("s._domainkey.example.com "+record+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	opendkim := startOpenDKIM(t, "Mode v\nAuthservID mx.example.org\nAlwaysAddARHeader yes\nTestPublicKeys "+filepath.Join(dir, "keys")+"\n")
	compare(t, []string{opendkim, startOpenDMARC(t, zone)}, zone, key, compareCases(
		// OpenDMARC 1.4 without a list of public suffixes finds only policies of the Author Domain itself.
		policy.Side{Result: "none"}, policy.Side{Result: "fail", Detail: "key not found in DNS"}))
}

// startOpenDMARC runs the real OpenDMARC in a mount namespace, because it queries the name server of /etc/resolv.conf.
func startOpenDMARC(t *testing.T, zone string) string {
	t.Helper()
	const server = "127.77.0.1"
	s, err := testdns.StartAt(server+":53", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	dir := t.TempDir()
	addr, port := freeAddr(t)
	files := map[string]string{
		"resolv.conf": "nameserver " + server + "\n",
		"conf": fmt.Sprintf("AuthservID mx.example.org\nTrustedAuthservIDs mx.example.org\nSPFSelfValidate true\nSPFIgnoreResults true\nRejectFailures false\n"+
			"Socket inet:%s@127.0.0.1\nPidFile %s/pid\nSyslog no\n", port, dir),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	startMilter(t, addr, exec.Command("unshare", "--mount", "sh", "-c", `mount --bind "$1/resolv.conf" /etc/resolv.conf && exec /usr/sbin/opendmarc -f -c "$1/conf"`, "sh", dir))
	return "inet:" + addr
}

// Signpost runs after rspamd in the same Postfix.
func TestCompareRspamd(t *testing.T) {
	needRoot(t)
	key, record := newKey(t)
	zone := compareZone + keys.ZoneText("example.com", "s", record, time.Hour)
	compare(t, []string{startRspamd(t, zone, "[]", `milter_headers { use = ["authentication-results"]; }`, "spf", "dmarc", "milter_headers")}, zone, key, compareCases(
		// rspamd uses the list of public suffixes, and reports the domain that has the record.
		policy.Side{Result: "pass", Domain: "example.com"}, policy.Side{Result: "none"}))
}
