package report

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The key file is created once, with mode 0600. All hosts that have the same file make the same MACs.
func TestKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bounce.key")
	first, err := LoadKey(path)
	ok(t, err)
	second, err := LoadKey(path)
	if err != nil || !bytes.Equal(first, second) || len(first) != keyBytes {
		t.Errorf("%x %x %v", first, second, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	for _, text := range []string{"", "xyz", strings.Repeat("a", 62), strings.Repeat("ab", 40), strings.Repeat("g", 64)} {
		ok(t, os.WriteFile(path, []byte(text), 0o600))
		if _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "64 hexadecimal digits") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The MAC covers the destination and the ID, and survives servers that change the case of an address.
func TestMAC(t *testing.T) {
	k := Key("secret")
	mac := k.MAC("dmarc@example.org", "id1")
	address := EnvelopeSender(mac, "reports.mx.example.net")
	local, _, _ := strings.Cut(address, "@")
	if len(local) > 64 || local != strings.ToLower(local) || !strings.HasPrefix(local, "r-") {
		t.Error(address)
	}
	for _, recipient := range []string{address, strings.ToUpper(address), address + "."} {
		if got, ok := ParseEnvelopeSender(recipient, "Reports.mx.example.net"); !ok || got != mac || !k.Verify(got, "DMARC@example.ORG", "id1") {
			t.Errorf("%s: %s %v", recipient, got, ok)
		}
	}
	if k.Verify(mac, "dmarc@example.com", "id1") || k.Verify(mac, "dmarc@example.org", "id2") || Key("other").Verify(mac, "dmarc@example.org", "id1") || k.Verify("", "dmarc@example.org", "id1") {
		t.Error("the MAC of another report is accepted")
	}
	for _, bad := range []string{"", "@", "r-@reports.mx.example.net", "r-" + mac + "@example.net", "r-" + mac + "a@reports.mx.example.net", "r-" + mac[1:] + "@reports.mx.example.net",
		"r-" + mac[1:] + "1@reports.mx.example.net", "r-" + mac[1:] + "@@reports.mx.example.net", "x" + address, "r-" + mac, address + strings.Repeat(".example", 100)} {
		if got, ok := ParseEnvelopeSender(bad, "reports.mx.example.net"); ok {
			t.Errorf("%s: %s", bad, got)
		}
	}
}

func FuzzParseEnvelopeSender(f *testing.F) {
	f.Add(EnvelopeSender(Key("k").MAC("a@example.org", "id"), "reports.example.net"))
	f.Add("R-AB@reports.example.net")
	f.Fuzz(func(t *testing.T, recipient string) {
		mac, ok := ParseEnvelopeSender(recipient, "reports.example.net")
		if ok && strings.TrimSuffix(strings.ToLower(recipient), ".") != EnvelopeSender(mac, "reports.example.net") || !ok && mac != "" || len(mac) > macText {
			t.Errorf("%q: %q %v", recipient, mac, ok)
		}
	})
}
