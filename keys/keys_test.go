package keys

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dns"
)

func newStore(t *testing.T) Store {
	t.Helper()
	clock := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	state := t.TempDir()
	s := Store{State: state, Dir: filepath.Join(state, "keys"), Now: func() time.Time {
		clock = clock.Add(time.Minute)
		return clock
	}}
	if err := s.Make(); err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s Store, domain, algorithm string) *Metadata {
	t.Helper()
	l, err := s.Create(Options{Domain: domain, Algorithm: algorithm, Bits: 2048, Publish: "manual", NewRSA: NewRSA})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func activate(t *testing.T, s Store, l *Metadata) {
	t.Helper()
	if _, err := s.Activate(l.Domain, l.Selector); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s Store, before *Set) *Set {
	t.Helper()
	set, err := s.Load(before)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func selectors(keys []dkim.Key) string {
	var all []string
	for _, k := range keys {
		all = append(all, k.Selector)
	}
	return strings.Join(all, " ")
}

// Only active keys sign: the newest of each algorithm, RSA first.
func TestSigning(t *testing.T) {
	s := newStore(t)
	first := create(t, s, "example.org", "rsa")
	if first.Selector != "sp20261124" || first.Bits != 2048 {
		t.Errorf("%+v", first)
	}
	if got := selectors(load(t, s, nil).Signing("example.org")); got != "" {
		t.Errorf("a key signs that was created but not activated: %s", got)
	}
	activate(t, s, first)
	ed := create(t, s, "example.org", "ed25519")
	activate(t, s, ed)
	if got := selectors(load(t, s, nil).Signing("example.org")); got != "sp20261124 se20261124" {
		t.Error(got)
	}
	second := create(t, s, "example.org", "rsa")
	activate(t, s, second)
	set := load(t, s, nil)
	if got := selectors(set.Signing("example.org")); got != "sp20261124b se20261124" {
		t.Error(got)
	}
	if !second.Unsafe && !set.find("example.org", second.Selector).Metadata.Unsafe {
		t.Error("the metadata does not have unsafe_activated")
	}
	if set.Signing("example.net") != nil {
		t.Error("a domain without a directory has keys")
	}
}

// A selector that had a key is not used again: RFC 6376 section 3.1.
func TestSelectorTaken(t *testing.T) {
	s := newStore(t)
	l := create(t, s, "example.org", "rsa")
	if _, err := s.Create(Options{Domain: "example.org", Selector: l.Selector, Algorithm: "rsa", Bits: 2048, NewRSA: NewRSA}); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Error(err)
	}
	if err := os.Remove(s.pemPath("example.org", l.Selector)); err != nil {
		t.Fatal(err)
	}
	if again := create(t, s, "example.org", "rsa"); again.Selector == l.Selector {
		t.Error("the selector of a deleted key was used again")
	}
	if _, err := s.Create(Options{Domain: "example.org", Algorithm: "rsa", Bits: 1024, NewRSA: NewRSA}); err == nil {
		t.Error("1024 bits were accepted")
	}
}

func TestFilesArePrivate(t *testing.T) {
	s := newStore(t)
	l := create(t, s, "example.org", "rsa")
	path := s.pemPath(l.Domain, l.Selector)
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", fi.Mode(), err)
	}
	activate(t, s, l)
	for mode, want := range map[os.FileMode]string{0o600: "", 0o400: "", 0o640: "", 0o644: "accessible to all users", 0o606: "accessible to all users"} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		k := load(t, s, nil).All()[0]
		if want == "" && k.Err != nil || want != "" && (k.Err == nil || !strings.Contains(k.Err.Error(), want)) {
			t.Errorf("mode %04o: %v, want %q", mode, k.Err, want)
		}
	}
}

func TestGroupOfKeys(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("files of another group need root")
	}
	s := newStore(t)
	l := create(t, s, "example.org", "rsa")
	path := s.pemPath(l.Domain, l.Selector)
	activate(t, s, l)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, -1, 65534); err != nil {
		t.Fatal(err)
	}
	if k := load(t, s, nil).All()[0]; k.Err == nil || !strings.Contains(k.Err.Error(), "group 65534") {
		t.Errorf("a foreign group: %v", k.Err)
	}
	if err := os.Chown(filepath.Dir(path), -1, 65534); err != nil {
		t.Fatal(err)
	}
	if k := load(t, s, nil).All()[0]; k.Err != nil {
		t.Errorf("the group of the keys directory: %v", k.Err)
	}
}

func TestUnmanagedKeys(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"PKCS#8", pemOf(t, "PRIVATE KEY"), ""},
		{"PKCS#1", pemOf(t, "RSA PRIVATE KEY"), ""},
		{"empty", "", "no PEM"},
		{"a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "CERTIFICATE"},
		{"encrypted", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "passphrase"},
		{"damaged", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"},
		{"too small", pemOf(t, "small"), "1024"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			if err := os.Mkdir(filepath.Join(s.Dir, "example.org"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.pemPath("example.org", "hand"), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			set := load(t, s, nil)
			k := set.All()[0]
			if c.want == "" {
				// The key is usable and signs when its record is found: see TestGuardAwaits.
				if k.Err != nil || k.Signer == nil || k.State != Published || selectors(set.Signing("example.org")) != "" || len(set.Domains()) != 0 {
					t.Errorf("%+v", k)
				}
				return
			}
			if k.Err == nil || !strings.Contains(k.Err.Error(), c.want) || !strings.Contains(k.Err.Error(), "hand.pem") {
				t.Errorf("%v", k.Err)
			}
			if k.State != Unusable || len(set.Domains()) != 0 {
				t.Errorf("a key that never signed must not make its domain hosted: its mail would wait. State %s, %v", k.State, set.Domains())
			}
		})
	}
}

// A file with OpenDKIM's name causes an error with a remedy until SELECTOR.pem exists. No key is created for a domain that has only such a
// file.
func TestForeignKeyFiles(t *testing.T) {
	s := newStore(t)
	write := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(pemOf(t, "PRIVATE KEY")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	private := filepath.Join(s.Dir, "example.org", "Mail.private")
	write(private)
	for _, stray := range []string{"mail.pem", "mail.private", "README"} {
		write(filepath.Join(s.Dir, stray))
	}
	set := load(t, s, nil)
	if got := strings.Join(set.Misplaced(), " "); got != filepath.Join(s.Dir, "mail.pem")+" "+filepath.Join(s.Dir, "mail.private") {
		t.Error(got)
	}
	of := set.Of("example.org")
	want := private + ": this is OpenDKIM's file name; rename it to mail.pem with mode 0600, or run dkimkey import " + private + " --domain example.org --selector mail"
	if len(of) != 1 || of[0].Selector != "mail" || of[0].State != Unusable || of[0].Err == nil || of[0].Err.Error() != want || len(set.Domains()) != 0 {
		t.Fatalf("%+v", of)
	}
	if plan := Plan(of, Rules{Algorithms: []string{"rsa"}}, s.Now()); len(plan) != 0 {
		t.Errorf("%+v", plan)
	}
	// The daemon logs the error and does not make the domain hosted.
	var log bytes.Buffer
	w, err := Open(s, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), `level=ERROR msg="key not usable" domain=example.org selector=mail error="`+want) || w.Current().Hosted["example.org"] {
		t.Errorf("hosted %v, log:\n%s", w.Current().Hosted, &log)
	}
	write(filepath.Join(s.Dir, "example.org", "x; reboot.private"))
	if of := load(t, s, nil).Of("example.org"); len(of) != 2 || strings.Contains(of[1].Err.Error(), "dkimkey import") {
		t.Errorf("the suggested command contains an invalid selector: %v", of[1].Err)
	}
	if err := os.Remove(filepath.Join(s.Dir, "example.org", "x; reboot.private")); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(s.Dir, "example.org", "mail.pem"))
	if of := load(t, s, nil).Of("example.org"); len(of) != 1 || of[0].Err != nil {
		t.Errorf("%+v", of)
	}
}

// Metadata that describes another key is ignored: it neither activates a key nor refers to files elsewhere.
func TestMetadataOfAnotherKey(t *testing.T) {
	s := newStore(t)
	l := create(t, s, "example.org", "rsa")
	data, err := os.ReadFile(s.metadataPath(l.Domain, l.Selector))
	if err != nil {
		t.Fatal(err)
	}
	moved := bytes.Replace(data, []byte(`"example.org"`), []byte(`"../../elsewhere"`), 1)
	if err := os.WriteFile(s.metadataPath(l.Domain, l.Selector), moved, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Activate(l.Domain, l.Selector); err == nil || !strings.Contains(err.Error(), "not the key beside it") {
		t.Error(err)
	}
	if k := load(t, s, nil).All()[0]; k.Err == nil || k.State != Unusable {
		t.Errorf("%+v", k)
	}
}

// The daemon reads new keys and keeps the old version of damaged keys. It keeps all keys if the directory is missing. A domain
// stays hosted if its key is missing.
func TestWatcher(t *testing.T) {
	s := newStore(t)
	var log bytes.Buffer
	w, err := Open(s, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	signing := func() string {
		w.Reload()
		return selectors(w.Current().Set.Signing("example.org"))
	}
	l := create(t, s, "example.org", "rsa")
	if got := signing(); got != "" || w.Current().Hosted["example.org"] {
		t.Errorf("before activation: %q, hosted %v", got, w.Current().Hosted)
	}
	activate(t, s, l)
	if got := signing(); got != l.Selector || !w.Current().Hosted["example.org"] {
		t.Errorf("after activation: %q, hosted %v", got, w.Current().Hosted)
	}
	path := s.pemPath("example.org", l.Selector)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := signing(); got != l.Selector || !strings.Contains(log.String(), "old_key_kept=true") {
		t.Errorf("a broken file: %q\n%s", got, log.String())
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.Dir, s.Dir+".away"); err != nil {
		t.Fatal(err)
	}
	if got := signing(); got != l.Selector || !strings.Contains(log.String(), "does not exist") {
		t.Errorf("the directory is missing: %q\n%s", got, log.String())
	}
	if _, err := Open(s, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("Open accepts a missing keys directory")
	}
	if err := os.Rename(s.Dir+".away", s.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := signing(); got != "" || !w.Current().Hosted["example.org"] || !strings.Contains(log.String(), "no usable key") {
		t.Errorf("the key is missing: %q, hosted %v\n%s", got, w.Current().Hosted, log.String())
	}
	again, err := Open(s, slog.New(slog.DiscardHandler))
	if err != nil || !again.Current().Hosted["example.org"] {
		t.Errorf("after a restart the domain is not hosted: %v", err)
	}
	if err := s.Remove("example.org"); err != nil {
		t.Fatal(err)
	}
	if err := s.Unhost("example.org"); err != nil {
		t.Fatal(err)
	}
	if signing(); w.Current().Hosted["example.org"] {
		t.Error("a removed domain is still hosted")
	}
}

// RFC 1035 section 3.3.14: no string in a TXT record is longer than 255 octets.
func TestZoneText(t *testing.T) {
	s := newStore(t)
	for _, algorithm := range []string{"rsa", "ed25519"} {
		l := create(t, s, "example.org", algorithm)
		text := ZoneText(l.Domain, l.Selector, l.Record, time.Hour)
		if n := strings.Count(text, "\n\t\""); n != len(dns.SplitTXT(l.Record)) {
			t.Errorf("%d lines begin with one tab and a string:\n%s", n, text)
		}
		rr := parseTXT(t, text)
		if got := strings.Join(rr.Txt, ""); got != l.Record || rr.Hdr.Name != l.Selector+"._domainkey.example.org." {
			t.Errorf("%s: %s\n%s", algorithm, rr.Hdr.Name, got)
		}
		for _, part := range rr.Txt {
			if len(part) > 255 {
				t.Errorf("a string of %d octets", len(part))
			}
		}
	}
}
