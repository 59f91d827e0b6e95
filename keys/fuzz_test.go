package keys

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"signpost/internal/dkim"
)

// SELECTOR.json is an error or the metadata of its own key, in one of the states. The same file is written again without a change.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"domain":"example.org","selector":"s1","algorithm":"rsa","bits":2048,"record":"v=DKIM1; p=","created":"2026-11-01T00:00:00Z","wait":"1h0m0s","published":"2026-11-01T00:00:00Z"}`))
	f.Add([]byte(`{"domain":"example.org","selector":"../s1","removed":"0001-01-01T00:00:00Z","ttl":"-1ns","unsafe_activated":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseMetadata("s1.json", data, "example.org", "s1")
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%q", err)
			}
			return
		}
		if m.Domain != "example.org" || m.Selector != "s1" || m.State() == Unusable || m.State().Pending() != (m.Activated == nil && m.Retired == nil && m.Revoked == nil && m.Removed == nil) {
			t.Errorf("%s: %+v", m.State(), m)
		}
		text, err := json.Marshal(m)
		if err != nil {
			return // a time of a year that RFC 3339 does not have
		}
		again, err := parseMetadata("s1.json", text, "example.org", "s1")
		if err != nil {
			t.Fatal(err)
		}
		if second, err := json.Marshal(again); err != nil || !bytes.Equal(second, text) {
			t.Errorf("%s\n%s %v", text, second, err)
		}
	})
}

// A key of another program is an error, or a key that has a record and signs. The error is one line and contains no byte of the key.
func FuzzForeignKey(f *testing.F) {
	for _, kind := range []string{"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"} {
		text := pemOf(f, "PRIVATE KEY")
		f.Add([]byte(strings.ReplaceAll(text, "PRIVATE KEY", kind)))
		block, _ := pem.Decode([]byte(text))
		f.Add(block.Bytes)
	}
	f.Add([]byte(strings.Repeat("A", 43) + "="))
	f.Add([]byte(strings.Repeat("A", 86) + "=="))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxPEM {
			t.Skip("larger than a file that is read")
		}
		signer, err := parseForeign(data)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%q", err)
			}
			return
		}
		record, err := dkim.FormatKeyRecord(signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dkim.ParseKeyRecord(record); err != nil {
			t.Errorf("%q: %v", record, err)
		}
	})
}

// FuzzNewFiles checks that files of another host are an error, or the files of the key whose name they have. The name cannot lead out of the
// keys directory, and the hash and the state are those of the same files when they are read here.
func FuzzNewFiles(f *testing.F) {
	text := pemOf(f, "PRIVATE KEY")
	f.Add("example.org", "s1", []byte(`{"domain":"example.org","selector":"s1","algorithm":"rsa", "record":"v=DKIM1; p=x"}`), true, false)
	f.Add("example.org", "s1", []byte(`{"domain":"example.org","selector":"s1","revoked":"2026-11-01T00:00:00Z"}`), false, false)
	f.Add("../x", "a/b", []byte(nil), true, false)
	f.Add("example.org", ".", []byte("null"), false, true)
	f.Fuzz(func(t *testing.T, name, selector string, metadata []byte, private, deleted bool) {
		var pem []byte
		if private {
			pem = []byte(text)
		}
		files, err := NewFiles(name, selector, metadata, pem, deleted)
		if err != nil {
			return
		}
		for _, s := range []string{name, selector} {
			if filepath.Base(s) != s || s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q is a name", s)
			}
		}
		if private == files.Gone() || deleted && !files.Stopped() || files.Active() && files.Stopped() {
			t.Errorf("%+v: gone %t, stopped %t", files, files.Gone(), files.Stopped())
		}
		again, err := NewFiles(name, selector, files.Metadata, files.PEM, files.Deleted)
		if err != nil || again.Hash() != files.Hash() || again.Fingerprint() != files.Fingerprint() || again.state() != files.state() {
			t.Errorf("%+v: %v", again, err)
		}
		if m, err := files.Parsed(); err != nil || m != nil && (m.Domain != name || m.Selector != selector) {
			t.Errorf("%+v: %v", m, err)
		}
	})
}
