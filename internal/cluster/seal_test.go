package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func siteKeys(t testing.TB, lines ...string) *SiteKeys {
	t.Helper()
	k, err := ParseSiteKeys([]byte(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A sealed row verifies only in its site, domain, selector and version, and only as a whole.
func TestSeal(t *testing.T) {
	k := siteKeys(t, NewSiteKey())
	p := payload{Metadata: []byte(`{"domain":"a.example"}`), PEM: strings.Repeat("x", 7000), Born: 3, Stopped: 5}
	sealed, err := k.newest().seal("site", "a.example", "s1", 7, p)
	if err != nil {
		t.Fatal(err)
	}
	id := k.newest().id
	if got, err := k.unseal("site", "a.example", "s1", 7, id, sealed); err != nil || !reflect.DeepEqual(got, p) {
		t.Fatalf("%+v, %v", got, err)
	}
	again, err := k.newest().seal("site", "a.example", "s1", 7, p)
	if err != nil || string(again) == string(sealed) {
		t.Errorf("the same payload was sealed with the same nonce: %v", err)
	}
	flipped := append([]byte{}, sealed...)
	flipped[len(flipped)-1] ^= 1
	for _, c := range []struct {
		name, site, domain, selector string
		version                      int64
		id                           string
		sealed                       []byte
		want                         error
	}{
		{"another site", "other", "a.example", "s1", 7, id, sealed, errForged},
		{"swapped with another domain", "site", "b.example", "s1", 7, id, sealed, errForged},
		{"swapped with another selector", "site", "a.example", "s2", 7, id, sealed, errForged},
		{"a byte moved from the domain to the selector", "site", "a.exampl", "es1", 7, id, sealed, errForged},
		{"replayed with a newer version", "site", "a.example", "s1", 8, id, sealed, errForged},
		{"changed", "site", "a.example", "s1", 7, id, flipped, errForged},
		{"truncated", "site", "a.example", "s1", 7, id, sealed[:len(sealed)-1], errForged},
		{"only a part of the nonce", "site", "a.example", "s1", 7, id, sealed[:5], errForged},
		{"empty", "site", "a.example", "s1", 7, id, nil, errForged},
		{"unknown site key", "site", "a.example", "s1", 7, "00000000", sealed, errUnknownKey},
	} {
		if got, err := k.unseal(c.site, c.domain, c.selector, c.version, c.id, c.sealed); !errors.Is(err, c.want) || !reflect.DeepEqual(got, payload{}) {
			t.Errorf("%s: %+v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

// The MAC of a row covers each of its fields. A row of one table is not valid in another.
func TestMAC(t *testing.T) {
	k := siteKeys(t, NewSiteKey()).newest()
	macs := map[string]string{}
	add := func(name, mac string) {
		t.Helper()
		if other, ok := macs[mac]; ok {
			t.Errorf("%s and %s have the same MAC", name, other)
		}
		macs[mac] = name
	}
	rule := RuleID{"deny", "x"}
	add("rule", k.ruleMAC("site", rule, 1, "body"))
	add("site", k.ruleMAC("site2", rule, 1, "body"))
	add("kind", k.ruleMAC("site", RuleID{"allow", "x"}, 1, "body"))
	add("name", k.ruleMAC("site", RuleID{"deny", "y"}, 1, "body"))
	add("version", k.ruleMAC("site", rule, 2, "body"))
	add("body", k.ruleMAC("site", rule, 1, ""))
	add("moved", k.ruleMAC("site", RuleID{"denyx", ""}, 1, "body"))
	h := hostRow{name: "a", version: 1, keyIDs: "x", program: "p", clock: 2, seq: 3}
	add("host", k.hostMAC("site", h))
	for _, edit := range []func(*hostRow){func(h *hostRow) { h.name = "b" }, func(h *hostRow) { h.version++ }, func(h *hostRow) { h.keyIDs = "" },
		func(h *hostRow) { h.program = "" }, func(h *hostRow) { h.clock++ }, func(h *hostRow) { h.seq++ }} {
		other := h
		edit(&other)
		add("host", k.hostMAC("site", other))
	}
	add("lease", k.leaseMAC("site", "a", 1))
	add("holder", k.leaseMAC("site", "b", 1))
	add("epoch", k.leaseMAC("site", "a", 2))
	h.seen = 99
	if macs[k.hostMAC("site", h)] != "host" {
		t.Error("seen, which the database sets, is covered by the MAC")
	}
}

// A key file has one key in each line. An error names the line, and does not contain a key. Rows are sealed with the newest key that every
// host has.
func TestSiteKeys(t *testing.T) {
	a, b := NewSiteKey(), NewSiteKey()
	k := siteKeys(t, "# site keys\n", a, "\n", b)
	ids := k.IDs()
	if len(ids) != 2 || len(ids[0]) != 8 || k.newest().id != ids[1] {
		t.Fatalf("%q", ids)
	}
	if got := k.common(nil).id; got != ids[1] {
		t.Errorf("no other host: %s", got)
	}
	if got := k.common([][]string{ids, {ids[0]}}).id; got != ids[0] {
		t.Errorf("a host without the new key: %s", got)
	}
	if got := k.common([][]string{ids, {ids[1]}}).id; got != ids[1] {
		t.Errorf("all hosts with the new key: %s", got)
	}
	for text, want := range map[string]string{"": "contains no site key", a + "secret\n": "line 2", a + a: "line 2 repeats", a[:20] + "\n": "line 1"} {
		if _, err := ParseSiteKeys([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A key file that other users can read is refused.
func TestKeyFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	if _, err := ReadSiteKeys(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte(NewSiteKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSiteKeys(path); err != nil {
		t.Error(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSiteKeys(path); err == nil || !strings.Contains(err.Error(), "hint: run chmod 0600") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

// A database URL that is not valid is an error without the password.
func TestOpen(t *testing.T) {
	for _, ok := range []string{"postgres://u:s3cret@h/d?sslmode=disable", "mysql://u:s3cret@h/d", "mysql://u@/d?host=/run/s", "mysql://u:s3cret@[::1]:3307/d?tls=true"} {
		db, err := Open(ok)
		if err != nil {
			t.Errorf("%s: %v", ok, err)
			continue
		}
		db.Close()
	}
	for _, bad := range []string{"sqlite://u:s3cret@h/d", "postgres://u:s3cret@h/d?sslmode=perhaps", "mysql://u:s3cret@h/d?timeout=x", "mysql://u:s3cret@h:port/d"} {
		if _, err := Open(bad); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// FuzzUnseal checks that bytes from the database are never accepted, and never cause a panic.
func FuzzUnseal(f *testing.F) {
	k := siteKeys(f, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
	f.Add(k.newest().id, []byte("x"), int64(1))
	f.Fuzz(func(t *testing.T, id string, sealed []byte, version int64) {
		if p, err := k.unseal("site", "a.example", "s", version, id, sealed); err == nil {
			t.Errorf("accepted %x: %+v", sealed, p)
		}
	})
}

// FuzzPayload checks that a genuine row of another version of the program causes no panic.
func FuzzPayload(f *testing.F) {
	f.Add([]byte(`{"metadata":null,"pem":"x","deleted":false,"born":1,"stopped":0}`))
	f.Add([]byte(`{"metadata":{"domain":"a.example"},"future":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := decodePayload(text)
		if err == nil && string(p.Metadata) == "null" {
			t.Error("metadata null is not an unmanaged key")
		}
	})
}

// FuzzState checks that a damaged state file is an error, and that a valid one has usable maps.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"site":"s","host":"a","version":3,"keys":{"a.example/s1":{"version":3}},"rules":{"hosted/a.example":{}},"revoked":{"a/b":["x"]}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseState(data)
		if err != nil {
			return
		}
		if s.Site == "" || s.Keys == nil || s.Rules == nil || s.Revoked == nil || s.ack() < 0 {
			t.Errorf("%q: %+v", data, s)
		}
	})
}
