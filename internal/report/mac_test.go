package report

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The key file is created once, with mode 0600. All hosts that have the same file make the same MACs.
func TestKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bounce.key")
	if _, err := ReadKeys(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	first, err := LoadKey(path)
	ok(t, err)
	keys, err := ReadKeys(path)
	if err != nil || len(keys) != 1 || !bytes.Equal(first, keys[0]) || len(first) != keyBytes {
		t.Errorf("%x %x %v", first, keys, err)
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

// After the key was replaced, it makes the MACs. Bounces to addresses of the three keys before are still accepted.
func TestReplaceKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bounce.key")
	var macs []string
	random, err := LoadKey(path)
	ok(t, err)
	macs = append(macs, random.MAC("a@example.org", "id"))
	for _, digit := range []string{"1", "1", "2", "3", "2"} {
		key, err := ReplaceKey(path, strings.Repeat(digit, 64))
		ok(t, err)
		again, err := LoadKey(path)
		if err != nil || !bytes.Equal(key, again) {
			t.Fatalf("%x %x %v", key, again, err)
		}
		macs = append(macs, key.MAC("a@example.org", "id"))
		keys, err := ReadKeys(path)
		ok(t, err)
		for _, mac := range macs {
			if !keys.Made(mac) {
				t.Errorf("after key %s, a bounce of an earlier report is not accepted", digit)
			}
		}
	}
	_, err = ReplaceKey(path, strings.Repeat("4", 64))
	ok(t, err)
	if keys, err := ReadKeys(path); err != nil || len(keys) != maxKeys || keys.Made(macs[0]) {
		t.Errorf("%x %v", keys, err)
	}
	if _, err := ReplaceKey(path, "12"); err == nil {
		t.Error("a short key is accepted")
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
		if got, ok := ParseEnvelopeSender(recipient, "Reports.mx.example.net"); !ok || got != mac || got != k.MAC("DMARC@example.ORG", "id1") || !k.Made(got) || !k.Made(strings.ToUpper(got)) {
			t.Errorf("%s: %s %v", recipient, got, ok)
		}
	}
	if mac == k.MAC("dmarc@example.com", "id1") || mac == k.MAC("dmarc@example.org", "id2") || mac == Key("other").MAC("dmarc@example.org", "id1") {
		t.Error("another report has the same MAC")
	}
	for _, forged := range []string{"", mac[1:], mac + "a", mac[16:] + mac[:16], mac[:16] + strings.Repeat("a", 16), strings.Repeat("a", 16) + mac[16:]} {
		if k.Made(forged) || Key("other").Made(mac) {
			t.Errorf("%q is accepted", forged)
		}
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
